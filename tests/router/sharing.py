"""Small batches whose timestamps are their sequence numbers, as they come to the router and as it sends them on."""

from dataclasses import replace

import numpy as np

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.wire import PackedBatch, packed_batch, read_shares, share_parts, unpack

STREAM = "local.00000001"


def a_batch(first: int, count: int, stream: str = STREAM) -> PackedBatch:
    """The stream's next `count` records."""
    columns = {
        name: np.broadcast_to(np.ones(width, dtype) if width > 1 else dtype.type(1), (count, width)[: 1 + (width > 1)])
        for name, (dtype, width) in COLUMNS.items()
    }
    columns["timestamp"] = np.arange(first, first + count, dtype=np.uint64)
    return replace(packed_batch(Batch(stream, first, Records(**columns))), ttl_ms=300_000)


def a_part(first: int, count: int) -> bytes:
    """The same as a share."""
    (part,) = share_parts(a_batch(first, count), [count])
    return part


def shares_in(message: bytes) -> list[tuple[str, int, list[int]]]:
    """Of each share the router, the number, and its records' sequence numbers, by identity and by content."""
    router, first, shares = read_shares(unpack(message))
    found = []
    for number, share in enumerate(shares, first):
        batch = share.unpacked()
        timestamps = batch.records.timestamp.tolist()
        assert timestamps == list(range(batch.first, batch.end))
        found.append((router, number, timestamps))
    return found
