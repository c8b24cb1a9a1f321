"""Streams of earlier starts of a listener: what it found in its spool of them, and what went with its memory."""

from typing import Any

import pytest

from router.house import House
from router.status import status
from tapfan.messages import Gap
from tests.router.housing import TTL_MS, a_house, a_listener_report, ledger_of, stored, with_a_stream
from tests.router.sharing import STREAM, a_batch

_NOW, _LATER = "local.00000002", "local.00000003"
_LONG_S = 100.0  # after which a stream that is not reported any more counts as absent


def _leftover(house: House, now_s: float = 0.0, **fields: Any) -> None:
    """A listener that was started anew says what it found of its earlier stream, and what it captures into now."""
    house.take_listener_report(a_listener_report(live=False, **fields), b"new", now_s)
    house.take_listener_report(a_listener_report(_NOW, leftovers=[STREAM]), b"new", now_s)


def _done(house: House, now_s: float) -> None:
    """The listener has nothing of the earlier stream any more."""
    house.take_listener_report(a_listener_report(_NOW), b"new", now_s)


def test_of_a_stream_that_the_router_does_not_know_only_what_was_left_over_is_counted() -> None:
    house = a_house(a=1)
    _leftover(house, base=1000, sent=1000, captured=1100, spooled=100)
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["spooled"], ledger["stored"], ledger["lost"]) == (100, 100, 0, {})
    assert not house.take_batch(a_batch(0, 10))
    assert house.take_batch(a_batch(1000, 60))
    assert house.take_gap(Gap(stream=STREAM, first=1060, end=1100, reason="expired_in_spool")) is None
    (listener,) = house.take_stored(stored("a", 0, 60), 0.0)
    told = listener.acknowledgement(TTL_MS)
    assert (told.stream, told.acknowledged, told.lost) == (STREAM, 1100, {"expired_in_spool": 40})
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["expired"], ledger["balanced"]) == (100, 60, 40, True)


def test_what_a_known_stream_has_neither_sent_nor_left_over_was_lost_with_its_listener() -> None:
    house = with_a_stream(a=1)
    house.take_batch(a_batch(0, 10))
    _leftover(house, base=25, sent=25, captured=40, spooled=15)
    assert ledger_of(house)["lost"] == {"dropped_listener_killed": 15}
    assert (ledger_of(house)["captured"], ledger_of(house)["in_flight"], ledger_of(house)["spooled"]) == (40, 10, 15)
    assert house.take_batch(a_batch(25, 15))
    house.take_stored(stored("a", 0, 10), 0.0)
    house.take_stored(stored("a", 1, 15), 0.0)
    assert house.listeners[STREAM].acknowledgement(TTL_MS).acknowledged == 40
    assert (ledger_of(house)["stored"], ledger_of(house)["balanced"]) == (25, True)


def test_what_of_a_known_stream_had_come_in_before_is_not_sent_again_and_counts_once() -> None:
    """The listener had been killed before it learned that it was stored."""
    house = with_a_stream(a=1)
    house.take_batch(a_batch(0, 10))
    house.take_batch(a_batch(10, 10))
    house.take_stored(stored("a", 0, 10), 0.0)
    _leftover(house, base=0, captured=30, spooled=30)
    told = house.listeners[STREAM].acknowledgement(TTL_MS)
    assert (told.acknowledged, told.expected) == (10, 20)
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["in_flight"], ledger["spooled"]) == (30, 10, 10, 10)
    assert not house.take_batch(a_batch(10, 10))
    assert house.take_batch(a_batch(20, 10))
    house.take_stored(stored("a", 1, 10), 0.0)
    house.take_stored(stored("a", 2, 10), 0.0)
    assert (ledger_of(house)["stored"], ledger_of(house)["lost"]) == (30, {})


def test_what_had_been_captured_behind_all_that_is_left_over_was_lost_with_its_listener() -> None:
    """It was only in memory: what is left over had come in, and was about to be removed from the spool."""
    house = with_a_stream(a=1)
    house.take_listener_report(a_listener_report(captured=500, sent=30, spooled=0), b"", 0.0)
    house.take_batch(a_batch(0, 30))
    _leftover(house, base=0, captured=20, spooled=20)
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["dropped"], ledger["balanced"]) == (500, 0, True)
    house.take_stored(stored("a", 0, 30), 0.0)
    _done(house, 0.0)
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (500, 30, {"dropped_listener_killed": 470})


def test_what_the_killed_listener_s_kernel_had_dropped_still_counts() -> None:
    house = with_a_stream(a=1)
    house.take_listener_report(a_listener_report(captured=5, kernel_drops=7), b"", 0.0)
    for _ in range(2):
        _leftover(house, captured=5)
    assert status(house, 0.0)["listeners"]["local"]["kernel_drops"] == 7
    assert house.listeners[STREAM].address == b"new"


