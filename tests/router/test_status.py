"""The status: what people and programs are told of writers, listeners and the ledger."""

from typing import Any

import msgpack
import pytest

from router.listeners import REPORT_PERIOD_S
from router.status import history, status
from tapfan.bounds import MAX_COUNT
from tapfan.control import ControlError
from tapfan.messages import PacketCounts, Projection
from tapfan.skips import SKIP_REASONS
from tests.router.housing import FALL, a_house, a_listener_report, a_writer_report, change, stored, with_a_stream
from tests.router.sharing import STREAM, a_batch
from tests.tapfan import views

_ABSENT_AFTER_S = 3 * REPORT_PERIOD_S
_LATER = "local.00000002"


@pytest.mark.parametrize(
    ("healthy", "looks", "health"),
    [
        (True, 0, "up"),
        (True, FALL, "up"),
        (True, FALL + 1, "absent"),
        (False, 0, "down"),
        (False, FALL + 1, "absent"),
    ],
)
def test_a_writers_health_is_its_last_reports_while_they_come(healthy: bool, looks: int, health: str) -> None:
    """A report's own period is no missing one."""
    house = a_house()
    house.take_writer_report(a_writer_report("a", healthy, "" if healthy else "OOM"), b"")
    for _ in range(looks):
        house.look(0.0)
    writers = status(house, 0.0)["writers"]
    assert (writers["a"]["health"], writers["a"]["reason"]) == (health, "" if healthy else "OOM")
    assert (writers["b"]["health"], writers["b"]["reason"]) == ("absent", "has not reported yet")


def test_a_listener_is_up_for_three_periods_after_its_last_report() -> None:
    house = with_a_stream()
    house.take_listener_report(a_listener_report(), b"", 100.0)
    health = [_listener(status(house, 100 + waited_s))["health"] for waited_s in (_ABSENT_AFTER_S, _ABSENT_AFTER_S + 1)]
    assert health == ["up", "absent"]


def test_a_listener_that_has_more_than_its_window_holds_is_spooling() -> None:
    house = a_house()
    house.take_listener_report(a_listener_report(captured=100, sent=60, spooled=30), b"", 0.0)
    told = _listener(status(house, 0.0))
    assert (told["health"], told["captured"], told["in_flight"], told["spooled"]) == ("spooling", 100, 70, 30)


def test_what_has_come_in_since_the_last_report_is_not_spooled_any_more() -> None:
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(captured=100, spooled=30), b"", 0.0)
    house.take_batch(a_batch(0, 90))
    told = _listener(status(house, 0.0))
    assert (told["captured"], told["in_flight"], told["spooled"]) == (100, 90, 10)
    house.take_batch(a_batch(90, 50))
    told = _listener(status(house, 0.0))
    assert (told["captured"], told["in_flight"], told["spooled"]) == (140, 140, 0)


def test_while_a_listener_that_was_started_anew_has_a_stream_in_its_spool_nothing_of_it_is_lost() -> None:
    house = with_a_stream(a=1)
    house.take_batch(a_batch(0, 10))
    house.take_listener_report(a_listener_report(captured=50, spooled=20), b"", 0.0)
    house.take_listener_report(a_listener_report(live=False, captured=50, spooled=40, base=10, sent=10), b"", 0.0)
    house.take_listener_report(a_listener_report(_LATER, captured=7, leftovers=[STREAM]), b"", 0.0)
    told = status(house, 0.0)
    assert told["ledger"] == _ledger(captured=57, in_flight=17, spooled=40)
    house.take_listener_report(a_listener_report(_LATER, captured=7), b"", 0.0)
    lost = {"dropped_listener_killed": 40}
    assert status(house, 0.0)["ledger"] == _ledger(captured=57, in_flight=17, dropped=40, lost=lost)


