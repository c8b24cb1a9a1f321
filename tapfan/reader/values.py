"""The values of the record layout: JSON, compared with what their keys say."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapfan.batch import COLUMNS, Column
from tapfan.reader.query import FLAG_TEXTS

MAX_BYTES = 1024  # a writer's have less than 250
_FORM = re.compile(
    rb'\{"ts":(\d{10})\.(\d{9}),"src":"([0-9a-f.:]+)","sport":(\d{1,5}),"dst":"([0-9a-f.:]+)","dport":(\d{1,5}),'
    rb'"flags":"([FSRPAUEC]*)","segments":(\d{1,5})\}'
)
_TIME_FORM = re.compile(r"\d{10}\.\d{9}")
_FLAGS = {text.encode(): flags for flags, text in enumerate(FLAG_TEXTS)}


@dataclass(frozen=True, eq=False)
class RecordValues:
    """What values say: `rows` are the places of those that are a record's; the columns are theirs."""

    rows: Column
    source_port: Column
    destination_port: Column
    flags: Column
    segments: Column


def read_record_values(keys: Sequence[bytes], values: Sequence[bytes]) -> RecordValues:
    """Read the values of records' keys; those that are not a record's, or not that of their key, are left out."""
    rows = []
    numbers: list[tuple[int, int, int, int]] = []
    for row, (key, value) in enumerate(zip(keys, values, strict=True)):
        match = _FORM.fullmatch(value)
        parts = match.groups() if match else _parts(value)
        if parts is None:
            continue
        seconds, nanoseconds, source, source_port, destination, destination_port, letters, segments = parts
        if not key.startswith(b"tcp:%b>%b:%b%b-" % (source, destination, seconds, nanoseconds)):
            continue
        flags = _FLAGS.get(letters)
        number = int(source_port), int(destination_port), int(segments)
        if flags is not None and max(number) < 65_536:
            rows.append(row)
            numbers.append((number[0], number[1], flags, number[2]))
    columns = np.array(numbers, np.uint16).reshape(-1, 4)
    names = ("source_port", "destination_port", "flags", "segments")
    return RecordValues(
        np.array(rows, np.int64), *(columns[:, at].astype(COLUMNS[name][0]) for at, name in enumerate(names))
    )


def _parts(value: bytes) -> tuple[bytes, ...] | None:
    """The same parts of JSON that is written in another way; None for what has not all of them."""
    try:
        content: Any = json.loads(value, parse_float=str)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    time = content.get("ts")
    texts: list[Any] = [content.get(name) for name in ("src", "dst", "flags")]
    numbers: list[Any] = [content.get(name) for name in ("sport", "dport", "segments")]
    if not isinstance(time, str) or not _TIME_FORM.fullmatch(time):
        return None
    if not all(isinstance(text, str) and text.isascii() for text in texts):
        return None
    if not all(type(number) is int and 0 <= number < 65_536 for number in numbers):
        return None
    seconds, _, nanoseconds = time.partition(".")
    source, destination, flags = texts
    source_port, destination_port, segments = map(str, numbers)
    parts = (seconds, nanoseconds, source, source_port, destination, destination_port, flags, segments)
    return tuple(part.encode() for part in parts)
