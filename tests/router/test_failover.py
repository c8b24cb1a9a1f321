"""Failover: what a writer that is down has not stored goes to those that are up, by their weights, and exactly."""

from itertools import chain

import pytest

from router.house import House
from router.status import status
from tapfan.messages import Mark
from tests.router.housing import (
    FALL,
    ROUTER,
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


def _records_of(house: House, name: str) -> list[int]:
    """The sequence numbers of all shares that a writer has to be sent, which then count as sent."""
    return list(chain.from_iterable(shares_of(house, name)))


def _in_flight(house: House) -> dict[str, int]:
    """Records by lane, and those that are held; the ledger counts each of them once."""
    assert ledger_of(house)["balanced"]
    lanes = {name: writer.lane.in_flight for name, writer in house.writers.items()}
    assert ledger_of(house)["in_flight"] == sum(lanes.values()) + house.held
    return lanes | {"held": house.held}


def _report(house: House, name: str, healthy: bool = True) -> Mark:
    mark = house.take_writer_report(a_writer_report(name, healthy, router=ROUTER), name.encode())
    assert mark is not None
    return mark


def test_what_a_writer_that_goes_down_has_not_stored_is_split_over_the_others_by_their_weights() -> None:
    house = with_a_stream(a=60, b=10, c=30)
    house.take_batch(a_batch(0, 100))
    assert [len(_records_of(house, name)) for name in "abc"] == [60, 10, 30]
    take_down(house, "a")
    assert _in_flight(house) == {"a": 0, "b": 25, "c": 75, "held": 0}
    assert _records_of(house, "a") == []
    assert sorted(_records_of(house, "b") + _records_of(house, "c")) == list(range(60))


def test_what_it_has_stored_before_stays_stored_and_is_not_given_to_others() -> None:
    house = with_a_stream(a=50, b=50)
    house.take_batch(a_batch(0, 10))
    house.take_batch(a_batch(10, 10))
    house.take_stored(stored("a", 0, 5), 0.0)
    take_down(house, "a")
    assert _in_flight(house) == {"a": 0, "b": 15, "held": 0}
    assert 0 not in _records_of(house, "b")
    assert status(house, 0.0)["writers"]["a"]["stored"] == 5


def test_new_batches_are_split_over_those_that_are_up_exactly_from_the_change_on() -> None:
    house = with_a_stream(a=34, b=33, c=33)
    house.take_batch(a_batch(0, 1))
    take_down(house, "a")
    for first in range(1, 100):
        house.take_batch(a_batch(first, 1))
        lanes = _in_flight(house)
        assert abs(lanes["b"] - lanes["c"]) <= 1
    assert (lanes["a"], lanes["b"] + lanes["c"]) == (0, 100)


def test_many_small_shares_are_split_as_exactly_as_one_large_one() -> None:
    """Redistributing splits each share by itself; their sum is exact all the same."""
    house = with_a_stream(a=98, b=1, c=1)
    for first in range(200):
        house.take_batch(a_batch(first, 1))
    take_down(house, "a")
    assert abs(_in_flight(house)["b"] - _in_flight(house)["c"]) <= 4, "two splits, each within one record"
    assert _in_flight(house)["a"] == 0


def test_a_writer_that_is_back_has_its_own_weight_again_and_no_weight_was_changed() -> None:
    house = with_a_stream(a=30, b=70)
    change(house, "weights", weights={"a": 60, "b": 40})
    take_down(house, "a")
    house.take_batch(a_batch(0, 10))
    assert _in_flight(house) == {"a": 0, "b": 10, "held": 0}
    told = status(house, 0.0)
    assert [told["writers"][name]["weight"] for name in "ab"] == [60, 40]
    assert [told["writers"][name]["configured"] for name in "ab"] == [30, 70]
    bring_up(house, "a")
    house.take_batch(a_batch(10, 100))
    assert _in_flight(house) == {"a": 60, "b": 50, "held": 0}
    told = status(house, 0.0)
    assert (told["version"], [told["writers"][name]["share"] for name in "ab"]) == (2, [0.6, 0.4])


def test_a_weight_that_is_set_while_its_writer_is_down_is_in_force_when_it_is_back() -> None:
    house = with_a_stream(a=30, b=70)
    take_down(house, "a")
    told = change(house, "weights", weights={"a": 210})
    assert (told["version"], told["weights"], told["shares"]) == (2, {"a": 210, "b": 70}, {"a": 0.0, "b": 1.0})
    bring_up(house, "a")
    house.take_batch(a_batch(0, 100))
    assert _in_flight(house) == {"a": 75, "b": 25, "held": 0}


def test_a_writer_whose_reports_do_not_come_is_down_like_one_whose_redis_is() -> None:
    house = with_a_stream(a=30, b=70)
    for name in "ab":
        _report(house, name)
    house.take_batch(a_batch(0, 10))
    for look in range(FALL + 1):
        assert _in_flight(house)["a"] == 3, f"before look {look}"
        _report(house, "b")
        house.look(0.0)
    assert _in_flight(house) == {"a": 0, "b": 10, "held": 0}


def test_of_a_start_nothing_goes_to_whoever_is_first() -> None:
    house = with_a_stream(a=30, b=70)
    _report(house, "b")
    house.take_batch(a_batch(0, 10))
    assert _in_flight(house) == {"a": 3, "b": 7, "held": 0}


def test_a_late_word_of_a_writer_thought_dead_changes_nothing() -> None:
    house = with_a_stream(a=30, b=70)
    house.take_batch(a_batch(0, 10))
    take_down(house, "a")
    before = status(house, 0.0)
    assert house.take_stored(stored("a", 0, 3), 0.0) == []
    assert status(house, 0.0) == before
    assert _in_flight(house) == {"a": 0, "b": 10, "held": 0}


def test_a_batch_is_acknowledged_when_the_others_have_stored_their_parts_of_a_share_and_not_before() -> None:
    house = with_a_stream(a=50, b=25, c=25)
    house.take_batch(a_batch(0, 8))
    for name in "bc":
        house.take_stored(stored(name, 0, 2), 0.0)
    take_down(house, "a")
    house.take_stored(stored("a", 0, 4), 0.0)
    assert house.listeners[STREAM].acknowledgement(TTL_MS).acknowledged == 0
    assert house.take_stored(stored("b", 1, 1, 1), 0.0) == []
    (listener,) = house.take_stored(stored("c", 1, 2), 0.0)
    assert listener is house.listeners[STREAM]
    told = listener.acknowledgement(TTL_MS)
    assert (told.acknowledged, told.lost) == (8, {"expired_at_writer": 1})


def test_a_share_can_go_from_one_writer_to_the_next_as_they_go_down() -> None:
    house = with_a_stream(a=1, b=1, c=1)
    house.take_batch(a_batch(0, 9))
    for name, left in (("a", {"a": 0, "b": 5, "c": 4}), ("b", {"a": 0, "b": 0, "c": 9})):
        take_down(house, name)
        lanes = _in_flight(house)
        assert sum(lanes.values()) == 9
        assert {at: count > 0 for at, count in lanes.items()} == {at: left.get(at, 0) > 0 for at in lanes}
    assert sorted(_records_of(house, "c")) == list(range(9))


def test_while_all_are_down_each_keeps_its_shares_and_new_ones_are_held() -> None:
    house = with_a_stream(a=30, b=70)
    house.take_batch(a_batch(0, 10))
    take_down(house, "a", "b")
    assert _in_flight(house) == {"a": 0, "b": 10, "held": 0}
    assert house.take_batch(a_batch(10, 10))
    assert house.take_batch(a_batch(20, 10))
    assert _in_flight(house) == {"a": 0, "b": 10, "held": 20}
    assert (ledger_of(house)["captured"], house.listeners[STREAM].acknowledgement(TTL_MS).expected) == (30, 30)
    assert [writer["share"] for writer in status(house, 0.0)["writers"].values()] == [0, 0]
    assert not house.draining


@pytest.mark.parametrize(
    ("first", "then"),
    [("a", {"a": 30, "b": 0, "held": 0}), ("b", {"a": 0, "b": 30, "held": 0})],
)
def test_the_first_that_comes_up_gets_what_is_held_and_what_the_others_have(first: str, then: dict[str, int]) -> None:
    house = with_a_stream(a=30, b=70)
    house.take_batch(a_batch(0, 10))
    take_down(house, "a", "b")
    house.take_batch(a_batch(10, 20))
    _records_of(house, "a")
    _records_of(house, "b")
    bring_up(house, first)
    assert _in_flight(house) == then
    assert house.draining
    house.take_writer_report(a_writer_report(first), b"")  # a new start of it, which has nothing
    assert sorted(_records_of(house, first)) == list(range(30))


def test_what_is_stored_all_the_same_while_all_are_down_counts() -> None:
    """The last one keeps its shares, as it may well be the first that can store them."""
    house = with_a_stream(a=30, b=70)
    house.take_batch(a_batch(0, 10))
    take_down(house, "a", "b")
    assert house.take_stored(stored("b", 0, 7), 0.0) == []
    (listener,) = house.take_stored(stored("b", 1, 3), 0.0)
    assert listener.acknowledgement(TTL_MS).acknowledged == 10
    assert _in_flight(house) == {"a": 0, "b": 0, "held": 0}


def test_while_only_writers_without_weight_are_up_everything_is_held() -> None:
    house = with_a_stream(a=0, b=70)
    house.take_batch(a_batch(0, 10))
    take_down(house, "b")
    house.take_batch(a_batch(10, 10))
    assert _in_flight(house) == {"a": 0, "b": 10, "held": 10}
    bring_up(house, "b")
    assert _in_flight(house) == {"a": 0, "b": 20, "held": 0}


def test_a_change_of_weights_lets_those_that_are_up_have_what_is_held() -> None:
    house = with_a_stream(a=0, b=70)
    house.take_batch(a_batch(0, 10))
    take_down(house, "b")
    house.take_batch(a_batch(10, 10))
    change(house, "weights", weights={"a": 1})
    assert _in_flight(house) == {"a": 20, "b": 0, "held": 0}
    assert sorted(_records_of(house, "a")) == list(range(20))


def test_a_change_of_weights_that_leaves_nobody_holds_what_comes_next_and_takes_nothing_away() -> None:
    house = with_a_stream(a=30, b=70)
    take_down(house, "b")
    house.take_batch(a_batch(0, 10))
    change(house, "weights", weights={"a": 0})
    house.take_batch(a_batch(10, 10))
    assert _in_flight(house) == {"a": 10, "b": 0, "held": 10}
    house.take_stored(stored("a", 0, 10), 0.0)
    assert _in_flight(house) == {"a": 0, "b": 0, "held": 10}
    bring_up(house, "b")
    assert _in_flight(house) == {"a": 0, "b": 10, "held": 0}


def test_a_writer_that_is_up_keeps_its_shares_whatever_happens_to_others_and_to_weights() -> None:
    house = with_a_stream(a=30, b=70)
    house.take_batch(a_batch(0, 10))
    assert _records_of(house, "b") == list(range(3, 10))
    take_down(house, "a")
    bring_up(house, "a")
    change(house, "weights", weights={"b": 0, "a": 1})
    assert house.writers["b"].lane.in_flight >= 7
    house.take_stored(stored("b", 0, 7), 0.0)
    assert ledger_of(house)["stored"] == 7


def test_shares_that_went_to_others_are_not_asked_for_again_when_the_writer_is_back() -> None:
    house = with_a_stream(a=30, b=70)
    for first in (0, 10, 20):
        house.take_batch(a_batch(first, 10))
    _records_of(house, "a")
    take_down(house, "a")
    assert _report(house, "a", healthy=False).base == 3
    bring_up(house, "a")
    house.take_batch(a_batch(30, 10))
    mark = house.take_writer_report(a_writer_report("a"), b"a")
    assert mark is not None
    assert (mark.base, _records_of(house, "a")) == (3, [30, 31, 32])


def test_a_writer_that_goes_down_by_its_own_report_is_told_at_once_that_nothing_is_asked_of_it() -> None:
    house = with_a_stream(a=30, b=70)
    _report(house, "a")
    house.take_batch(a_batch(0, 10))
    marks = [_report(house, "a", healthy=False).base for _ in range(FALL)]
    assert marks == [*[0] * (FALL - 1), 1]


def test_draining_is_over_when_those_that_are_up_have_stored_theirs() -> None:
    house = a_house(a=30, b=70)
    assert not house.draining
    house = with_a_stream(a=30, b=70)
    house.take_batch(a_batch(0, 10))
    assert house.draining
    house.take_stored(stored("a", 0, 3), 0.0)
    assert house.draining
    house.take_stored(stored("b", 0, 7), 0.0)
    assert not house.draining


def test_after_an_outage_of_all_the_first_who_is_up_waits_for_the_others() -> None:
    """What was held meanwhile is more than its share."""
    house = with_a_stream(a=30, b=70)
    house.rules.patience = 2
    for name in ("a", "b"):
        take_down(house, name)
    house.take_batch(a_batch(0, 1000))
    bring_up(house, "a")
    house.take_batch(a_batch(1000, 1000))
    assert (house.held, house.writers["a"].lane.in_flight) == (2000, 0)
    bring_up(house, "b")
    for _ in range(2):
        assert house.held == 2000
        house.take_writer_report(a_writer_report("a"), b"a")
        house.take_writer_report(a_writer_report("b"), b"b")
        house.look(0.0)
    assert (house.held, house.writers["a"].lane.in_flight, house.writers["b"].lane.in_flight) == (0, 600, 1400)


def test_who_is_up_alone_has_waited_long_enough_after_a_while() -> None:
    house = with_a_stream(a=30, b=70)
    house.rules.patience = 2
    for name in ("a", "b"):
        take_down(house, name)
    house.take_batch(a_batch(0, 1000))
    bring_up(house, "b")
    for _ in range(2):
        house.take_writer_report(a_writer_report("b"), b"b")
        house.look(0.0)
    assert (house.held, house.writers["b"].lane.in_flight) == (0, 1000)


def test_shares_do_not_fall_into_ever_smaller_parts() -> None:
    """However often writers go down and come back while nothing is stored."""
    house = with_a_stream(a=1, b=1, c=1)
    house.rules.whole_below = 256
    for first in range(0, 30_000, 3000):
        house.take_batch(a_batch(first, 3000))
    for _ in range(10):
        for name in ("a", "b", "c"):
            take_down(house, name)
            bring_up(house, name)
    shares = [share for name in ("a", "b", "c") for share in shares_of(house, name)]
    assert sorted(chain.from_iterable(shares)) == list(range(30_000))
    assert len(shares) < 30_000 / 256 * 3
    in_flight = sorted(writer.lane.in_flight for writer in house.writers.values())
    assert in_flight[0] == 0, "the last who came back was given nothing"
    assert in_flight[2] - in_flight[1] < 3000


def test_what_was_held_is_split_exactly_however_small_its_batches() -> None:
    house = with_a_stream(a=30, b=70)
    house.rules.whole_below, house.rules.patience = 256, 2
    take_down(house, "a", "b")
    for first in range(0, 1000, 10):
        house.take_batch(a_batch(first, 10))
    bring_up(house, "a", "b")
    for _ in range(2):
        _report(house, "a")
        _report(house, "b")
        house.look(0.0)
    assert _in_flight(house) == {"a": 300, "b": 700, "held": 0}
    assert [len(share) for share in shares_of(house, "a")] == [3] * 100
