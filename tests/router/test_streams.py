"""A stream: acknowledged up to where everything is stored or lost, whatever the order of storing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.streams import OpenBatch, Stream, settle
from tapfan.losses import REASONS, Losses, Reason


@dataclass
class _Share:
    """A share of a batch that is open: how many of its records will be stored, and how many lost for which reason."""

    batch: int
    stored: int
    lost: Losses


_reasons: st.SearchStrategy[Reason] = st.sampled_from(REASONS)
_losses: st.SearchStrategy[Losses] = st.dictionaries(_reasons, st.integers(1, 5), max_size=2).map(Counter)
_shares = st.tuples(st.integers(0, 5), _losses).filter(lambda share: share[0] + share[1].total() > 0)
_batches = st.lists(st.lists(_shares, min_size=1, max_size=4), min_size=1, max_size=8)


@given(_batches, st.integers(0, 1000), st.data())
def test_acknowledged_is_the_end_of_all_that_is_settled_without_a_gap(
    batches: list[list[tuple[int, Losses]]], base: int, data: st.DataObject
) -> None:
    stream = Stream.begun(base, {})
    sizes = [sum(stored + lost.total() for stored, lost in shares) for shares in batches]
    ends = [base + sum(sizes[: at + 1]) for at in range(len(sizes))]
    opened = [stream.receive(end) for end in ends]
    assert stream.expected == ends[-1]
    left = [_Share(at, *share) for at, shares in enumerate(batches) for share in shares]
    done: list[_Share] = []
    for share in data.draw(st.permutations(left)):
        before = stream.acknowledged
        moved = _settle(opened[share.batch], share.stored, share.lost)
        done.append(share)
        left.remove(share)
        whole = min((at.batch for at in left), default=len(batches))
        assert stream.acknowledged == (ends[whole - 1] if whole else base)
        assert moved == (stream.acknowledged > before)
        assert stream.acknowledged_lost == _sum([at.lost for at in done if at.batch < whole])
        assert stream.stored == base + sum(at.stored for at in done)
        assert stream.lost == _sum([at.lost for at in done])
        assert stream.in_flight == sum(at.stored + at.lost.total() for at in left)
    assert stream.acknowledged == stream.expected


def _settle(batch: OpenBatch, stored: int, lost: Mapping[Reason, int]) -> bool:
    """So many records of a batch are stored, and others lost; whether that moved `acknowledged`."""
    if lost:
        batch.lose(lost)
    return settle([batch], [stored + sum(lost.values())]) == {batch.stream}


def _sum(losses: list[Losses]) -> Losses:
    total: Losses = Counter()
    for some in losses:
        total.update(some)
    return total


def test_a_stream_begun_in_its_middle_counts_what_an_earlier_router_acknowledged() -> None:
    stream = Stream.begun(100, {"expired_at_writer": 20, "dropped_disk": 10})
    assert (stream.expected, stream.acknowledged, stream.in_flight) == (100, 100, 0)
    assert stream.acknowledged_lost == {"expired_at_writer": 20, "dropped_disk": 10}
    assert (stream.stored, stream.lost.total()) == (70, 30)
    batch: OpenBatch = stream.receive(110)
    assert not _settle(batch, 4, {"expired_at_writer": 1})
    assert (stream.acknowledged, stream.stored, stream.lost.total()) == (100, 74, 31)
    assert stream.acknowledged_lost.total() == 30
    assert _settle(batch, 3, {"expired_at_writer": 2})
    assert (stream.acknowledged, stream.stored) == (110, 77)
    assert stream.lost == stream.acknowledged_lost == {"expired_at_writer": 23, "dropped_disk": 10}


def test_of_a_stream_left_over_nothing_below_its_base_is_counted() -> None:
    stream = Stream.left_over(100)
    assert (stream.expected, stream.acknowledged, stream.in_flight) == (100, 100, 0)
    assert (stream.stored, stream.lost.total(), stream.acknowledged_lost.total()) == (0, 0, 0)
    _settle(stream.receive(110), 9, {"expired_at_writer": 1})
    assert (stream.acknowledged, stream.stored, stream.lost) == (110, 9, {"expired_at_writer": 1})


def test_what_is_skipped_is_acknowledged_after_what_is_open() -> None:
    stream = Stream.begun(100, {"expired_at_writer": 30})
    batch = stream.receive(110)
    stream.skip_to(150, {"expired_at_writer": 32, "dropped_disk": 2})
    assert (stream.expected, stream.acknowledged, stream.stored, stream.lost.total()) == (150, 100, 106, 34)
    assert _settle(batch, 10, {})
    assert stream.acknowledged == 150
    assert stream.acknowledged_lost == {"expired_at_writer": 32, "dropped_disk": 2}
    assert stream.stored + stream.lost.total() == 150


def test_no_more_lost_than_was_skipped() -> None:
    stream = Stream.begun(100, {})
    stream.skip_to(110, {"expired_at_writer": 7, "dropped_disk": 50})
    assert (stream.acknowledged, stream.stored, stream.lost.total(), stream.in_flight) == (110, 100, 10, 0)


@pytest.mark.parametrize("reason", REASONS)
def test_what_will_not_come_is_acknowledged_after_what_is_open(reason: Reason) -> None:
    stream = Stream.begun(0, {})
    batch = stream.receive(10)
    assert not stream.lose_to(25, reason)
    assert (stream.expected, stream.acknowledged, stream.in_flight) == (25, 0, 10)
    assert (stream.lost, stream.acknowledged_lost) == ({reason: 15}, {})
    assert _settle(batch, 10, {})
    assert (stream.acknowledged, stream.acknowledged_lost, stream.stored) == (25, {reason: 15}, 10)


def test_what_will_not_come_is_acknowledged_at_once_when_nothing_is_open() -> None:
    stream = Stream.begun(5, {})
    assert stream.lose_to(7, "dropped_disk")
    assert stream.lose_to(8, "dropped_disk")
    assert (stream.acknowledged, stream.expected, stream.acknowledged_lost) == (8, 8, {"dropped_disk": 3})
