"""The values of the record layout: JSON, compared with what their keys say.

As the writers write it, it is read in bulk; JSON that says the same in another way is read one by one.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapfan.batch import COLUMNS, Column
from tapfan.flags import TEXTS as FLAG_TEXTS
from tapfan.reader.fields import (
    DECIMAL,
    LONGEST_ADDRESS,
    LONGEST_FLAGS,
    address,
    addresses,
    flags,
    numbers,
    powers,
    small_numbers,
)
from tapfan.reader.texts import Texts

MAX_BYTES = 1024  # a writer's have less than 250
_NS = np.uint64(10**9)
_QUOTES = 20
_TIME_FORM = re.compile(r"\d{10}\.\d{9}")
_HALF_TIME_POWERS = powers(10, 5, 1)
_FLAGS = {text: number for number, text in enumerate(FLAG_TEXTS)}


@dataclass(frozen=True, eq=False)
class RecordValues:
    """What values say: `rows` are the places of those that are a record's, ascending; the columns are theirs."""

    rows: Column
    source_port: Column
    destination_port: Column
    flags: Column
    segments: Column


def read_record_values(values: Texts, timestamp: Column, source: Column, destination: Column) -> RecordValues:
    """Read the values of records' keys, which say these things; those that do not say the same are left out.

    Also left out is what is no record's value at all. Addresses have shape (n, 16).
    """
    found = _in_bulk(values, timestamp, source, destination)
    if len(found.rows) == len(values):
        return found
    others = np.setdiff1d(np.arange(len(values)), found.rows)
    rows: list[int] = []
    read: list[tuple[int, ...]] = []
    for row, value in zip(others.tolist(), values.bytes_of(others), strict=True):
        key = int(timestamp[row]), source[row].tobytes(), destination[row].tobytes()
        if (said := _one(value, key)) is not None:
            rows.append(row)
            read.append(said)
    more = np.array(read, np.uint16).reshape(-1, 4)
    all_rows = np.concatenate([found.rows, np.array(rows, np.int64)])
    order = np.argsort(all_rows)
    names = ("source_port", "destination_port", "flags", "segments")
    columns = (np.concatenate([getattr(found, name), more[:, at]])[order] for at, name in enumerate(names))
    return RecordValues(
        all_rows[order], *(column.astype(COLUMNS[name][0]) for column, name in zip(columns, names, strict=True))
    )


def _in_bulk(values: Texts, timestamp: Column, source: Column, destination: Column) -> RecordValues:
    """Those that are written as the writers write them, by where their quotes are."""
    quotes = np.flatnonzero(values.data == ord('"'))
    first, last = np.searchsorted(quotes, values.starts), np.searchsorted(quotes, values.ends)
    has_no_nul = values.next(b"\0") >= values.ends  # which pads texts below
    rows = np.flatnonzero((last - first == _QUOTES) & has_no_nul)
    quote = quotes[first[rows][:, None] + np.arange(_QUOTES)].T
    starts, ends = values.starts[rows], values.ends[rows]
    spans = {
        "source": (quote[4] + 1, quote[5], LONGEST_ADDRESS),
        "source_port": (quote[7] + 2, quote[8] - 1, 5),
        "destination": (quote[10] + 1, quote[11], LONGEST_ADDRESS),
        "destination_port": (quote[13] + 2, quote[14] - 1, 5),
        "flags": (quote[16] + 1, quote[17], LONGEST_FLAGS),
        "segments": (quote[19] + 2, ends - 1, 5),
    }
    sound = quote[1] - starts == 4
    for start, end, longest in spans.values():
        sound &= (end >= start) & (end - start <= longest)
    for at, text in (
        *((starts, b'{"ts":'), (quote[2] - 1, b',"src":"'), (quote[5], b'","sport":'), (quote[8] - 1, b',"dst":"')),
        *((quote[11], b'","dport":'), (quote[14] - 1, b',"flags":"'), (quote[17], b'","segments":'), (ends - 1, b"}")),
    ):
        sound &= values.have(at, text)
    sound &= quote[2] - starts == 27  # 20 characters of a time before the comma
    kept = np.flatnonzero(sound)
    rows = rows[kept]
    place = {name: (start[kept], end[kept]) for name, (start, end, _) in spans.items()}
    seconds, is_time = numbers(values.windows(starts[kept] + 6, 10), DECIMAL, _HALF_TIME_POWERS)
    fraction = values.windows(starts[kept] + 16, 10)
    sound = is_time & (fraction[:, 0] == ord("."))
    fraction[:, 0] = ord("0")
    nanoseconds, is_time = numbers(fraction, DECIMAL, _HALF_TIME_POWERS)
    sound &= is_time & (seconds * _NS + nanoseconds == timestamp[rows])
    for name, own in (("source", source), ("destination", destination)):
        said, is_address = addresses(values, *place[name])
        sound &= is_address & (said == own[rows]).all(axis=1)
    columns = {}
    for name in ("source_port", "destination_port", "flags", "segments"):
        column, is_some = (flags if name == "flags" else small_numbers)(values, *place[name])
        sound &= is_some
        columns[name] = column.astype(COLUMNS[name][0])
    return RecordValues(rows[sound], **{name: column[sound] for name, column in columns.items()})


def _one(value: bytes, key: tuple[int, bytes, bytes]) -> tuple[int, int, int, int] | None:
    """Ports, flags and segments of JSON that says what its key says: a time and two addresses; None for any other."""
    try:
        content: Any = json.loads(value, parse_float=str)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    time = content.get("ts")
    texts: list[Any] = [content.get(name) for name in ("src", "dst", "flags")]
    if not isinstance(time, str) or not _TIME_FORM.fullmatch(time) or not all(isinstance(text, str) for text in texts):
        return None
    source, destination = (address(text.encode(errors="replace")) for text in texts[:2])
    said: list[Any] = [content.get("sport"), content.get("dport"), _FLAGS.get(texts[2]), content.get("segments")]
    if (int(time.replace(".", "")), source, destination) != key:
        return None
    if not all(type(number) is int and 0 <= number < 65_536 for number in said):
        return None
    return said[0], said[1], said[2], said[3]