def test_a_leftover_that_is_known_begins_where_it_stands_and_not_where_it_says() -> None:
    house = a_house(a=1)
    _leftover(house, base=10, captured=30, spooled=20, sent=10)
    house.take_batch(a_batch(10, 10))
    _leftover(house, base=10, captured=30, spooled=10, sent=20)
    assert house.listeners[STREAM].acknowledgement(TTL_MS).expected == 20
    assert ledger_of(house)["captured"] == 20


def test_a_stream_has_ended_when_its_listener_has_another_and_nothing_left_over_of_it() -> None:
    house = with_a_stream(a=1)
    first = house.listeners[STREAM]
    assert not house.has_ended(first)
    house.take_listener_report(a_listener_report(live=False), b"", 0.0)
    assert not house.has_ended(first)
    house.take_listener_report(a_listener_report(_NOW, leftovers=[STREAM]), b"", 0.0)
    assert not house.has_ended(first)
    _done(house, 0.0)
    assert house.has_ended(first)
    assert not house.has_ended(house.listeners[_NOW])


def test_the_stream_that_is_captured_into_is_the_last_that_says_so() -> None:
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(live=False), b"", 0.0)
    assert house.current("local") is house.listeners[STREAM]
    house.take_listener_report(a_listener_report(_NOW, leftovers=[STREAM]), b"", 0.0)
    assert house.current("local") is house.listeners[_NOW]
    house.take_listener_report(a_listener_report(live=False), b"", 0.0)
    house.take_listener_report(a_listener_report("edge.00000001"), b"", 0.0)
    assert house.current("local") is house.listeners[_NOW]
    house.take_listener_report(a_listener_report(_LATER), b"", 0.0)
    assert house.current("local") is house.listeners[_LATER]
    assert house.current("edge") is house.listeners["edge.00000001"]


@pytest.mark.parametrize("reason", ["captured into", "left over", "not settled", "reported"])
def test_a_stream_that_may_still_change_is_kept(reason: str) -> None:
    house = with_a_stream(a=1)
    house.take_batch(a_batch(0, 10))
    if reason != "not settled":
        house.take_stored(stored("a", 0, 10), 0.0)
    if reason != "captured into":
        house.take_listener_report(
            a_listener_report(_NOW, leftovers=[STREAM] if reason == "left over" else []), b"", 0.0
        )
    house.sum_up_earlier(0.0 if reason == "reported" else _LONG_S)
    assert STREAM in house.listeners
    assert ledger_of(house)["captured"] == 10


def test_of_a_stream_that_has_ended_the_sums_are_kept_with_what_was_lost_with_its_listener() -> None:
    house = with_a_stream(a=1)
    house.take_listener_report(a_listener_report(captured=50, kernel_drops=3), b"", 0.0)
    house.take_batch(a_batch(0, 10))
    house.take_gap(Gap(stream=STREAM, first=10, end=12, reason="dropped_disk"))
    house.take_stored(stored("a", 0, 9, 1), 0.0)
    house.take_listener_report(a_listener_report(_NOW, kernel_drops=1), b"", 0.0)
    before = status(house, _LONG_S)
    house.sum_up_earlier(_LONG_S)
    assert list(house.listeners) == [_NOW]
    assert status(house, _LONG_S) == before
    local = before["listeners"]["local"]
    assert (local["captured"], local["stored"], local["kernel_drops"]) == (50, 9, 4)
    assert local["lost"] == {"expired_at_writer": 1, "dropped_disk": 2, "dropped_listener_killed": 38}


def test_a_stream_left_over_is_summed_up_when_the_listener_has_nothing_of_it_any_more() -> None:
    house = a_house(a=1)
    _leftover(house, base=100, sent=100, captured=120, spooled=20)
    house.take_batch(a_batch(100, 20))
    house.take_stored(stored("a", 0, 20), 0.0)
    house.look(_LONG_S)
    assert STREAM in house.listeners
    _done(house, _LONG_S)
    house.look(_LONG_S)
    assert list(house.listeners) == [_NOW]
    ledger = ledger_of(house, _LONG_S)
    assert (ledger["captured"], ledger["stored"], ledger["lost"], ledger["balanced"]) == (20, 20, {}, True)


def test_listeners_of_other_names_have_nothing_to_do_with_it() -> None:
    house = with_a_stream(a=1)
    house.take_listener_report(a_listener_report(captured=50), b"", 0.0)
    house.take_listener_report(a_listener_report("edge.00000001", captured=7), b"", 0.0)
    house.look(_LONG_S)
    assert list(house.listeners) == [STREAM, "edge.00000001"]
    told = status(house, _LONG_S)["listeners"]
    assert {name: (entry["in_flight"], entry["lost"]) for name, entry in told.items()} == {
        "local": (50, {}),
        "edge": (7, {}),
    }
