"""The keys of the record layout, read in bulk: what `writers.commands` makes of records, undone.

Key: `tcp:{source}>{destination}:{timestamp, ns, 19 digits}-{stream}.{sequence number, 12 hexadecimal digits}`.
"""

from dataclasses import dataclass

import numpy as np

from tapfan.batch import Column
from tapfan.names import STREAM_FORM
from tapfan.reader.fields import DECIMAL, HEX, LONGEST_ADDRESS, addresses, distinct, numbers, powers, text_of
from tapfan.reader.texts import Texts

PREFIX = b"tcp:"
_TIME_DIGITS = 19
_SEQUENCE_DIGITS = 12
_SHORTEST, _LONGEST = 53, 158  # `tcp:::>:::` and a stream of one letter; IPv6 addresses and a stream of 41
_STREAM_WIDTH = 48
_TIME_POWERS = powers(10, (_TIME_DIGITS + 1) // 2, 2)
_SEQUENCE_POWERS = powers(16, _SEQUENCE_DIGITS // 2, 1)


@dataclass(frozen=True, eq=False)
class RecordKeys:
    """What keys say: `rows` are the places of those that are a record's; the columns are theirs.

    Addresses have shape (n, 16); record i's stream is `streams[stream[i]]`.
    """

    rows: Column
    timestamp: Column
    source: Column
    destination: Column
    streams: list[str]
    stream: Column
    sequence: Column


def read_record_keys(texts: Texts) -> RecordKeys:
    """Read keys that begin with PREFIX; those that are not a record's are left out."""
    starts, ends, lengths = texts.starts, texts.ends, texts.lengths
    arrow, dash = _separators(texts)
    colon, dot = dash - _TIME_DIGITS - 1, ends - _SEQUENCE_DIGITS - 1
    sound = (lengths >= _SHORTEST) & (lengths <= _LONGEST) & (dash < dot)
    # No text is longer than what it is looked at by below.
    source_length, destination_length, stream_length = arrow - starts - len(PREFIX), colon - arrow - 1, dot - dash - 1
    for length, longest in (
        (source_length, LONGEST_ADDRESS),
        (destination_length, LONGEST_ADDRESS),
        (stream_length, 41),
    ):
        sound &= (length >= 2) & (length <= longest)
    sound &= texts.next(b"\0") >= ends  # which pads texts below
    rows = np.flatnonzero(sound)
    if len(rows) < len(starts):
        starts, ends, arrow, dash, colon, dot = (each[rows] for each in (starts, ends, arrow, dash, colon, dot))
    digits = texts.windows(colon, _TIME_DIGITS + 1)
    digits[:, 0] = ord("0")  # in place of the colon, for an even number
    timestamp, is_time = numbers(digits, DECIMAL, _TIME_POWERS)
    sequence, is_sequence = numbers(texts.windows(dot + 1, _SEQUENCE_DIGITS), HEX, _SEQUENCE_POWERS)
    source, is_source = addresses(texts, starts + len(PREFIX), arrow)
    destination, is_destination = addresses(texts, arrow + 1, colon)
    names, stream = _streams(texts, dash + 1, dot)
    is_stream = np.array([bool(name) for name in names], bool)[stream]
    sound = is_time & is_sequence & is_source & is_destination & is_stream
    sound &= (texts.data[colon] == ord(":")) & (texts.data[dot] == ord("."))
    if not sound.all():
        rows, timestamp, source, destination, stream, sequence = (
            each[sound] for each in (rows, timestamp, source, destination, stream, sequence)
        )
    return RecordKeys(rows, timestamp, source, destination, names, stream, sequence)


def _separators(texts: Texts) -> tuple[Column, Column]:
    """Where each key's first `>` and its first `-` are; of what is no record's key, it may be another.

    Mostly they are as far from the end as in the first key.
    """
    first = b"".join(texts.bytes_of(slice(1)))
    arrow, dash = texts.ends - (len(first) - first.find(b">")), texts.ends - (len(first) - first.find(b"-"))
    alike = (texts.data[arrow] == ord(">")) & (texts.data[dash] == ord("-"))
    alike &= (texts.data[dash - _TIME_DIGITS - 1] == ord(":")) & (arrow >= texts.starts)
    return (arrow, dash) if alike.all() else (texts.next(b">"), texts.next(b"-"))


def _streams(texts: Texts, starts: Column, ends: Column) -> tuple[list[str], Column]:
    """The streams' different names, empty for what is none, and which of them each has."""
    if not len(starts):
        return [], np.zeros(0, np.int64)
    text = texts.words(starts, ends, _STREAM_WIDTH)
    first, kind = distinct(text)
    names = (text_of(text[row]).decode("latin-1") for row in first)
    return [name if STREAM_FORM.fullmatch(name) else "" for name in names], kind