def test_the_last_check_of_a_writers_redis_is_told() -> None:
    house = a_house()
    report = a_writer_report("a", round_trip_us=1_234, used_memory=10**9, max_memory=0)
    house.take_writer_report(report, b"")
    a, b = (status(house, 0.0)["writers"][name] for name in "ab")
    assert (a["round_trip_ms"], a["used_memory"], a["max_memory"]) == (1.234, 10**9, 0)
    assert (b["round_trip_ms"], b["used_memory"], b["max_memory"]) == (None, None, None)


def test_a_writer_that_is_down_has_its_weight_and_no_share() -> None:
    house = a_house(a=30, b=70)
    for _ in range(FALL):
        house.take_writer_report(a_writer_report("b", healthy=False, reason="OOM"), b"")
    told = status(house, 0.0)
    assert {name: (writer["weight"], writer["share"]) for name, writer in told["writers"].items()} == {
        "a": (30, 1.0),
        "b": (70, 0.0),
    }
    assert told["version"] == 1


def test_reasons_that_nothing_was_lost_for_are_not_told() -> None:
    house = with_a_stream(a=1)
    house.take_listener_report(a_listener_report(_LATER), b"", 0.0)
    house.look(100.0)
    assert status(house, 100.0)["ledger"]["lost"] == {}


def test_the_status_is_as_the_design_says() -> None:
    house = a_house(a=30, b=70)
    packets = PacketCounts(seen=1010, kernel_drops=4, ring_freezes=2, skipped={"fragment": 2, "bad_tcp": 3})
    house.take_listener_report(a_listener_report(captured=1000, packets=packets), b"", 0.0)
    house.take_batch(a_batch(0, 1000))
    house.take_stored(stored("a", 0, 300), 0.0)
    house.take_stored(stored("b", 0, 690, 10), 0.0)
    projection = Projection(rate=30.0, bytes_a_record=310.5, needed=2_794_500, available=3_000)
    memory: dict[str, Any] = {
        "used_memory": 1_000,
        "max_memory": 4_000,
        "projection": projection,
        "warnings": ["its clock is off"],
    }
    house.take_writer_report(a_writer_report("a", round_trip_us=250, **memory), b"")
    change(house, "weights", weights={"a": 10}, reason="less")
    observed = {name: dict.fromkeys(("10s", "1m", "5m"), part) for name, part in (("a", 0.30303), ("b", 0.69697))}
    assert status(house, 1.0) == {
        "version": 2,
        "ttl": 300.0,
        "ramp": None,
        "changed": views.entry("weights", ("a", "weight", 30, 10), at=0.0, by="somebody", reason="less"),
        "rate": 99.0,
        "writers": {
            "a": {
                "redis": "redis://a:6379/0",
                "configured": 30,
                "weight": 10,
                "effective": 10,
                "share": 0.125,
                "observed": observed["a"],
                "rate": 30.0,
                "state": "ready",
                "rampup_left": None,
                "joined": False,
                "health": "up",
                "reason": "",
                "round_trip_ms": 0.25,
                "used_memory": 1_000,
                "max_memory": 4_000,
                "projection": {"rate": 30.0, "bytes_a_record": 310.5, "needed": 2_794_500, "available": 3_000},
                "warnings": ["its clock is off"],
                "stored": 300,
                "in_flight": 0,
            },
            "b": {
                "redis": "redis://b:6379/0",
                "configured": 70,
                "weight": 70,
                "effective": 70,
                "share": 0.875,
                "observed": observed["b"],
                "rate": 69.0,
                "state": "ready",
                "rampup_left": None,
                "joined": False,
                "health": "absent",
                "reason": "has not reported yet",
                "round_trip_ms": None,
                "used_memory": None,
                "max_memory": None,
                "projection": None,
                "warnings": [],
                "stored": 690,
                "in_flight": 0,
            },
        },
        "listeners": {
            "local": {
                "source": "capture",
                "health": "up",
                "captured": 1000,
                "kernel_drops": 4,
                "packets": {
                    "seen": 1010,
                    "records": 1000,
                    "kernel_drops": 4,
                    "skipped": {"fragment": 2, "bad_tcp": 3},
                    "malformed": 3,
                    "unread": 1,
                    "ring_freezes": 2,
                },
                "stored": 990,
                "in_flight": 0,
                "spooled": 0,
                "expired": 10,
                "dropped": 0,
                "lost": {"expired_at_writer": 10},
            }
        },
        "ledger": _ledger(captured=1000, stored=990, expired=10, lost={"expired_at_writer": 10}),
    }


