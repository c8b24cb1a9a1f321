"""Writers that come and go while records are on their way: nothing is lost, and nobody gets what is not its."""

from typing import Any

import pytest

from router.changes import join
from router.house import House
from router.status import status
from tapfan.control import ControlError
from tests.router.housing import (
    FALL,
    TTL_MS,
    a_house,
    a_writer_report,
    bring_up,
    change,
    ledger_of,
    shares_of,
    stored,
    take_down,
    with_a_stream,
)
from tests.router.sharing import STREAM, a_batch

_C: dict[str, Any] = {"name": "c", "redis": "redis://c:6379/0", "weight": 100}


def _in_flight(house: House) -> dict[str, int]:
    return {name: writer.lane.in_flight for name, writer in house.writers.items()}


def test_a_writer_that_was_added_gets_records_from_its_first_passed_report_on() -> None:
    house = with_a_stream(a=30, b=70)
    told = change(house, "add", **_C)
    assert (told["weights"]["c"], told["shares"]["c"]) == (100, 0)
    house.take_batch(a_batch(0, 10))
    for _ in range(20):
        house.take_writer_report(a_writer_report("a"), b"a")
        house.take_writer_report(a_writer_report("b"), b"b")
        house.look(0.0)
        assert house.view()["shares"]["c"] == 0, "it is not given anything for not having been heard of"
    house.take_writer_report(a_writer_report("c", healthy=False), b"c")
    assert house.view()["shares"]["c"] == 0
    bring_up(house, "c")
    assert house.view()["shares"] == {"a": 0.15, "b": 0.35, "c": 0.5}
    house.take_batch(a_batch(10, 20))
    assert _in_flight(house) == {"a": 6, "b": 14, "c": 10}
    assert list(house.writers) == ["a", "b", "c"]


def test_a_writer_that_joined_is_told_as_such() -> None:
    house = a_house(a=30, b=70)
    report = a_writer_report("c", redis="redis://elsewhere:6379/0", weight=100.0)
    assert house.take_writer_report(report, b"c") is None
    intent, entry = join(house.intent, report, 5.0)
    assert entry is not None
    house.adopt(intent, [entry], 5.0)
    assert house.take_writer_report(report, b"c") is not None
    told = status(house, 0.0)
    writer = told["writers"]["c"]
    assert (writer["joined"], writer["redis"], writer["health"]) == (True, "redis://elsewhere:6379/0", "up")
    assert (writer["share"], told["writers"]["a"]["joined"], told["version"]) == (0.5, False, 2)
    assert told["changed"]["kind"] == "join"


def test_what_a_removed_writer_had_goes_to_the_others() -> None:
    house = with_a_stream(a=50, b=25, c=25)
    house.take_batch(a_batch(0, 100))
    change(house, "state", states={"a": "drain"})
    with pytest.raises(ControlError, match="50 records"):
        change(house, "remove", name="a")
    change(house, "remove", name="a", force=True)
    assert _in_flight(house) == {"b": 50, "c": 50}
    assert sorted(record for name in "bc" for share in shares_of(house, name) for record in share) == list(range(100))
    assert ledger_of(house)["balanced"]
    assert house.take_stored(stored("a", 0, 50), 0.0) == []
    for name, number in (("b", 0), ("b", 1), ("c", 0), ("c", 1)):
        house.take_stored(stored(name, number, 25), 0.0)
    assert house.listeners[STREAM].acknowledgement(TTL_MS).acknowledged == 100


def test_what_a_removed_writer_had_is_held_while_nobody_else_is_up() -> None:
    house = with_a_stream(a=30, b=70)
    house.take_batch(a_batch(0, 10))
    take_down(house, "b")
    change(house, "remove", name="a", force=True)
    assert (_in_flight(house), house.held) == ({"b": 0}, 10)
    assert ledger_of(house)["balanced"]
    bring_up(house, "b")
    assert (_in_flight(house), house.held) == ({"b": 10}, 0)


def test_small_shares_of_a_removed_writer_are_held_too() -> None:
    house = with_a_stream(a=30, b=70)
    house.rules.whole_below = 256
    house.take_batch(a_batch(0, 10))
    take_down(house, "b")
    change(house, "remove", name="a", force=True)
    assert house.held == 10
    bring_up(house, "b")
    assert _in_flight(house) == {"b": 10}


