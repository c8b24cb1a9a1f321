"""A writer that comes back gets its weight in steps, if it is to; one that is new has it at once."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.health import AWAY_LOOKS
from router.house import House, Rules
from router.intent import Intent
from router.remembered import Remembered
from router.status import status
from router.vectors import exact
from tests.router.housing import (
    FALL,
    RISE,
    ROUTER,
    TTL_MS,
    a_listener_report,
    a_writer_report,
    bring_up,
    change,
    ledger_of,
    take_down,
)
from tests.router.sharing import a_batch
from tests.router.wanting import Wanted, an_intent


def _an_intent(rampup_s: float = 10.0, **weights: float) -> Intent:
    """Where a takes so long to its whole weight."""
    intent = an_intent(**weights)
    members = {**intent.members, "a": replace(intent.members["a"], rampup_s=rampup_s)}
    return replace(intent, members=members)


def _house(rampup_s: float = 10.0, **weights: float) -> House:
    """A router of writers that have all reported."""
    house = House(_an_intent(rampup_s, **weights), TTL_MS, ROUTER, Rules(RISE, FALL), now_s=1000.0)
    for name in house.writers:
        house.take_writer_report(a_writer_report(name, router=ROUTER), name.encode())
    return house


def _tick(house: House, now_s: float, set_forward_s: float = 0.0) -> None:
    """Let it be that time; `set_forward_s`: by how much the host's clock was set forward meanwhile."""
    house.tick(now_s + set_forward_s, now_s - 1000.0)


def _effective(house: House) -> dict[str, Fraction]:
    return {name: exact(weight) for name, weight in house.weights.effective.items()}


def test_at_the_start_everyone_has_its_whole_weight() -> None:
    assert _effective(_house(a=30, b=70)) == {"a": 30, "b": 70}


def test_a_writer_that_was_down_begins_with_one_step_and_has_all_at_the_end() -> None:
    house = _house(a=30, b=70)
    take_down(house, "a")
    _tick(house, 1005.0)
    bring_up(house, "a")
    told = status(house, 0.0)["writers"]["a"]
    assert (told["weight"], told["effective"], told["rampup_left"]) == (30, 0.3, 10.0)
    assert status(house, 0.0)["writers"]["b"]["rampup_left"] is None
    for now_s, percent in ((1005.05, 1), (1005.15, 2), (1009.95, 50), (1014.85, 99), (1014.95, 100), (1015.0, 100)):
        _tick(house, now_s)
        assert _effective(house) == {"a": Fraction(30 * percent, 100), "b": 70}
    assert status(house, 0.0)["writers"]["a"]["rampup_left"] is None
    assert (house.intent.version, house.intent.members["a"].weight) == (1, 30)


def test_a_writer_whose_reports_did_not_come_is_back_in_the_same_way() -> None:
    house = _house(a=30, b=70)
    for _ in range(FALL + 1):
        house.take_writer_report(a_writer_report("b", router=ROUTER), b"b")
        house.look(0.0)
    assert _effective(house) == {"b": 70}
    bring_up(house, "a")
    assert _effective(house)["a"] == Fraction(30, 100)


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_a_writer_that_is_ready_again_is_back_too(state: str) -> None:
    house = _house(a=30, b=70)
    change(house, "state", 1001.0, states={"a": state})
    change(house, "state", 1002.0, states={"a": "ready"})
    assert _effective(house) == {"a": Fraction(30, 100), "b": 70}
    _tick(house, 1012.0)
    assert _effective(house) == {"a": 30, "b": 70}


def test_a_writer_that_is_ready_again_and_still_down_begins_when_it_is_up() -> None:
    house = _house(a=30, b=70)
    change(house, "state", 1001.0, states={"a": "maint"})
    take_down(house, "a")
    change(house, "state", 1002.0, states={"a": "ready"})
    assert house.steering.rampup_left_s("a") is None
    _tick(house, 1050.0)
    assert _effective(house) == {"b": 70}
    bring_up(house, "a")
    assert _effective(house) == {"a": Fraction(30, 100), "b": 70}


