"""A block: many records in one Redis key, as `layout = "block"` stores them.

Key: `tcpb:{first}-{last}-{stream}.{sequence number, 12 hexadecimal digits}.{count}`: the smallest and the largest
capture time in ns (19 digits), the identity of the first record, and how many records there are.
Value: a msgpack map {"kind": "block", "version": 1, "ttl": ms, "spans": [[stream, first, count], …], "count"} and each
column of `tapfan.batch.COLUMNS` as [base, width, data], which `tapfan.columns` describes. The records lie in the order
of the spans: record i of a span has the identity (stream, first + i). Each lives until its capture time + ttl, the key
until that of the last.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

import msgpack
import numpy as np

from tapfan.batch import Batch, Column, Records
from tapfan.bounds import MAX_RECORDS, MAX_SEQUENCE, MAX_TTL_MS
from tapfan.columns import PackedColumn, number_range
from tapfan.names import STREAM_FORM
from tapfan.values import shown
from tapfan.wire import PackedBatch, WireError, pack_columns, packable, read_columns, unpack_columns
from tapfan.wire import unpack as unpack_map

PREFIX = b"tcpb:"
VERSION = 1
_TIME_DIGITS = 19
_KEY = re.compile(
    rb"tcpb:(\d{19})-(\d{19})-(%s)\.([0-9a-f]{12})\.([1-9]\d{0,4})" % STREAM_FORM.pattern.encode(),
)


class BlockError(ValueError):
    """Raised when a key and its value are not what this module's description says; its text names what is wrong."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive records of one stream: those from `first` to below `first + count`."""

    stream: str
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Key:
    """What a block's key says: its capture times in ns, and its records' number and first identity."""

    first_ns: int
    last_ns: int
    stream: str
    sequence: int
    count: int

    @classmethod
    def read(cls, text: bytes) -> Self:
        """The parts of a key. Raises BlockError."""
        match = _KEY.fullmatch(text)
        if match is None:
            raise BlockError(f"the key {shown(text)} is not a block's")
        first, last, stream, sequence, count = match.groups()
        key = cls(int(first), int(last), stream.decode(), int(sequence, 16), int(count))
        if key.first_ns > key.last_ns or key.count > MAX_RECORDS:
            raise BlockError(f"the key {shown(text)} contradicts itself")
        return key

    @property
    def text(self) -> bytes:
        """The key itself."""
        times = f"{self.first_ns:0{_TIME_DIGITS}}-{self.last_ns:0{_TIME_DIGITS}}"
        return f"tcpb:{times}-{self.stream}.{self.sequence:012x}.{self.count}".encode()


@dataclass(frozen=True, eq=False)
class Block:
    """What a block holds."""

    records: Records
    spans: tuple[Span, ...]
    ttl_ms: int

    @property
    def sequence(self) -> Column:
        """Each record's sequence number in its span's stream: uint64 of shape (n,)."""
        return np.concatenate([np.arange(span.first, span.first + span.count, dtype=np.uint64) for span in self.spans])


def pack(parts: Sequence[Batch], ttl_ms: int) -> tuple[bytes, bytes]:
    """The key and the value of a block of all the parts' records, at least one and at most MAX_RECORDS."""
    records = Records.concatenate([part.records for part in parts])
    spans = [Span(part.stream, part.first, len(part)) for part in parts]
    return _packed(spans, pack_columns(records), ttl_ms)


def pack_one(part: PackedBatch, ttl_ms: int) -> tuple[bytes, bytes]:
    """The same of records that are packed already; they stay as they are."""
    return _packed([Span(part.stream, part.first, len(part))], part.columns, ttl_ms)


def _packed(spans: Sequence[Span], columns: Mapping[str, PackedColumn], ttl_ms: int) -> tuple[bytes, bytes]:
    count = sum(span.count for span in spans)
    key = Key(*number_range(columns["timestamp"]), spans[0].stream, spans[0].first, count)
    head = {"kind": "block", "version": VERSION, "ttl": ttl_ms, "spans": list(map(astuple, spans)), "count": count}
    value: bytes = msgpack.packb(head | packable(columns))
    return key.text, value


def unpack(key: bytes, value: bytes) -> Block:
    """The block of a key and its value. Raises BlockError; allocates in proportion to the value's length only."""
    said = Key.read(key)
    try:
        content = unpack_map(value)
        if (content.get("kind"), content.get("version")) != ("block", VERSION):
            raise BlockError("not a block of this version")
        spans = _spans(content.get("spans"))
        ttl_ms = content.get("ttl")
        if type(ttl_ms) is not int or not 0 < ttl_ms <= MAX_TTL_MS:
            raise BlockError(f"ttl {shown(ttl_ms)} is not a duration in ms")
        count = sum(span.count for span in spans)
        first = spans[0].stream, spans[0].first
        if (content.get("count"), said.count, said.stream, said.sequence) != (count, count, *first):
            raise BlockError("its key, count and spans contradict each other")
        records = unpack_columns(read_columns(content, count), count)
    except WireError as error:
        raise BlockError(str(error)) from error
    if (int(records.timestamp.min()), int(records.timestamp.max())) != (said.first_ns, said.last_ns):
        raise BlockError("its key and its timestamps contradict each other")
    return Block(records, spans, ttl_ms)


def _spans(value: Any) -> tuple[Span, ...]:
    if not isinstance(value, list) or not value:
        raise BlockError("spans is not a list of some")
    return tuple(_span(entry) for entry in value)


def _span(value: Any) -> Span:
    if not isinstance(value, list) or len(value) != 3:
        raise BlockError(f"the span {shown(value)} is not [stream, first, count]")
    stream, first, count = value
    if not isinstance(stream, str) or not STREAM_FORM.fullmatch(stream):
        raise BlockError(f"the span's stream {shown(stream)} is not a name and eight hexadecimal digits")
    if type(first) is not int or type(count) is not int or not 1 <= count <= MAX_RECORDS:
        raise BlockError(f"the span {shown(value)} has no numbers that could be its own")
    if not 0 <= first <= MAX_SEQUENCE - count:
        raise BlockError(f"the span's first {shown(first)} is not a sequence number")
    return Span(stream, first, count)
