"""Batches on the wire: any batch arrives as it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import COLUMNS, RECORD_BYTES, Batch, Records
from tapfan.bounds import MAX_MESSAGE_BYTES, MAX_RECORDS, MAX_SEQUENCE, MAX_TIMESTAMP_NS
from tapfan.wire import batch_message, packed_batch, read_batch, unpack
from tests.tapfan.strategies import batches, same, slices
from tests.tapfan.wired import an_example, batch_of


@given(batches())
def test_any_batch_arrives_as_it_was(batch: Batch) -> None:
    packed = read_batch(unpack(batch_message(packed_batch(batch))))
    assert (packed.stream, packed.first, packed.end, len(packed)) == (batch.stream, batch.first, batch.end, len(batch))
    assert same(packed.unpacked(), batch)


@given(st.data())
def test_a_slice_of_a_packed_batch_is_the_slice_of_the_batch(data: st.DataObject) -> None:
    batch = data.draw(batches())
    start, stop = data.draw(slices(len(batch)).filter(lambda ends: ends[0] < ends[1]))
    part = packed_batch(batch).slice(start, stop)
    assert (part.first, part.end, len(part)) == (batch.first + start, batch.first + stop, stop - start)
    assert same(part.unpacked(), batch[start:stop])
    again_start, again_stop = data.draw(slices(len(part)).filter(lambda ends: ends[0] < ends[1]))
    again = read_batch(unpack(batch_message(part.slice(again_start, again_stop))))
    assert same(again.unpacked(), batch[start:stop][again_start:again_stop])


def test_the_largest_batch_of_the_most_varied_records_fits_into_a_message() -> None:
    bits = np.random.default_rng(1)
    shapes = {name: (MAX_RECORDS, width)[: 1 + (width > 1)] for name, (_, width) in COLUMNS.items()}
    columns = {name: bits.integers(0, 256**dtype.itemsize, shapes[name], dtype) for name, (dtype, _) in COLUMNS.items()}
    columns["timestamp"] %= np.uint64(MAX_TIMESTAMP_NS)
    batch = Batch("local.0a1b2c3d", MAX_SEQUENCE - MAX_RECORDS - 1, Records(**columns))
    message = batch_message(packed_batch(batch))
    assert MAX_RECORDS * RECORD_BYTES < len(message) < MAX_MESSAGE_BYTES
    assert same(read_batch(unpack(message)).unpacked(), batch)


def test_the_example_that_the_others_break_is_valid() -> None:
    batch = batch_of(an_example())
    assert batch.records.source_port.tolist() == [1000, 1255]
    assert batch.records.source[1].tolist() == [0] * 12 + [5, 6, 7, 8]


@pytest.mark.parametrize("name", COLUMNS)
def test_the_last_value_of_each_column_passes(name: str) -> None:
    dtype, width = COLUMNS[name]
    limit = MAX_TIMESTAMP_NS if name == "timestamp" else 256**dtype.itemsize
    largest = [limit - 1, 0, b""] if width == 1 else [b"\xff" * 16, 0, b""]
    column = getattr(batch_of(an_example() | {name: largest}).records, name)
    assert column.max() == (limit - 1 if width == 1 else 255)
