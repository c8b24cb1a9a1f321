"""The split: exact at every batch boundary, for any weights and any batches."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.split import Split

_weight = st.one_of(
    st.just(0),
    st.integers(1, 100),
    st.integers(0, 10**9),
    st.floats(0, 1),
    st.floats(0, 1e9),
    st.sampled_from([5e-324, 1e-9, 0.1, 1e-300, 1e9]),
)
vectors = st.lists(_weight, min_size=1, max_size=20).filter(any)
batch_sizes = st.lists(
    st.one_of(st.integers(0, 3), st.integers(0, 100), st.integers(0, 70_000), st.integers(0, 10**18)), max_size=40
)


def _split(weights: Sequence[float]) -> Split:
    return Split([Fraction(repr(weight)) for weight in weights])


def _assert_exact(weights: Sequence[float], counts: Sequence[int], total: int) -> None:
    """Each count is less than one record away from the weight's part of the total."""
    parts = [Fraction(repr(weight)) for weight in weights]
    for part, count in zip(parts, counts, strict=True):
        assert abs(count - part / sum(parts) * total) < 1


@given(vectors, batch_sizes)
@example([30, 70], [1] * 40)
@example([1, 10**9], [10**9 + 1, 1, 1, 10**9])
@example([0.1, 0.2, 0.7], [1, 2, 3, 4] * 5)
@example([5e-324, 1e9], [10**12, 1, 0, 1])
@example([1, 2, 4], [10**18, 1])
@example([1] * 19 + [1e9], [1] * 60)
def test_every_writer_is_within_one_record_of_its_part_after_every_batch(
    weights: list[float], sizes: list[int]
) -> None:
    split = _split(weights)
    counts = [0] * len(weights)
    total = 0
    for size in sizes:
        shares = split.take(size)
        assert sum(shares) == size
        assert min(shares) >= 0
        counts = [had + share for had, share in zip(counts, shares, strict=True)]
        total += size
        _assert_exact(weights, counts, total)
        assert not any(count for weight, count in zip(weights, counts, strict=True) if not weight)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=20), st.integers(1, 200))
def test_records_one_by_one_are_split_as_exactly_as_many_at_once(weights: list[int], records: int) -> None:
    split = _split(weights)
    for _ in range(records):
        assert sorted(split.take(1))[-2:] == [0, 1]
    _assert_exact(weights, split.counts, records)


@pytest.mark.parametrize("unit", [1, 10, 100, 12_345])
@pytest.mark.parametrize("weights", [[30, 70], [3, 7], [0.3, 0.7], [30.0, 70.0], [3e8, 7e8]])
def test_thirty_and_seventy_are_thirty_and_seventy_percent(weights: list[float], unit: int) -> None:
    assert _split(weights).take(10 * unit) == [3 * unit, 7 * unit]
    one_by_one = _split(weights)
    for _ in range(100):
        one_by_one.take(1)
    assert one_by_one.counts == [30, 70]


def test_equal_weights_take_turns() -> None:
    split = _split([5] * 4)
    turns = [split.take(1).index(1) for _ in range(12)]
    assert turns == [0, 1, 2, 3] * 3


def test_weights_are_the_decimals_that_they_are_written_as() -> None:
    """In binary 0.1 + 0.2 is more than 0.3, and the third writer's part of 10**18 records less than the half."""
    assert _split([0.1, 0.2, 0.3]).take(6 * 10**17) == [10**17, 2 * 10**17, 3 * 10**17]


def test_an_only_writer_gets_everything_and_an_empty_batch_gives_nothing() -> None:
    split = _split([0.001])
    assert [split.take(size) for size in (0, 1, 7, 0)] == [[0], [1], [7], [0]]
