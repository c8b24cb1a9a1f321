"""Changes of weights: one vector, all of it or nothing, at once or in steps."""

import copy
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapfan.values import MAX_WEIGHT
from tests.router.wanting import Wanted, a_request, an_intent, refused


def test_weights_are_changed_as_one_vector_and_told_in_the_history() -> None:
    wanted = Wanted()
    entry = wanted.ask("weights", now_s=7.0, weights={"a": 50, "b": "12.5"}, by="ada", reason="b is slow")
    assert wanted.weights == {"a": 50, "b": 12.5}
    assert wanted.intent.version == entry.version == 2
    assert entry.told() == {
        "version": 2,
        "at": 7.0,
        "kind": "weights",
        "by": "ada",
        "key": None,
        "reason": "b is slow",
        "over": None,
        "changes": [
            {"writer": "a", "what": "weight", "before": 30, "after": 50},
            {"writer": "b", "what": "weight", "before": 70, "after": 12.5},
        ],
    }


@pytest.mark.parametrize("value", [0, 1e-9, 0.5, 71, MAX_WEIGHT, "12.5", "1e3"])
def test_a_good_weight_is_set_and_the_others_keep_theirs(value: float | str) -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"b": value})
    assert wanted.weights == {"a": 30, "b": float(value)}
    assert wanted.intent.members["b"].configured == 70


@pytest.mark.parametrize(
    "value",
    [
        *(-1, -0.001, math.nan, math.inf, -math.inf, MAX_WEIGHT + 1, 10**400, True, False, None),
        *("many", "nan", "inf", "", b"30", [30], {"a": 30}, "+", "-", "%", "+-1", "+1%", "1%%", "+1e3", "+nan", "-inf"),
        *("+1_0", "\u0663%", "+\u0663", "+1.", "+.5", "-71", "+1000000000", f"{MAX_WEIGHT}0%", "9" * 21 + "%"),
        *("+" + "9" * 60_000, "9" * 60_000),
        *(5e-324, 1e-10, "1e-10", "0.000000001%", "-69.9999999999", "0.00000000000000000001%"),
    ],
)
def test_a_bad_weight_is_refused_by_name(value: object) -> None:
    error = refused(Wanted(), "weights", weights={"a": 50, "b": value})
    assert error.code == "bad_weight"
    assert "the weight of b, " in error.message


@pytest.mark.parametrize(
    ("value", "then"),
    [("+10", 80), ("-10", 60), ("-70", 0), ("+0.3", 70.3), ("50%", 50), ("0%", 0), ("12.5%", 12.5), ("250%", 250)],
)
def test_relative_weights_go_by_what_is_set_and_percents_by_what_is_configured(value: str, then: float) -> None:
    wanted = Wanted(an_intent(a=30, b=100))
    wanted.ask("weights", weights={"b": 70})
    wanted.ask("weights", weights={"b": value})
    assert wanted.weights == {"a": 30, "b": then}


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 4))
@example(1, 2, 1)
def test_decimals_are_meant_as_they_are_written(one: int, other: int, places: int) -> None:
    """Not 0.1 + 0.2 = 0.30000000000000004."""
    unit = 10**places
    wanted = Wanted(an_intent(a=one / unit, b=1))
    text = f"+{other / unit:.{places}f}"
    wanted.take(a_request("weights", weights={"a": text}))
    assert wanted.weights["a"] == (one + other) / unit
    wanted.take(a_request("weights", weights={"a": "10%"}))
    assert wanted.weights["a"] == one / (unit * 10)


def test_of_a_thousand_writers_a_refusal_names_some() -> None:
    wanted = Wanted(an_intent(**{f"w{i}": 1 for i in range(1000)}))
    error = refused(wanted, "weights", weights={"nobody": 1})
    assert error.message.endswith("w8, w9 and 990 more")


@pytest.mark.parametrize("force", [False, True])
def test_all_weights_zero_is_refused_whatever_is_forced(force: bool) -> None:
    assert refused(Wanted(), "weights", weights={"a": 0, "b": "0%"}, force=force).code == "bad_weight"
    wanted = Wanted(an_intent(a=0, b=70))
    assert refused(wanted, "weights", weights={"b": "-70"}, force=force).code == "bad_weight"


@pytest.mark.parametrize(("over", "over_s"), [("60s", 60), (0.1, 0.1), ("1d", 86_400), ("100ms", 0.1), (5, 5)])
def test_a_ramp_leads_to_the_weights_that_are_set(over: object, over_s: float) -> None:
    wanted = Wanted()
    entry = wanted.ask("weights", now_s=100.0, weights={"a": 90}, over=over)
    assert (entry.kind, entry.over_s) == ("ramp", over_s)
    assert wanted.weights == {"a": 90, "b": 70}
    ramp = wanted.intent.ramp
    assert ramp is not None
    assert (dict(ramp.origin), ramp.begun_s, ramp.over_s) == ({"a": 30, "b": 70}, 100.0, over_s)


