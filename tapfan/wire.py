"""A batch as one msgpack map, as it travels from listener to router; and shares of batches, on to a writer.

A batch: {"kind": "batch", "version": 1, "stream", "first", "count"} and each column of `tapfan.batch.COLUMNS` as
[base, width, data], which `tapfan.columns` describes.

Shares: {"kind": "shares", "version": 1, "router", "number", "parts"}: "router" is the epoch of the router that sent
them, "number" the place of the first in the row of that router's shares to that writer, and the others follow it. Each
of the 1 to MAX_PARTS parts is one share, a contiguous slice of a batch: [[stream, ttl, base, width, base, width, …],
first, count, data]. `ttl` is how many ms its records live from their capture on; base and width are those of each of
COLUMNS, and `data` is the data of all of them in that order, one after the other. So what the shares of a batch have in
common is in one place, and packed once.

What arrives is validated before a column is looked at, and a message with one bad part is refused whole.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, repeat
from typing import Any

import msgpack

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.bounds import (
    MAX_MESSAGE_BYTES,
    MAX_NUMBER,
    MAX_PARTS,
    MAX_RECORDS,
    MAX_SEQUENCE,
    MAX_TIMESTAMP_NS,
    MAX_TTL_MS,
)
from tapfan.columns import (
    ADDRESS_BYTES,
    PackedColumn,
    check_addresses,
    check_numbers,
    number_range,
    pack_addresses,
    pack_numbers,
    unpack_addresses,
    unpack_numbers,
)
from tapfan.names import STREAM_FORM
from tapfan.values import shown

VERSION = 1
_PART_NAMES = ("common", "first", "count", "data")
_COMMON_ITEMS = 2 + 2 * len(COLUMNS)


class WireError(ValueError):
    """Raised when a message is not what this module's description says; its text names what is wrong."""


def unpack(message: bytes) -> dict[str, Any]:
    """The map that a message holds. Raises WireError for whatever is no map with text keys, or is too long."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise WireError(f"{len(message)} bytes, more than {MAX_MESSAGE_BYTES}")
    try:
        content = msgpack.unpackb(message)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise WireError(f"not msgpack: {type(error).__name__}") from error
    if not isinstance(content, dict) or {*map(type, content)} - {str}:
        raise WireError("not a map with text keys")
    return content


@dataclass(frozen=True)
class PackedBatch:
    """A batch whose columns are packed; it can be split, and sent on, as it is.

    `ttl_ms`: how long its records live, from their capture on; 0 until the router has said so.
    """

    stream: str
    first: int
    count: int
    columns: dict[str, PackedColumn]
    ttl_ms: int = 0

    def __len__(self) -> int:
        return self.count

    @property
    def end(self) -> int:
        """The sequence number after the batch's last record."""
        return self.first + self.count

    def slice(self, start: int, stop: int) -> "PackedBatch":
        """The records from `start` to `stop`, each with the identity that it had; nothing is copied."""
        columns = {name: column[start:stop] for name, column in self.columns.items()}
        return PackedBatch(self.stream, self.first + start, stop - start, columns, self.ttl_ms)

    @cached_property
    def span_ns(self) -> tuple[int, int]:
        """The smallest and the largest capture time."""
        return number_range(self.columns["timestamp"])

    def unpacked(self) -> Batch:
        """The batch itself."""
        return Batch(self.stream, self.first, unpack_columns(self.columns, self.count))


def packed_batch(batch: Batch) -> PackedBatch:
    """The batch, packed."""
    return PackedBatch(batch.stream, batch.first, len(batch), pack_columns(batch.records))


def pack_columns(records: Records) -> dict[str, PackedColumn]:
    """The columns of at least one record, packed, by name."""
    return {
        name: (pack_numbers if width == 1 else pack_addresses)(getattr(records, name))
        for name, (_, width) in COLUMNS.items()
    }


def unpack_columns(columns: Mapping[str, PackedColumn], count: int) -> Records:
    """The records of columns that were checked where they came in."""
    return Records(
        *(
            unpack_numbers(columns[name], dtype, count) if width == 1 else unpack_addresses(columns[name], count)
            for name, (dtype, width) in COLUMNS.items()
        )
    )


def packable(columns: Mapping[str, PackedColumn]) -> dict[str, tuple[int | bytes, int, bytes | memoryview]]:
    """The columns as msgpack takes them."""
    return {name: (column.base, column.width, column.data) for name, column in columns.items()}


def batch_message(batch: PackedBatch) -> bytes:
    """The batch as a message to the router."""
    head = {"kind": "batch", "version": VERSION, "stream": batch.stream, "first": batch.first, "count": batch.count}
    return _packed(head | packable(batch.columns))