def test_a_writer_that_comes_back_while_it_is_not_ready_begins_when_it_is() -> None:
    house = _house(a=30, b=70)
    take_down(house, "a")
    change(house, "state", 1001.0, states={"a": "drain"})
    bring_up(house, "a")
    assert _effective(house) == {"b": 70}
    _tick(house, 1100.0)
    change(house, "state", 1100.0, states={"a": "ready"})
    assert _effective(house) == {"a": Fraction(30, 100), "b": 70}


def test_a_writer_that_goes_down_again_begins_anew() -> None:
    house = _house(a=30, b=70)
    take_down(house, "a")
    bring_up(house, "a")
    _tick(house, 1005.05)
    assert _effective(house)["a"] == Fraction(30 * 51, 100)
    take_down(house, "a")
    assert _effective(house) == {"b": 70}
    _tick(house, 1007.0)
    bring_up(house, "a")
    assert _effective(house)["a"] == Fraction(30, 100)


def test_the_end_of_a_rampup_does_not_begin_the_split_anew() -> None:
    house = _house(a=0.1, b=0.1)
    take_down(house, "a")
    bring_up(house, "a")
    _tick(house, 1009.95)
    first = house.weights.take(1)
    _tick(house, 1010.0)
    assert house.steering.rampup_left_s("a") is None
    assert Counter(first) + Counter(house.weights.take(1)) == {"a": 1, "b": 1}


@pytest.mark.parametrize("set_forward_s", [-86_400.0, 86_400.0])
def test_setting_the_hosts_clock_neither_ends_a_rampup_nor_holds_it_up(set_forward_s: float) -> None:
    house = _house(a=30, b=70)
    take_down(house, "a")
    _tick(house, 1005.0)
    bring_up(house, "a")
    for now_s, percent in ((1005.05, 1), (1009.95, 50), (1015.0, 100)):
        _tick(house, now_s, set_forward_s)
        assert _effective(house) == {"a": Fraction(30 * percent, 100), "b": 70}
    assert house.steering.rampup_left_s("a") is None


def test_without_a_rampup_all_is_back_at_once() -> None:
    house = _house(rampup_s=0.0, a=30, b=70)
    take_down(house, "a")
    bring_up(house, "a")
    assert _effective(house) == {"a": 30, "b": 70}


def test_a_writer_that_is_late_at_the_start_is_first_heard_of_and_has_all_at_once() -> None:
    house = House(_an_intent(a=30, b=70), TTL_MS, ROUTER, Rules(RISE, FALL), now_s=1000.0)
    for _ in range(20):
        house.take_writer_report(a_writer_report("b", router=ROUTER), b"b")
        house.look(0.0)
    assert _effective(house) == {"b": 70}
    bring_up(house, "a")
    assert _effective(house) == {"a": 30, "b": 70}


def _after_a_restart(house: House, now_s: float, clock_s: float = 5000.0, **member: Any) -> House:
    """The router that starts then; `member`: what of a is otherwise then; `clock_s`: the host has started anew, too."""
    intent = house.intent
    members = {**intent.members, "a": replace(intent.members["a"], **member)}
    then = House(replace(intent, members=members), TTL_MS, ROUTER, Rules(RISE, FALL), now_s=now_s)
    then.restore(house.remembered(intent), clock_s)
    return then


def test_a_rampup_goes_on_in_a_router_that_starts_in_its_middle() -> None:
    house = _house(a=30, b=70)
    take_down(house, "a")
    _tick(house, 1005.0)
    bring_up(house, "a")
    _tick(house, 1006.0)
    for _ in range(2):
        house = _after_a_restart(house, 1009.05)
        assert _effective(house) == {"a": Fraction(30 * 41, 100), "b": 70}
        assert status(house, 0.0)["writers"]["a"]["rampup_left"] == pytest.approx(5.95)
    house.take_writer_report(a_writer_report("a"), b"a")
    for now_s, percent in ((1009.15, 42), (1014.85, 99), (1015.0, 100)):
        house.tick(now_s, 5000.0 + now_s - 1009.05)
        assert _effective(house) == {"a": Fraction(30 * percent, 100), "b": 70}
    assert house.remembered(house.intent).rampups == {}


