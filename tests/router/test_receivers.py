"""A change leaves somebody who gets records, at once and where a ramp leads to, or is refused unless it is forced."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.history import History
from router.steering import Steering
from tapfan.control import ControlError
from tests.router.wanting import Wanted, a_request, an_intent, refused

_DAY_S = 86_400
_STEP_S = _DAY_S / 100


def _from_a_to_b() -> Wanted:
    """In a ramp of a day from a, which has all, to b."""
    wanted = Wanted(an_intent(a=30, b=0))
    wanted.ask("weights", now_s=0.0, weights={"a": 0, "b": 70}, over=_DAY_S)
    return wanted


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("state", {"states": {"a": "drain"}}), ("state", {"states": {"a": "maint"}}), ("remove", {"name": "a"})],
)
def test_the_last_who_gets_records_in_a_ramp_stays_until_another_one_does(
    command: str, arguments: dict[str, Any]
) -> None:
    wanted = _from_a_to_b()
    for now_s in (1.0, _STEP_S - 1):
        error = refused(wanted, command, now_s=now_s, **arguments)
        assert error.code == "nobody_left"
        assert "at this point of the ramp" in error.message
    wanted.ask(command, now_s=_STEP_S + 1, **arguments)
    forced = _from_a_to_b()
    forced.ask(command, now_s=1.0, force=True, **arguments)


def test_who_gets_records_in_a_ramp_and_none_at_its_end_is_not_enough() -> None:
    wanted = _from_a_to_b()
    error = refused(wanted, "state", now_s=_STEP_S + 1, states={"b": "drain"})
    assert error.code == "nobody_left"
    assert "at this point" not in error.message


def test_a_ramp_may_begin_where_nobody_gets_anything_but_not_let_it_be_so() -> None:
    wanted = Wanted(an_intent(a=30, b=0))
    wanted.ask("state", states={"a": "drain"}, force=True)
    wanted.ask("weights", weights={"b": 70}, over=60)
    wanted.ask("state", now_s=0.1, states={"a": "ready"})
    assert refused(wanted, "state", now_s=0.2, states={"a": "drain"}).code == "nobody_left"


def test_a_ramp_is_not_cancelled_where_that_would_leave_nobody() -> None:
    wanted = Wanted(an_intent(a=30, b=0))
    wanted.ask("state", states={"a": "drain"}, force=True)
    wanted.ask("weights", now_s=0.0, weights={"b": 70}, over=60)
    assert refused(wanted, "weights", now_s=0.1, cancel=True).code == "nobody_left"
    wanted.ask("weights", now_s=0.1, cancel=True, force=True)
    assert wanted.weights == {"a": 30, "b": 0}


def test_a_ramp_is_not_cancelled_where_all_weights_are_zero_whatever_is_forced() -> None:
    wanted = Wanted(an_intent(a=0, b=0, c=70))
    wanted.ask("weights", now_s=0.0, weights={"a": 30, "c": 0}, over=60)
    wanted.ask("state", now_s=0.1, states={"c": "drain"}, force=True)
    wanted.ask("remove", now_s=0.2, name="c")
    for force in (False, True):
        assert refused(wanted, "weights", now_s=0.3, cancel=True, force=force).code == "bad_weight"
    wanted.ask("weights", now_s=0.7, cancel=True)
    assert wanted.weights == {"a": 0.3, "b": 0}


_steps = st.one_of(
    st.tuples(
        st.just("weights"),
        st.fixed_dictionaries(
            {"weights": st.dictionaries(st.sampled_from("abc"), st.integers(0, 2), min_size=1)},
            optional={"over": st.sampled_from([1, 100])},
        ),
    ),
    st.tuples(st.just("weights"), st.just({"cancel": True})),
    st.tuples(
        st.just("state"),
        st.fixed_dictionaries(
            {"states": st.dictionaries(st.sampled_from("abc"), st.sampled_from(["ready", "drain"]), min_size=1)}
        ),
    ),
    st.tuples(st.just("remove"), st.fixed_dictionaries({"name": st.sampled_from("abc")})),
    st.tuples(st.just("undo"), st.fixed_dictionaries({}, optional={"version": st.integers(1, 9)})),
)


@given(st.lists(st.tuples(_steps, st.sampled_from([0.0, 0.05, 0.6, 1.5, 200.0])), max_size=12))
def test_without_force_there_is_somebody_at_every_moment(
    steps: list[tuple[tuple[str, dict[str, Any]], float]],
) -> None:
    wanted = Wanted(an_intent(a=1, b=0, c=1))
    now_s = 1000.0
    for (command, arguments), passed_s in steps:
        try:
            wanted.take(a_request(command, now_s, **arguments))
        except ControlError:
            continue
        steering = Steering(wanted.intent, History(), now_s)
        for part in range(12):
            steering.tick(now_s + part / 10 * passed_s, 0.0)
            assert steering.weights.any_up
        now_s += passed_s