@pytest.mark.parametrize(
    "over", [0, 0.05, -1, "25h", 86_401, math.nan, math.inf, None, True, "", "soon", [], 10**400, "9" * 60_000 + "s"]
)
def test_a_bad_duration_of_a_ramp_is_refused(over: object) -> None:
    assert refused(Wanted(), "weights", weights={"a": 90}, over=over).code == "bad_duration"


def test_a_change_during_a_ramp_ends_it_and_who_is_not_named_stays_where_it_is() -> None:
    wanted = Wanted(an_intent(a=30, b=70, c=0))
    wanted.ask("weights", now_s=0.0, weights={"a": 90, "c": 10}, over=10)
    entry = wanted.ask("weights", now_s=5.0, weights={"b": 1})
    assert (wanted.weights, wanted.intent.ramp) == ({"a": 60, "b": 1, "c": 5}, None)
    assert {(change.writer, change.before, change.after) for change in entry.changes} == {
        ("b", 70, 1),
    }


def test_a_ramp_is_cancelled_where_it_is_or_replaced_from_there() -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90}, over=10)
    replaced = copy.copy(wanted)
    wanted.ask("weights", now_s=2.5, cancel=True)
    assert (wanted.weights, wanted.intent.ramp, wanted.intent.version) == ({"a": 45, "b": 70}, None, 3)
    replaced.ask("weights", now_s=2.5, weights={"b": 10}, over=20)
    assert replaced.weights == {"a": 45, "b": 10}
    assert replaced.intent.ramp is not None
    assert replaced.intent.ramp.origin == {"a": 45, "b": 70}


def test_a_ramp_that_is_over_is_not_cancelled_and_its_weights_are_the_set_ones() -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90}, over=10)
    assert wanted.take(a_request("weights", now_s=10.0, cancel=True)) is None
    entry = wanted.ask("weights", now_s=11.0, weights={"b": 1})
    assert wanted.weights == {"a": 90, "b": 1}
    assert [change.writer for change in entry.changes] == ["b"]


def test_what_is_relative_during_a_ramp_goes_by_where_that_is() -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90}, over=10)
    wanted.ask("weights", now_s=5.0, weights={"a": "+10"})
    assert wanted.weights == {"a": 70, "b": 70}


@pytest.mark.parametrize("change", [("ttl", {"ttl": 60}), ("state", {"states": {"b": "drain"}})])
def test_a_ramp_goes_on_while_other_things_change(change: tuple[str, dict[str, Any]]) -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90}, over=10)
    ramp = wanted.intent.ramp
    entry = wanted.ask(change[0], now_s=5.0, **change[1])
    assert wanted.intent.ramp is ramp
    assert entry.over_s is None


def test_writers_that_come_and_go_during_a_ramp_are_in_it_or_not() -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90, "b": 10}, over=10)
    wanted.ask("add", now_s=1.0, name="c", redis="redis://c:6379/0", weight=5)
    wanted.ask("remove", now_s=2.0, name="b")
    ramp = wanted.intent.ramp
    assert ramp is not None
    assert dict(ramp.origin) == {"a": 30, "c": 5}


def test_a_ramp_that_is_ended_leaves_weights_that_may_be_set() -> None:
    """However often; a weight that came ever closer to 0 would be 0 in the end."""
    wanted = Wanted(an_intent(a=1, b=70))
    for _ in range(200):
        wanted.ask("weights", now_s=0.0, weights={"a": 0}, over=100)
        wanted.ask("weights", now_s=99.5, cancel=True)
        if wanted.weights["a"] == 1e-9:
            return
    pytest.fail(f"the weight is {wanted.weights['a']}")


def test_the_beginning_of_a_ramp_is_a_change_itself_also_where_it_leads_to_what_is_set() -> None:
    wanted = Wanted()
    entry = wanted.ask("weights", now_s=0.0, weights={"a": 50}, over=60)
    assert entry.told()["changes"] == [
        {"writer": "a", "what": "weight", "before": 30, "after": 50},
        {"writer": None, "what": "ramp", "before": None, "after": 60},
    ]
    entry = wanted.ask("weights", now_s=30.0, weights={"a": 50}, over=600)
    assert entry.told()["changes"] == [
        {"writer": "a", "what": "weight", "before": 40, "after": 50},
        {"writer": None, "what": "ramp", "before": None, "after": 600},
    ]


def test_what_else_changes_while_a_ramp_goes_on_did_not_begin_it() -> None:
    wanted = Wanted(an_intent(a=30, b=70, c=1))
    wanted.ask("weights", now_s=0.0, weights={"a": 50}, over=60)
    for command, arguments in (
        ("add", {"name": "d", "redis": "redis://d:6379/0", "weight": 5}),
        ("remove", {"name": "c"}),
        ("ttl", {"ttl": 60}),
        ("undo", {}),
    ):
        entry = wanted.ask(command, now_s=1.0, **arguments)
        assert wanted.intent.ramp is not None
        assert entry.over_s is None
        assert "ramp" not in [change.what for change in entry.changes]
