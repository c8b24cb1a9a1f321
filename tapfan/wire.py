"""A batch as one msgpack map, as it travels from listener to router and, with a number, on to a writer.

The map: {"kind": "batch" | "share", "version": 1, "stream", "first", "count"} and each column of
`tapfan.batch.COLUMNS` as [base, width, data], which `tapfan.columns` describes. A share also has "router", the epoch
of the router that sent it, "number", its place in the row of that router's shares to that writer, and "ttl", how many
ms its records live from their capture on. What arrives is validated before a column is looked at.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgpack

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.columns import (
    PackedColumn,
    check_addresses,
    check_numbers,
    number_range,
    pack_addresses,
    pack_numbers,
    unpack_addresses,
    unpack_numbers,
)
from tapfan.values import shown

VERSION = 1
MAX_RECORDS = 65_536  # of one batch; four bytes of its sequence numbers, and 3 MiB on the wire
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # what is longer is not unpacked
MAX_SEQUENCE = 2**48  # twelve hexadecimal digits in a key: nine years at a million records a second
MAX_TTL_MS = 2**40
MAX_TIMESTAMP_NS = 10**19  # 19 digits, as the keys have room for: the year 2286
STREAM_FORM = re.compile(r"[A-Za-z0-9_-]{1,32}\.[0-9a-f]{8}")


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
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise WireError("not a map with text keys")
    return content


@dataclass(frozen=True)
class PackedBatch:
    """A batch whose columns are packed; it can be split, and sent on, as it is.

    `ttl_ms`: how long its records live, from their capture on; None until the router has said so.
    """

    stream: str
    first: int
    count: int
    columns: dict[str, PackedColumn]
    ttl_ms: int | None = None

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
    return _message({"kind": "batch"}, batch)


def share_message(router: str, number: int, share: PackedBatch) -> bytes:
    """The share, whose `ttl_ms` is known, as a message to a writer, with the router's epoch and the share's number."""
    return _message({"kind": "share", "router": router, "number": number, "ttl": share.ttl_ms}, share)


def share_head(content: dict[str, Any]) -> tuple[str, int, int]:
    """Of a share: the router's epoch, its number, and its records' time to live in ms. Raises WireError."""
    router = content.get("router")
    if not isinstance(router, str):
        raise WireError(f"router {shown(router)} is not text")
    return router, _integer(content, "number", 0, 2**63), _integer(content, "ttl", 1, MAX_TTL_MS)


def read_batch(content: dict[str, Any]) -> PackedBatch:
    """The batch of an unpacked map, validated: what is unpacked later is sound. Raises WireError."""
    if type(content.get("version")) is not int or content["version"] != VERSION:
        raise WireError(f"version {shown(content.get('version'))}, not {VERSION}")
    stream = content.get("stream")
    if not isinstance(stream, str) or not STREAM_FORM.fullmatch(stream):
        raise WireError(f"stream {shown(stream)} is not a name and eight hexadecimal digits")
    count = _integer(content, "count", 1, MAX_RECORDS + 1)
    first = _integer(content, "first", 0, MAX_SEQUENCE - count)
    ttl_ms = _integer(content, "ttl", 1, MAX_TTL_MS) if "ttl" in content else None
    return PackedBatch(stream, first, count, read_columns(content, count), ttl_ms)


def read_columns(content: dict[str, Any], count: int) -> dict[str, PackedColumn]:
    """The columns of an unpacked map, validated: what is unpacked later is sound. Raises WireError."""
    return {name: _column(content, name, count) for name in COLUMNS}


def _column(content: dict[str, Any], name: str, count: int) -> PackedColumn:
    value = content.get(name)
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[2], bytes):
        raise WireError(f"column {name} is not [base, width, data]")
    column = PackedColumn(*value)
    dtype, items = COLUMNS[name]
    try:
        if items == 1:
            check_numbers(column, MAX_TIMESTAMP_NS if name == "timestamp" else 256**dtype.itemsize, count)
        else:
            check_addresses(column, count)
    except ValueError as error:
        raise WireError(f"column {name}: {error}") from error
    return column


def _message(head: dict[str, Any], batch: PackedBatch) -> bytes:
    head |= {"version": VERSION, "stream": batch.stream, "first": batch.first, "count": batch.count}
    packed: bytes = msgpack.packb(head | packable(batch.columns))
    return packed


def _integer(content: dict[str, Any], name: str, low: int, high: int) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < high:
        raise WireError(f"{name} {shown(value)} is not an integer from {low} to {high - 1}")
    return value