@pytest.mark.parametrize(
    ("now_s", "member", "percent"),
    [
        (1016.0, {}, 100),
        (500.0, {}, 1),  # the host's clock was set back
        (1010.05, {"rampup_s": 0.0}, 100),
        (1010.05, {"rampup_s": 20.0}, 26),
        (1010.05, {"state": "drain"}, 0),
    ],
)
def test_what_of_a_rampup_is_left_after_a_restart(now_s: float, member: dict[str, Any], percent: int) -> None:
    house = _house(a=30, b=70)
    take_down(house, "a")
    _tick(house, 1005.0)
    bring_up(house, "a")
    then = _after_a_restart(house, now_s, **member)
    assert _effective(then).get("a", 0) == Fraction(30 * percent, 100)
    then.tick(now_s, 5000.0)
    assert _effective(then).get("a", 0) == Fraction(30 * percent, 100)


def test_a_rampup_that_a_change_begins_is_known_before_the_change_is_in_force() -> None:
    """It is saved with it: a router that is killed right after the reply must not give it all."""
    house = _house(a=30, b=70)
    change(house, "state", 1001.0, states={"a": "drain", "b": "drain"}, force=True)
    _tick(house, 1002.0)
    assert house.remembered(house.intent).rampups == {}
    wanted = Wanted(house.intent)
    wanted.ask("state", now_s=1002.0, states={"a": "ready", "b": "ready"})
    assert house.remembered(wanted.intent).rampups == {"a": 1002.0}
    take_down(house, "a")
    assert house.remembered(wanted.intent).rampups == {}
    bring_up(house, "a")
    house.adopt(wanted.intent, [], 1002.0)
    wanted.ask("state", now_s=1002.0, states={"a": "maint"})
    assert house.remembered(wanted.intent).rampups == {}


def test_a_writer_that_the_router_before_knew_is_back_and_not_new_when_it_is_late() -> None:
    house = House(_an_intent(a=30, b=70), TTL_MS, ROUTER, Rules(RISE, FALL), now_s=1000.0)
    house.restore(Remembered(processes={"a": b"a.1"}), 0.0)
    for _ in range(20):
        house.take_writer_report(a_writer_report("b", router=ROUTER), b"b")
        house.look(0.0)
    assert _effective(house) == {"b": 70}
    bring_up(house, "a")
    assert _effective(house) == {"a": Fraction(30, 100), "b": 70}


def _stay_away(house: House, *names: str) -> None:
    """Let processes that the next router will know say that their Redis takes no records."""
    for _ in range(AWAY_LOOKS + FALL):
        for name in house.writers:
            house.take_writer_report(a_writer_report(name, name not in names, router=ROUTER), name.encode())
        house.look(0.0)
    assert not house.weights.effective.keys() & set(names)


@pytest.mark.parametrize("restarts", [1, 2])
@pytest.mark.parametrize("healthy", [True, False])
def test_a_writer_that_was_away_when_the_router_ended_is_back_however_soon_it_comes(
    restarts: int, healthy: bool
) -> None:
    """Whether it or its Redis comes back; meanwhile it gets nothing."""
    house = _house(a=30, b=70)
    _stay_away(house, "a")
    for _ in range(restarts):
        house = _after_a_restart(house, 1009.0)
        assert _effective(house) == {"b": 70}
    if not healthy:
        house.take_writer_report(a_writer_report("a", False, router=ROUTER), b"a")
        assert _effective(house) == {"b": 70}
    bring_up(house, "a")
    assert _effective(house) == {"a": Fraction(30, 100), "b": 70}
    assert house.remembered(house.intent).away == set()
    told = [(entry.changes[0].before, entry.changes[0].after) for entry in house.history if entry.kind == "health"]
    assert told == [("absent", "up")] if healthy else [("absent", "down"), ("down", "up")]


