"""Steps of a ramp: at most a hundred, none shorter than 100 ms, from where it begins to where it leads."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import ramp
from router.intent import Ramp
from tapfan.control import MAX_OVER_S, MIN_OVER_S
from tests.router.wanting import Wanted, an_intent

_durations = st.floats(MIN_OVER_S, MAX_OVER_S)


@pytest.mark.parametrize(
    ("over_s", "count"),
    [(0.1, 1), (0.19, 1), (0.2, 2), (0.3, 3), (0.7, 7), (1.0, 10), (9.99, 99), (10, 100), (60, 100), (86_400, 100)],
)
def test_a_ramp_has_as_many_steps_as_there_is_time_for(over_s: float, count: int) -> None:
    assert ramp.steps(over_s) == count


@given(_durations, st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=20))
def test_steps_only_rise_from_none_to_all(over_s: float, parts: list[float]) -> None:
    count = ramp.steps(over_s)
    begun_s = 1_800_000_000.0
    steps = [ramp.step(begun_s, over_s, begun_s + part * over_s) for part in sorted(parts)]
    assert steps == sorted(steps)
    assert all(0 <= step <= count for step in steps)
    assert ramp.step(begun_s, over_s, begun_s - 1e9) == ramp.step(begun_s, over_s, begun_s) == 0
    assert ramp.step(begun_s, over_s, begun_s + over_s + 1e-3) == count
    for part, step in zip(sorted(parts), steps, strict=True):
        assert (step == count) == ramp.is_over(Ramp({}, begun_s, over_s), begun_s + part * over_s)


@given(_durations, st.floats(-1, 2))
def test_the_time_left_is_between_all_and_nothing(over_s: float, part: float) -> None:
    going = Ramp({}, 1000.0, over_s)
    left_s = ramp.left_s(going, 1000.0 + part * over_s)
    assert 0 <= left_s <= over_s
    assert left_s == pytest.approx(over_s * min(1, max(0, 1 - part)), abs=1e-6)


def test_positions_are_exact_and_who_stands_still_does() -> None:
    wanted = Wanted(an_intent(a=0.1, b=70))
    wanted.ask("weights", now_s=0.0, weights={"a": 0.2}, over=0.3)
    here = [dict(ramp.positions(wanted.intent, now_s)) for now_s in (0.0, 0.15, 0.25, 0.35)]
    tenth = Fraction(1, 10)
    assert here == [
        {"a": 0.1, "b": 70},
        {"a": tenth + tenth / 3, "b": 70},
        {"a": tenth + tenth * 2 / 3, "b": 70},
        {"a": 0.2, "b": 70},
    ]


def test_a_ramp_that_is_stopped_leaves_weights_that_are_set() -> None:
    wanted = Wanted(an_intent(a=0, b=70))
    assert ramp.stopped(wanted.intent, 0.0) is wanted.intent
    wanted.ask("weights", now_s=0.0, weights={"a": 1}, over=0.3)
    intent = ramp.stopped(wanted.intent, 0.15)
    assert intent.ramp is None
    assert {name: member.weight for name, member in intent.members.items()} == {"a": 1 / 3, "b": 70}
