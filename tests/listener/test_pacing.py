"""When the listener looks for records again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.pacing import Pacing

_BATCH, _PAUSE_S = 1000, 0.02


@pytest.mark.parametrize("records", [1, 500, _BATCH - 1])
def test_after_a_look_that_found_some_the_next_waits(records: int) -> None:
    pacing = Pacing(_BATCH, _PAUSE_S)
    pacing.found(records, 7.0)
    assert pacing.pause_s(7.0) == pytest.approx(_PAUSE_S)
    assert pacing.pause_s(7.015) == pytest.approx(0.005)
    assert pacing.pause_s(7.0 + _PAUSE_S) == 0
    assert pacing.pause_s(9.0) == 0


@pytest.mark.parametrize("records", [0, _BATCH, 50 * _BATCH])
def test_after_a_look_that_found_none_or_a_whole_batch_the_next_is_at_once(records: int) -> None:
    pacing = Pacing(_BATCH, _PAUSE_S)
    pacing.found(records, 7.0)
    assert pacing.pause_s(7.0) == 0


def test_the_first_look_is_at_once() -> None:
    assert Pacing(_BATCH, _PAUSE_S).pause_s(0.0) == 0


@given(st.lists(st.tuples(st.integers(0, 2 * _BATCH), st.floats(0, 0.1)), max_size=20), st.floats(0, 1e9))
def test_no_look_waits_longer_than_the_pause(looks: list[tuple[int, float]], begun_s: float) -> None:
    pacing = Pacing(_BATCH, _PAUSE_S)
    now_s = begun_s
    for records, later_s in looks:
        pacing.found(records, now_s)
        assert 0 <= pacing.pause_s(now_s) <= _PAUSE_S + 1e-6
        now_s += later_s