def test_writers_that_went_a_moment_before_the_router_are_there_as_before_when_all_is_started_again() -> None:
    """So it is when everything is stopped, one after the other."""
    house = _house(a=30, b=70)
    for _ in range(AWAY_LOOKS - 1):
        house.look(0.0)
    assert not house.weights.any_up
    house = _after_a_restart(house, 1009.0)
    assert _effective(house) == {"a": 30, "b": 70}


def test_where_all_were_away_the_first_who_is_back_waits_a_little_for_the_others() -> None:
    house = _house(a=30, b=70)
    _stay_away(house, "a", "b")
    house = _after_a_restart(house, 1009.0, rampup_s=0.0)
    house.rules.patience = 2
    house.take_listener_report(a_listener_report(), b"listener", 0.0)
    house.take_batch(a_batch(0, 10))
    bring_up(house, "a", "b")
    assert house.held == 10
    for _ in range(2):
        house.look(0.0)
    assert (house.held, house.writers["a"].lane.in_flight) == (0, 3)


def test_a_writer_that_was_never_heard_of_is_new_in_the_next_router_too() -> None:
    house = House(_an_intent(a=30, b=70), TTL_MS, ROUTER, Rules(RISE, FALL), now_s=1000.0)
    for _ in range(20):
        house.take_writer_report(a_writer_report("b", router=ROUTER), b"b")
        house.look(0.0)
    assert _effective(house) == {"b": 70}
    house = _after_a_restart(house, 1009.0)
    bring_up(house, "a")
    assert _effective(house) == {"a": 30, "b": 70}


def test_a_ramp_of_its_weight_and_that_of_its_coming_back_are_multiplied() -> None:
    house = _house(a=100, b=100)
    change(house, "weights", 1000.0, weights={"a": 0}, over=100)
    take_down(house, "a")
    _tick(house, 1050.5)
    bring_up(house, "a")
    _tick(house, 1052.55)
    assert _effective(house) == {"a": Fraction(48) * Fraction(21, 100), "b": 100}


def test_an_only_writer_gets_everything_from_its_first_step_on() -> None:
    house = _house(a=30)
    house.take_listener_report(a_listener_report(), b"listener", 0.0)
    take_down(house, "a")
    house.take_batch(a_batch(0, 1000))
    bring_up(house, "a")
    assert (house.held, house.writers["a"].lane.in_flight) == (0, 1000)


@given(
    st.lists(
        st.tuples(st.sampled_from(["up", "down", "look", "drain", "ready"]), st.sampled_from("ab"), st.floats(0, 4)),
        max_size=40,
    )
)
def test_however_writers_come_and_go_weights_only_rise_to_what_is_set(events: list[tuple[str, str, float]]) -> None:
    """And nothing is lost of what came in meanwhile."""
    house = _house(a=30, b=70)
    house.take_listener_report(a_listener_report(), b"listener", 0.0)
    now_s, end = 1000.0, 0
    for event, name, passed_s in events:
        now_s += passed_s
        _tick(house, now_s)
        before = _effective(house)
        if event in ("up", "down"):
            house.take_writer_report(a_writer_report(name, event == "up", router=ROUTER), name.encode())
        elif event == "look":
            house.look(now_s)
        else:
            change(house, "state", now_s, states={name: event}, force=True)
        house.take_batch(a_batch(end, 7))
        end += 7
        effective, members = _effective(house), house.intent.members
        for writer, weight in effective.items():
            assert house.writers[writer].health.up
            assert members[writer].state == "ready"
            assert 0 < weight <= members[writer].weight
            if writer == "a" and writer not in before:
                is_back = house.steering.rampup_left_s("a") is not None
                assert weight == (Fraction(30, 100) if is_back else 30)
        assert effective.keys() == {
            writer for writer, member in members.items() if member.state == "ready" and house.writers[writer].health.up
        }
        ledger = ledger_of(house)
        assert (ledger["captured"], ledger["in_flight"], ledger["balanced"]) == (end, end, True)
    for name in "ab":
        change(house, "state", now_s, states={name: "ready"})
    bring_up(house, "a", "b")
    _tick(house, now_s + 10.0)
    assert _effective(house) == {"a": 30, "b": 70}