def test_a_ramp_is_told_with_the_time_that_is_left() -> None:
    house = a_house(a=30, b=70)
    change(house, "weights", 100.0, weights={"a": 50}, over=20)
    house.tick(105.0, 0.0)
    told = status(house, 0.0)
    ramp = {"from": {"a": 30, "b": 70}, "to": {"a": 50, "b": 70}, "over": 20, "left": 15}
    assert told["ramp"] == house.view()["ramp"] == ramp
    a = told["writers"]["a"]
    assert (a["weight"], a["effective"], a["share"]) == (50, 35, pytest.approx(1 / 3))
    house.tick(120.0, 0.0)
    told = status(house, 0.0)
    assert (told["ramp"], told["writers"]["a"]["effective"], told["changed"]["reason"]) == (None, 50, "at its end")


def test_states_are_told_and_that_nothing_was_changed_yet() -> None:
    house = a_house(a=30, b=70)
    assert status(house, 0.0)["changed"] is None
    view = change(house, "state", states={"a": "drain"})
    a = status(house, 0.0)["writers"]["a"]
    assert (a["state"], a["weight"], a["effective"], a["share"], view["states"]["a"]) == ("drain", 30, 0, 0, "drain")


def test_the_view_after_a_change_is_all_that_is_in_force() -> None:
    house = a_house(a=30, b=70)
    told = change(house, "weights", weights={"a": 0})
    assert told == views.view(weights={"a": 0, "b": 70}, shares={"a": 0, "b": 1})
    assert house.view(repeated=True)["repeated"] is True


def test_the_history_is_told_newest_first() -> None:
    house = a_house()
    for weight in range(1, 5):
        change(house, "weights", weights={"a": weight})
    told = history(house, {"limit": 2})
    assert (told["version"], [entry["version"] for entry in told["entries"]]) == (5, [5, 4])
    assert len(history(house, {})["entries"]) == 4


@pytest.mark.parametrize(
    "arguments", [{"limit": 0}, {"limit": 501}, {"limit": True}, {"limit": "5"}, {"limit": None}, {"limits": 5}]
)
def test_a_bad_request_for_the_history_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ControlError, match="1 to 500") as refusal:
        history(a_house(), arguments)
    assert refusal.value.code == "bad_request"


def _listener(told: dict[str, Any], name: str = "local") -> dict[str, Any]:
    listener: dict[str, Any] = told["listeners"][name]
    return listener


def _ledger(lost: dict[str, int] | None = None, **given_counts: int) -> dict[str, Any]:
    """A ledger that is balanced, with these counts, the others 0."""
    counts = dict.fromkeys(("captured", "stored", "expired", "dropped", "in_flight", "spooled"), 0)
    return counts | given_counts | {"lost": lost or {}, "balanced": True}


@pytest.mark.parametrize("seen", [0, MAX_COUNT])
def test_whatever_listeners_report_the_sums_can_be_told(seen: int) -> None:
    """Of many streams, all their counts the largest possible, and of many before them."""
    house = a_house()
    packets = PacketCounts(seen=seen, kernel_drops=MAX_COUNT, skipped=dict.fromkeys(SKIP_REASONS, MAX_COUNT))
    for now_s in (0.0, 100.0, 200.0):
        for number in range(200):
            stream = f"local.{number + 1000 * int(now_s):08x}"
            house.take_listener_report(a_listener_report(stream, packets=packets, captured=MAX_COUNT), b"", now_s)
        house.look(now_s + 99.0)
    told = status(house, 300.0)
    assert msgpack.unpackb(msgpack.packb(told)) == told
    assert told["listeners"]["local"]["kernel_drops"] > MAX_COUNT