def test_a_writer_that_gets_records_is_not_removed_though_it_has_none_at_this_moment() -> None:
    house = with_a_stream(a=30, b=70)
    with pytest.raises(ControlError, match="b gets records: drain it first") as refusal:
        change(house, "remove", name="b")
    assert refusal.value.code == "not_drained"
    change(house, "state", states={"b": "maint"})
    change(house, "remove", name="b")
    change(house, "add", **_C)
    change(house, "remove", name="c")
    assert list(house.writers) == ["a"], "c has not reported yet"


@pytest.mark.parametrize("is_connected", [True, False])
def test_the_process_of_a_removed_writer_is_not_heard_any_more_and_a_new_one_is(is_connected: bool) -> None:
    """Also one whose connection was away at that moment."""
    house = a_house(a=30, b=70)
    house.take_writer_report(a_writer_report("b"), b"old b")
    house.writers["b"].is_connected = is_connected
    change(house, "remove", name="b", force=True)
    assert house.is_removed(b"old b")
    assert not house.is_removed(b"new b")
    assert house.take_writer_report(a_writer_report("b"), b"old b") is None
    change(house, "add", name="b", redis="redis://b:6379/0", weight=70)
    assert house.take_writer_report(a_writer_report("b"), b"old b") is None
    assert house.view()["shares"]["b"] == 0
    assert house.take_writer_report(a_writer_report("b"), b"new b") is not None
    assert house.view()["shares"]["b"] == 0.7


def test_a_late_word_of_a_removed_writer_is_not_taken_for_its_successors() -> None:
    """Else records would count as stored that nobody stored."""
    house = with_a_stream(a=0, b=70)
    house.take_batch(a_batch(0, 10))
    change(house, "weights", weights={"a": 1})
    change(house, "remove", name="b", force=True)
    change(house, "add", name="b", redis="redis://b:6379/0", weight=1000)
    bring_up(house, "b")
    change(house, "weights", weights={"a": 0})
    house.take_batch(a_batch(10, 10))
    assert _in_flight(house) == {"a": 10, "b": 10}
    assert house.take_stored(stored("b", 0, 10), 0.0) == []
    assert _in_flight(house) == {"a": 10, "b": 10}
    house.take_stored(stored("b", 1, 10), 0.0)
    assert _in_flight(house) == {"a": 10, "b": 0}


def test_a_writer_in_maintenance_keeps_what_it_has_until_it_is_down() -> None:
    house = with_a_stream(a=30, b=70)
    house.take_batch(a_batch(0, 10))
    change(house, "state", states={"a": "maint"})
    house.take_batch(a_batch(10, 10))
    assert _in_flight(house) == {"a": 3, "b": 17}
    assert (house.in_flight("a"), house.in_flight("b")) == (3, None)
    for _ in range(FALL + 1):
        house.take_writer_report(a_writer_report("b"), b"b")
        house.look(0.0)
    take_down(house, "a")
    assert _in_flight(house) == {"a": 0, "b": 20}


def test_while_nobody_is_ready_all_is_held_and_the_first_who_is_gets_it() -> None:
    house = with_a_stream(a=30, b=70)
    change(house, "state", states={"a": "drain", "b": "maint"}, force=True)
    house.take_batch(a_batch(0, 10))
    assert (house.held, _in_flight(house)) == (10, {"a": 0, "b": 0})
    change(house, "state", states={"a": "ready"})
    assert (house.held, _in_flight(house)) == (0, {"a": 10, "b": 0})


def test_a_writers_health_is_in_the_history_when_it_changes() -> None:
    house = a_house(a=30, b=70)
    for name in "ab":
        house.take_writer_report(a_writer_report(name), name.encode())
    assert house.take_entries() == [], "to be up is what is expected of them"
    take_down(house, "a")
    bring_up(house, "a")
    for _ in range(FALL + 1):
        house.take_writer_report(a_writer_report("a"), b"a")
        house.look(0.0)
    told = [
        (entry.kind, entry.by, entry.version, change.writer, change.before, change.after)
        for entry in house.take_entries()
        for change in entry.changes
    ]
    assert told == [
        ("health", "(automatic)", 1, "a", "up", "down"),
        ("health", "(automatic)", 1, "a", "down", "up"),
        ("health", "(automatic)", 1, "b", "up", "absent"),
    ]
    assert len(house.history) == 3
