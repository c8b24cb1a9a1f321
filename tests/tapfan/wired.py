"""A message as it should be, and what must hold of whatever comes of one that is not."""

from typing import Any

import msgpack

from tapfan.batch import COLUMNS, Batch
from tapfan.bounds import MAX_RECORDS, MAX_SEQUENCE, MAX_TIMESTAMP_NS
from tapfan.wire import PackedBatch, batch_message, read_batch, unpack
from tests.tapfan.strategies import same

LONGEST_ERROR = 300


def an_example() -> dict[str, Any]:
    """A valid message, as its map: two records whose source ports differ."""
    one_value: dict[str, Any] = {name: [1, 0, b""] for name in COLUMNS}
    addresses = {"source": [bytes(12), 4, b"\1\2\3\4\5\6\7\x08"], "destination": [bytes(16), 0, b""]}
    ports = {"source_port": [1000, 1, b"\0\xff"]}
    head = {"kind": "batch", "version": 1, "stream": "local.0a1b2c3d", "first": 5, "count": 2}
    return head | one_value | addresses | ports


def batch_of(content: dict[str, Any]) -> Batch:
    return read_batch(unpack(msgpack.packb(content))).unpacked()


def assert_sound(packed: PackedBatch) -> None:
    batch = packed.unpacked()
    assert 0 < len(batch) == len(packed) <= MAX_RECORDS
    assert 0 <= batch.first < batch.end <= MAX_SEQUENCE
    assert int(batch.records.timestamp.max()) < MAX_TIMESTAMP_NS
    for name, (dtype, width) in COLUMNS.items():
        column = getattr(batch.records, name)
        assert (column.dtype, column.shape) == (dtype, (len(batch),) if width == 1 else (len(batch), width))
    if len(batch) < 1000:
        assert same(read_batch(unpack(batch_message(packed))).unpacked(), batch)
