"""Batches: slicing and joining keep records, identities and what is one value for all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import COLUMNS, RECORD_BYTES, Batch, Records, is_constant
from tests.tapfan.strategies import batches, records, rows, slices


@given(st.data())
def test_a_slice_keeps_each_record_and_its_identity(data: st.DataObject) -> None:
    batch = data.draw(batches())
    start, stop = data.draw(slices(len(batch)))
    part = batch[start:stop]
    assert (part.stream, part.first, part.end, len(part)) == (
        batch.stream,
        batch.first + start,
        batch.first + stop,
        stop - start,
    )
    assert rows(part.records) == rows(batch.records)[start:stop]


@given(batches(min_count=4))
def test_a_slice_is_a_view_and_takes_ends_as_python_does(batch: Batch) -> None:
    assert all(np.shares_memory(getattr(batch[1:3].records, name), getattr(batch.records, name)) for name in COLUMNS)
    assert (batch[:-1].first, batch[:-1].end) == (batch.first, batch.end - 1)
    assert (batch[-2:].first, batch[-2:].end) == (batch.end - 2, batch.end)


@given(batches(min_count=2), st.sampled_from([-1, 2]))
def test_a_slice_with_gaps_is_refused(batch: Batch, step: int) -> None:
    with pytest.raises(ValueError, match="contiguous"):
        batch[::step]


@given(records(min_count=2), st.data())
def test_records_are_chosen_by_mask_and_by_index(some: Records, data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, len(some) - 1), min_size=1))
    mask = np.isin(np.arange(len(some)), index)
    assert rows(some[np.array(index)]) == [rows(some)[at] for at in index]
    assert rows(some[mask]) == [rows(some)[at] for at in sorted(set(index))]


@given(st.lists(records(min_count=0, max_count=8), min_size=1, max_size=4))
def test_joined_parts_are_all_records_in_order(parts: list[Records]) -> None:
    joined = Records.concatenate(parts)
    assert rows(joined) == [row for part in parts for row in rows(part)]
    for name, (dtype, width) in COLUMNS.items():
        column = getattr(joined, name)
        assert (column.dtype, column.shape) == (dtype, (len(joined),) if width == 1 else (len(joined), width))


def test_a_single_part_is_given_back_as_it_is() -> None:
    part = Records.empty(3)
    assert Records.concatenate([part]) is part


def test_parts_of_one_value_join_to_one_value_only_when_it_is_the_same() -> None:
    one, other = _constant(3, port=80), _constant(2, port=443)
    assert Records.concatenate([one, one[:2]]).source_port.strides == (0,)
    assert Records.concatenate([one, one[:2]]).source.strides == (0, 1)
    mixed = Records.concatenate([one, other])
    assert mixed.source_port.tolist() == [80, 80, 80, 443, 443]
    assert mixed.source.strides == (0, 1)


@given(batches(min_count=2))
def test_a_column_is_constant_when_all_its_values_are_one(batch: Batch) -> None:
    for name in COLUMNS:
        column = np.ascontiguousarray(getattr(batch.records, name))
        assert is_constant(column) == (len({value.tobytes() for value in column}) == 1), name


@given(st.integers(2, 50), st.data())
def test_one_other_address_anywhere_makes_a_column_not_constant(count: int, data: st.DataObject) -> None:
    column = np.zeros((count, 16), np.uint8)
    assert is_constant(column)
    column[data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, 15))] = 1
    assert not is_constant(column)


def test_empty_records_have_every_column_and_a_record_its_bytes() -> None:
    some = Records.empty(7)
    assert len(some) == 7
    assert sum(getattr(some, name).nbytes for name in COLUMNS) == 7 * RECORD_BYTES == 7 * 47
    assert len(Records.empty()) == 0


def _constant(count: int, port: int) -> Records:
    """Records that are all the same, as they are read from the wire."""
    address = np.broadcast_to(np.zeros(16, np.uint8), (count, 16))
    number = {name: np.broadcast_to(dtype.type(port % 256), (count,)) for name, (dtype, _) in COLUMNS.items()}
    ports = np.broadcast_to(np.uint16(port), (count,))
    return Records(**(number | {"source": address, "destination": address, "source_port": ports}))
