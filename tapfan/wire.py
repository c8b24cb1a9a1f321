"""A batch as one msgpack map, as it travels from listener to router and, with a number, on to a writer.

The map: {"kind": "batch" | "share", "version": 1, "stream", "first", "count"} and each column of
`tapfan.batch.COLUMNS` as `bin`, little-endian, record after record; where all records have the same value, the
bin may hold it once. A share also has "router", the epoch of
the router that sent it, and "number", its place in the row of that router's shares to that writer. What arrives
is validated before a column is looked at.
"""

import re
from typing import Any

import msgpack
import numpy as np

from tapfan.batch import COLUMNS, Batch, Records, is_constant

VERSION = 1
MAX_RECORDS = 65_536  # of one batch; four bytes of its sequence numbers, and 3 MiB on the wire
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # what is longer is not unpacked
MAX_SEQUENCE = 2**48  # twelve hexadecimal digits in a key: nine years at a million records a second
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


def pack_batch(batch: Batch) -> bytes:
    """The batch as a message."""
    return _pack({"kind": "batch"}, batch)


def pack_share(router: str, number: int, batch: Batch) -> bytes:
    """The batch as a message to a writer, with the router's epoch and the share's number."""
    return _pack({"kind": "share", "router": router, "number": number}, batch)


def share_number(content: dict[str, Any]) -> tuple[str, int]:
    """The router's epoch and the number of a share. Raises WireError."""
    router = content.get("router")
    if not isinstance(router, str):
        raise WireError(f"router {router!r:.40} is not text")
    return router, _integer(content, "number", 0, 2**63)


def read_batch(content: dict[str, Any]) -> Batch:
    """The batch of an unpacked map; the columns are views of its bytes. Raises WireError."""
    if content.get("version") != VERSION:
        raise WireError(f"version {content.get('version')!r:.40}, not {VERSION}")
    stream = content.get("stream")
    if not isinstance(stream, str) or not STREAM_FORM.fullmatch(stream):
        raise WireError(f"stream {stream!r:.60} is not a name and eight hexadecimal digits")
    count = _integer(content, "count", 1, MAX_RECORDS + 1)
    first = _integer(content, "first", 0, MAX_SEQUENCE - count)
    columns = []
    for name, (dtype, width) in COLUMNS.items():
        value = content.get(name)
        one = dtype.itemsize * width
        if not isinstance(value, bytes) or len(value) not in (one, count * one):
            raise WireError(f"column {name} is not {count * one} bytes, nor {one}")
        column = np.frombuffer(value, dtype).reshape(-1, width)
        if len(column) < count:
            column = np.broadcast_to(column, (count, width))
        columns.append(column[:, 0] if width == 1 else column)
    records = Records(*columns)
    if records.timestamp.max() >= MAX_TIMESTAMP_NS:
        raise WireError(f"a timestamp of {MAX_TIMESTAMP_NS} ns or more")
    return Batch(stream, first, records)


def _pack(head: dict[str, Any], batch: Batch) -> bytes:
    message = head | {"version": VERSION, "stream": batch.stream, "first": batch.first, "count": len(batch)}
    for name, (dtype, _) in COLUMNS.items():
        column = getattr(batch.records, name)
        message[name] = np.ascontiguousarray(column[:1] if is_constant(column) else column, dtype).data.cast("B")
    packed: bytes = msgpack.packb(message)
    return packed


def _integer(content: dict[str, Any], name: str, low: int, high: int) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value < high:
        raise WireError(f"{name} {value!r:.40} is not an integer from {low} to {high - 1}")
    return value