def share_parts(batch: PackedBatch, counts: Sequence[int]) -> list[bytes]:
    """The batch, whose `ttl_ms` is known, cut into contiguous shares of so many records, each > 0; each as a part.

    With many writers this is most of what the router does.
    """
    columns = [column for column in batch.columns.values() if column.width]
    widths = [column.width for column in columns]
    # struct cuts all of a column in one call.
    forms = {width: "%ds" * len(counts) % tuple([count * width for count in counts]) for width in set(widths)}
    cuts = [struct.unpack(forms[column.width], column.data) for column in columns]
    firsts = [first.to_bytes(8) for first in accumulate(counts[:-1], initial=batch.first)]
    sizes = {count: b"\xce%b\xc6%b" % (count.to_bytes(4), (count * sum(widths)).to_bytes(4)) for count in set(counts)}
    common: list[object] = [batch.stream, batch.ttl_ms]
    for column in batch.columns.values():
        common += column.base, column.width
    head = b"\x94" + _packed(common) + b"\xcf"
    return list(map(b"".join, zip(repeat(head), firsts, map(sizes.__getitem__, counts), *cuts, strict=False)))


def shares_message(router: str, number: int, parts: Sequence[bytes]) -> bytes:
    """Shares, the first of which has the number, as a message to a writer, with the router's epoch."""
    head = _packed({"kind": "shares", "version": VERSION, "router": router, "number": number, "parts": []})
    return b"".join((head[:-1], b"\xdd", len(parts).to_bytes(4), *parts))


def read_shares(content: dict[str, Any]) -> tuple[str, int, list[PackedBatch]]:
    """The router's epoch, the number of the first share, and all shares, each with its `ttl_ms`. Raises WireError."""
    _check_version(content)
    router, parts = content.get("router"), content.get("parts")
    if not isinstance(router, str):
        raise WireError(f"router {shown(router)} is not text")
    if not isinstance(parts, list) or not 0 < len(parts) <= MAX_PARTS:
        raise WireError(f"parts {shown(parts)} are not 1 to {MAX_PARTS} shares")
    number = _integer(content, "number", 0, MAX_NUMBER - len(parts) + 1)
    return router, number, [_part(part) for part in parts]


def read_part(part: bytes) -> PackedBatch:
    """A share, of a part that was packed here."""
    return _part(msgpack.unpackb(part))


def _part(part: Any) -> PackedBatch:
    if not isinstance(part, list) or len(part) != len(_PART_NAMES):
        raise WireError(f"part {shown(part)} is not [common, first, count, data]")
    content = dict(zip(_PART_NAMES, part, strict=True))
    common, data = content["common"], content["data"]
    if not isinstance(common, list) or len(common) != _COMMON_ITEMS:
        raise WireError(f"common {shown(common)} is not [stream, ttl, base, width…]")
    if not isinstance(data, bytes):
        raise WireError(f"data {shown(data)} is not bytes")
    content["stream"], content["ttl"] = common[:2]
    stream, first, count = _identity(content)
    ttl_ms = _integer(content, "ttl", 1, MAX_TTL_MS)
    left = memoryview(data)
    columns = {}
    for name, base, width in zip(COLUMNS, common[2::2], common[3::2], strict=True):
        size = count * width if type(width) is int and 0 <= width <= ADDRESS_BYTES else 0
        columns[name] = _checked(name, PackedColumn(base, width, left[:size]), count)
        left = left[size:]
    if left:
        raise WireError(f"data: {len(left)} bytes more than those of {count} records")
    return PackedBatch(stream, first, count, columns, ttl_ms)


def read_batch(content: dict[str, Any]) -> PackedBatch:
    """The batch of an unpacked map, validated: what is unpacked later is sound. Raises WireError."""
    _check_version(content)
    stream, first, count = _identity(content)
    return PackedBatch(stream, first, count, read_columns(content, count))


def _check_version(content: dict[str, Any]) -> None:
    if type(content.get("version")) is not int or content["version"] != VERSION:
        raise WireError(f"version {shown(content.get('version'))}, not {VERSION}")


def _identity(content: dict[str, Any]) -> tuple[str, int, int]:
    """The stream, the sequence number of the first record, and how many records."""
    stream = content.get("stream")
    if not isinstance(stream, str) or not STREAM_FORM.fullmatch(stream):
        raise WireError(f"stream {shown(stream)} is not a name and eight hexadecimal digits")
    count = _integer(content, "count", 1, MAX_RECORDS + 1)
    return stream, _integer(content, "first", 0, MAX_SEQUENCE - count), count


def read_columns(content: dict[str, Any], count: int) -> dict[str, PackedColumn]:
    """The columns of an unpacked map, validated: what is unpacked later is sound. Raises WireError."""
    return {name: _column(content, name, count) for name in COLUMNS}


def _column(content: dict[str, Any], name: str, count: int) -> PackedColumn:
    value = content.get(name)
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[2], bytes):
        raise WireError(f"column {name} is not [base, width, data]")
    return _checked(name, PackedColumn(*value), count)


def _checked(name: str, column: PackedColumn, count: int) -> PackedColumn:
    dtype, items = COLUMNS[name]
    try:
        if items == 1:
            check_numbers(column, MAX_TIMESTAMP_NS if name == "timestamp" else 256**dtype.itemsize, count)
        else:
            check_addresses(column, count)
    except ValueError as error:
        raise WireError(f"column {name}: {error}") from error
    return column


def _packed(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _integer(content: dict[str, Any], name: str, low: int, high: int) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < high:
        raise WireError(f"{name} {shown(value)} is not an integer from {low} to {high - 1}")
    return value
