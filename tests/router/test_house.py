"""The router's state: batches, reports and changes of weights in, shares and acknowledgements out."""

import pytest

from router.status import status
from tests.router.housing import (
    TTL_MS,
    a_house,
    a_listener_report,
    a_writer_report,
    change,
    ledger_of,
    shares_of,
    stored,
    with_a_stream,
)
from tests.router.sharing import STREAM, a_batch


def test_a_batch_is_split_by_weight_in_contiguous_shares() -> None:
    house = with_a_stream(a=30, b=0, c=70)
    assert house.take_batch(a_batch(0, 10))
    assert house.take_batch(a_batch(10, 20))
    assert shares_of(house, "a") == [[0, 1, 2], list(range(10, 16))]
    assert shares_of(house, "b") == []
    assert shares_of(house, "c") == [list(range(3, 10)), list(range(16, 30))]


@pytest.mark.parametrize("first", [0, 9, 11, 20])
def test_a_batch_out_of_order_is_refused_and_leaves_no_trace(first: int) -> None:
    house = with_a_stream()
    house.take_batch(a_batch(0, 10))
    shares_of(house, "a")
    before = status(house, 0.0)
    assert not house.take_batch(a_batch(first, 10))
    assert status(house, 0.0) == before
    assert shares_of(house, "a") == []
    assert house.take_batch(a_batch(10, 10))


def test_a_batch_of_an_unknown_stream_is_refused() -> None:
    house = with_a_stream()
    assert not house.take_batch(a_batch(0, 10, "local.00000002"))
    assert ledger_of(house)["captured"] == 0


def test_a_batch_is_acknowledged_when_all_its_shares_are_stored_and_not_before() -> None:
    house = with_a_stream()
    house.take_batch(a_batch(0, 10))
    assert house.take_stored(stored("b", 0, 6, 1), 0.0) == []
    (listener,) = house.take_stored(stored("a", 0, 3), 0.0)
    assert listener is house.listeners[STREAM]
    told = listener.acknowledgement(TTL_MS)
    assert (told.acknowledged, told.lost, told.expected) == (10, {"expired_at_writer": 1}, 10)


def test_acknowledgements_echo_the_last_report_and_go_to_where_it_came_from() -> None:
    house = with_a_stream()
    house.take_listener_report(a_listener_report(number=8, sent=30, captured=30), b"moved", 1.0)
    listener = house.listeners[STREAM]
    told = listener.acknowledgement(TTL_MS)
    assert (told.report, told.sent, listener.address) == (8, 30, b"moved")


def test_a_new_router_begins_where_the_listener_stands_and_a_known_stream_does_not_begin_again() -> None:
    house = a_house()
    lost = {"expired_at_writer": 15, "dropped_disk": 5}
    house.take_listener_report(a_listener_report(base=100, sent=140, lost=lost, captured=150), b"", 0.0)
    assert house.listeners[STREAM].acknowledgement(TTL_MS).expected == 100
    assert ledger_of(house) == {
        "captured": 150,
        "stored": 80,
        "expired": 15,
        "dropped": 5,
        "in_flight": 50,
        "spooled": 0,
        "lost": lost,
        "balanced": True,
    }
    house.take_listener_report(a_listener_report(base=90, sent=140, captured=150), b"", 0.0)
    assert house.listeners[STREAM].acknowledgement(TTL_MS).expected == 100


def test_what_an_earlier_start_of_a_listener_had_not_sent_counts_as_dropped() -> None:
    house = with_a_stream()
    house.take_batch(a_batch(0, 10))
    house.take_listener_report(a_listener_report(captured=500, kernel_drops=5), b"", 0.0)
    house.take_listener_report(a_listener_report("local.00000002", captured=7, kernel_drops=1), b"", 0.0)
    told = status(house, 0.0)
    assert (told["ledger"]["captured"], told["ledger"]["dropped"], told["ledger"]["in_flight"]) == (507, 490, 17)
    assert told["listeners"]["local"]["kernel_drops"] == 6


def test_an_unknown_writers_report_gets_no_answer() -> None:
    house = a_house()
    assert house.take_writer_report(a_writer_report("nobody"), b"") is None
    assert status(house, 0.0)["writers"].keys() == {"a", "b"}


def test_a_writers_report_is_answered_by_its_own_lanes_mark() -> None:
    house = with_a_stream()
    house.take_batch(a_batch(0, 10))
    house.take_stored(stored("a", 0, 3), 0.0)
    marks = {name: house.take_writer_report(a_writer_report(name), name.encode()) for name in "ab"}
    assert {name: mark.base for name, mark in marks.items() if mark} == {"a": 1, "b": 0}
    assert house.writers["b"].address == b"b"


def test_what_an_earlier_router_acknowledged_after_the_stream_was_opened_is_not_waited_for() -> None:
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(base=100, sent=300, captured=300), b"", 0.0)
    lost = {"expired_at_writer": 3}
    listener = house.take_listener_report(a_listener_report(base=150, sent=300, lost=lost, captured=300), b"", 0.0)
    acknowledgement = listener.acknowledgement(TTL_MS)
    assert (acknowledgement.acknowledged, acknowledgement.expected, acknowledgement.lost) == (150, 150, lost)
    assert house.take_batch(a_batch(150, 150))
    house.take_stored(stored("a", 0, 150), 0.0)
    assert listener.acknowledgement(TTL_MS).acknowledged == 300
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["expired"], ledger["balanced"]) == (300, 297, 3, True)


def test_a_change_applies_to_the_next_batch() -> None:
    house = with_a_stream()
    house.take_batch(a_batch(0, 10))
    change(house, "weights", weights={"a": 70, "b": 30})
    house.take_batch(a_batch(10, 10))
    assert [len(records) for records in shares_of(house, "a")] == [3, 7]
