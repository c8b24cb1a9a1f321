"""Which identities were seen before, and streams' numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.reader.identities import MAX_STREAMS, CrowdedError, Seen, Streams

_near = st.integers(0, 40)
_identities = st.lists(
    st.one_of(_near, _near.map(lambda value: value + 65_520), _near.map(lambda value: value + 2**63))
)
_runs = st.tuples(st.integers(0, 200_000), st.integers(0, 300)).map(lambda run: list(range(run[0], run[0] + run[1])))


@given(st.lists(st.one_of(_identities, _runs), max_size=6))
def test_each_is_fresh_once(pieces: list[list[int]]) -> None:
    seen = Seen(100)
    known: set[int] = set()
    for piece in pieces:
        fresh = seen.fresh(np.array(piece, np.uint64))
        chosen = np.array(piece, np.uint64)[fresh].tolist()
        assert len(chosen) == len(set(chosen))
        assert set(chosen) == set(piece) - known
        known |= set(piece)


def test_many_in_no_order() -> None:
    identities = np.random.default_rng(1).permutation(np.arange(300_000, dtype=np.uint64))
    seen = Seen(10)
    assert seen.fresh(identities[:200_000]).all()
    assert seen.fresh(identities).tolist() == [False] * 200_000 + [True] * 100_000


def test_what_lies_far_apart_is_too_much_or_forgotten() -> None:
    identities = np.arange(0, 2**40, 2**30, dtype=np.uint64)
    with pytest.raises(CrowdedError):
        Seen(100).fresh(identities)
    forgetful = Seen(100, forgetful=True)
    assert forgetful.fresh(identities).all()
    assert not forgetful.fresh(identities[-100:]).any()
    assert forgetful.fresh(identities[:1]).all()


def test_streams_have_numbers_and_no_more_than_there_is_room_for() -> None:
    streams = Streams()
    assert [streams.number(name) for name in ("a", "b", "a")] == [0, 1, 0]
    for number in range(2, MAX_STREAMS):
        assert streams.number(str(number)) == number
    assert streams.number("one more") is None
    assert streams.number("b") == 1
    assert streams.identity(1 << 48 | 7) == ("b", 7)
