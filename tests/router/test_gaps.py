"""Gaps: records that a listener has no more are counted by reason, and never waited for."""

import pytest

from router.status import status
from tapfan.losses import REASONS, Reason
from tapfan.messages import Gap
from tests.router.housing import TTL_MS, a_house, ledger_of, stored, take_down, with_a_stream
from tests.router.sharing import STREAM, a_batch


def _gap(first: int, end: int, reason: Reason = "dropped_spool_full", stream: str = STREAM) -> Gap:
    return Gap(stream=stream, first=first, end=end, reason=reason)


def test_a_gap_in_its_place_is_acknowledged_at_once_when_nothing_before_it_is_open() -> None:
    house = with_a_stream(a=1)
    listener = house.take_gap(_gap(0, 10))
    assert listener is house.listeners[STREAM]
    told = listener.acknowledgement(TTL_MS)
    assert (told.acknowledged, told.expected, told.lost) == (10, 10, {"dropped_spool_full": 10})
    assert house.take_batch(a_batch(10, 5))


def test_a_gap_is_acknowledged_after_what_is_open_before_it() -> None:
    house = with_a_stream(a=1)
    house.take_batch(a_batch(0, 10))
    assert house.take_gap(_gap(10, 15)) is None
    told = house.listeners[STREAM].acknowledgement(TTL_MS)
    assert (told.acknowledged, told.expected, told.lost) == (0, 15, {})
    house.take_batch(a_batch(15, 5))
    assert house.take_stored(stored("a", 1, 5), 0.0) == []
    (listener,) = house.take_stored(stored("a", 0, 9, 1), 0.0)
    told = listener.acknowledgement(TTL_MS)
    assert (told.acknowledged, told.lost) == (20, {"dropped_spool_full": 5, "expired_at_writer": 1})


@pytest.mark.parametrize("first", [0, 3, 9, 10])
def test_of_a_gap_that_overlaps_what_came_in_only_the_rest_is_lost(first: int) -> None:
    """The listener lost more than it had sent, as far as it knows."""
    house = with_a_stream(a=1)
    house.take_batch(a_batch(0, 10))
    house.take_gap(_gap(first, 14))
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["in_flight"], ledger["lost"]) == (14, 10, {"dropped_spool_full": 4})
    house.take_stored(stored("a", 0, 10), 0.0)
    assert house.listeners[STREAM].acknowledgement(TTL_MS).acknowledged == 14
    assert ledger_of(house)["stored"] == 10


@pytest.mark.parametrize(("first", "end"), [(11, 20), (0, 10), (3, 7), (9, 10), (100, 2**48)])
def test_a_gap_out_of_order_or_known_already_leaves_no_trace(first: int, end: int) -> None:
    house = with_a_stream(a=1)
    house.take_batch(a_batch(0, 10))
    before = status(house, 0.0)
    assert house.take_gap(_gap(first, end)) is None
    assert status(house, 0.0) == before
    assert house.take_batch(a_batch(10, 5))


def test_a_gap_of_an_unknown_stream_is_ignored() -> None:
    house = with_a_stream()
    assert house.take_gap(_gap(0, 10, stream="local.00000002")) is None
    assert a_house().take_gap(_gap(0, 10)) is None
    assert ledger_of(house)["captured"] == 0


def test_a_gap_that_comes_twice_counts_once() -> None:
    house = with_a_stream()
    assert house.take_gap(_gap(0, 10)) is not None
    assert house.take_gap(_gap(0, 10)) is None
    assert ledger_of(house)["lost"] == {"dropped_spool_full": 10}


def test_losses_are_counted_by_their_reasons_and_as_expired_or_dropped() -> None:
    house = with_a_stream(a=1)
    for at, reason in enumerate(REASONS):
        house.take_gap(_gap(10 * at, 10 * at + at + 1, reason))
        house.take_batch(a_batch(10 * at + at + 1, 9 - at))
    for number, records in enumerate(range(9, 9 - len(REASONS), -1)):
        house.take_stored(stored("a", number, records), 0.0)
    ledger = ledger_of(house)
    assert ledger["lost"] == {reason: at + 1 for at, reason in enumerate(REASONS)}
    assert ledger["expired"] == sum(at + 1 for at, reason in enumerate(REASONS) if reason.startswith("expired"))
    assert ledger["dropped"] == sum(at + 1 for at, reason in enumerate(REASONS) if reason.startswith("dropped"))
    assert (ledger["in_flight"], ledger["balanced"]) == (0, True)


def test_a_gap_while_all_writers_are_down_waits_for_what_is_held() -> None:
    house = with_a_stream(a=1)
    take_down(house, "a")
    house.take_batch(a_batch(0, 10))
    assert house.take_gap(_gap(10, 12)) is None
    ledger = ledger_of(house)
    assert (house.held, ledger["in_flight"], ledger["dropped"], ledger["balanced"]) == (10, 10, 2, True)
