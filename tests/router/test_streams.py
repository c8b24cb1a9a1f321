"""A stream: acknowledged up to where everything is stored, whatever the order of storing."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from router.streams import OpenBatch, Stream


@dataclass
class _Share:
    """A share of a batch that is open: how many of its records will be stored, and how many expire."""

    batch: int
    stored: int
    expired: int


_share_sizes = st.tuples(st.integers(0, 5), st.integers(0, 5))
_batches = st.lists(st.lists(_share_sizes, min_size=1, max_size=4), min_size=1, max_size=8)


@given(_batches, st.integers(0, 1000), st.data())
def test_acknowledged_is_the_end_of_all_that_is_stored_without_a_gap(
    batches: list[list[tuple[int, int]]], base: int, data: st.DataObject
) -> None:
    stream = Stream.begun(base, 0)
    sizes = [sum(map(sum, shares)) for shares in batches]
    ends = [base + sum(sizes[: at + 1]) for at in range(len(sizes))]
    opened = [stream.receive(end, len(shares)) for end, shares in zip(ends, batches, strict=True)]
    assert stream.expected == ends[-1]
    left = [_Share(at, *share) for at, shares in enumerate(batches) for share in shares]
    done: list[_Share] = []
    for share in data.draw(st.permutations(left)):
        before = stream.acknowledged
        moved = stream.store(opened[share.batch], share.stored, share.expired)
        done.append(share)
        left.remove(share)
        whole = min((at.batch for at in left), default=len(batches))
        assert stream.acknowledged == (ends[whole - 1] if whole else base)
        assert moved == (stream.acknowledged > before)
        assert stream.acknowledged_expired == sum(at.expired for at in done if at.batch < whole)
        assert stream.stored == base + sum(at.stored for at in done)
        assert stream.expired == sum(at.expired for at in done)
    assert stream.acknowledged == stream.expected


def test_a_stream_begun_in_its_middle_counts_what_an_earlier_router_acknowledged() -> None:
    stream = Stream.begun(100, 30)
    assert (stream.expected, stream.acknowledged, stream.acknowledged_expired) == (100, 100, 30)
    assert (stream.stored, stream.expired) == (70, 30)
    batch: OpenBatch = stream.receive(110, 2)
    assert not stream.store(batch, 4, 1)
    assert (stream.acknowledged, stream.stored, stream.expired, stream.acknowledged_expired) == (100, 74, 31, 30)
    assert stream.store(batch, 3, 2)
    assert (stream.acknowledged, stream.stored, stream.expired, stream.acknowledged_expired) == (110, 77, 33, 33)


def test_what_is_skipped_is_acknowledged_after_what_is_open() -> None:
    stream = Stream.begun(100, 30)
    batch = stream.receive(110, 1)
    stream.skip_to(150, 34)
    assert (stream.expected, stream.acknowledged, stream.stored, stream.expired) == (150, 100, 106, 34)
    assert stream.store(batch, 10, 0)
    assert (stream.acknowledged, stream.acknowledged_expired) == (150, 34)
    assert stream.stored + stream.expired == 150


def test_no_more_expired_than_was_skipped() -> None:
    stream = Stream.begun(100, 0)
    stream.skip_to(110, 50)
    assert (stream.acknowledged, stream.stored, stream.expired) == (110, 100, 10)
