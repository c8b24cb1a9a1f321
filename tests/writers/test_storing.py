"""The thread that stores: every share, in order, however often Redis fails, as long as the router waits for it."""

import select
import threading
import time

import pytest

from tests.writers.storer import DEADLINE_S, ROUTER, TTL_S, UP, Start, down, has_stored, share, shares
from writers import layouts, storing
from writers.storing import StoredShare


def test_shares_are_stored_in_order_and_told_one_by_one(start: Start) -> None:
    storer = start()
    for number in range(5):
        storer.add(ROUTER, number, share(number * 10, 10))
    said = storer.until(has_stored(5))
    assert said == [UP, *(StoredShare(ROUTER, number, 10, 0) for number in range(5))]
    assert storer.redis.stored == list(range(50))


@pytest.mark.parametrize("failures", [1, 2, 7])
def test_what_failed_is_tried_until_it_is_stored_and_the_next_comes_after_it(start: Start, failures: int) -> None:
    storer = start("", *["OOM"] * failures)
    for number in range(3):
        storer.add(ROUTER, number, share(number * 4, 4))
    said = storer.until(has_stored(3))
    assert said == [UP, down(), UP, *(StoredShare(ROUTER, number, 4, 0) for number in range(3))]
    assert storer.redis.stored == list(range(12))
    assert storer.redis.calls == ["check", *["set"] * (failures + 3)]


def test_a_long_share_is_stored_slice_by_slice_and_a_slice_that_failed_alone_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "_SLICE_RECORDS", 4)
    storer = start("", "", "OOM", "OOM", "")
    storer.add(ROUTER, 9, share(0, 11))
    said = storer.until(has_stored(1))
    assert shares(said) == [StoredShare(ROUTER, 9, 11, 0)]
    assert storer.redis.stored == list(range(11))
    assert storer.redis.calls == ["check", *["set"] * 5]


@pytest.mark.parametrize(("age_s", "expired"), [(TTL_S - 60, 0), (TTL_S + 1, 3)])
def test_records_older_than_the_ttl_are_told_as_expired(start: Start, age_s: float, expired: int) -> None:
    storer = start()
    storer.add(ROUTER, 0, share(0, 3, age_s))
    assert shares(storer.until(has_stored(1))) == [StoredShare(ROUTER, 0, 3 - expired, expired)]
    assert len(storer.redis.stored) == 3 - expired


def test_what_expires_while_redis_is_away_is_counted_as_expired_once_and_not_as_stored(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis fails, and goes on to; that it was not asked is no reason to call it healthy."""
    storer = start("", *["OOM"] * 1000)
    storer.redis.may_go_on.clear()
    storer.add(ROUTER, 0, share(0, 3))
    assert storer.redis.called.wait(DEADLINE_S)
    later_ns = time.time_ns() + int((TTL_S + 1) * 10**9)
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    storer.redis.may_go_on.set()
    assert storer.until(has_stored(1)) == [UP, down(), StoredShare(ROUTER, 0, 0, 3)]
    assert storer.redis.stored == []


def test_the_descriptor_is_readable_while_there_is_something_to_take_and_not_after(
    start: Start,
) -> None:
    storer = start()
    poller = select.poll()
    poller.register(storer.storing.ready_fd, select.POLLIN)
    assert poller.poll(DEADLINE_S * 1000)
    assert poller.poll(0), "it stays so until the outcomes are taken"
    assert storer.storing.outcomes() == [UP]
    assert not poller.poll(0)
    assert storer.storing.outcomes() == []


@pytest.mark.parametrize(
    ("router", "base", "stored"),
    [(ROUTER, 0, [0, 1, 2, 3, 4]), (ROUTER, 3, [3, 4]), (ROUTER, 5, []), ("ffffffff", 0, []), ("", 0, [])],
)
def test_what_nobody_waits_for_is_not_stored(start: Start, router: str, base: int, stored: list[int]) -> None:
    """Others have the shares below the base; another router has had all of them split anew."""
    storer = start()
    storer.storing.want(router, base)
    for number in range(5):
        storer.add(ROUTER, number, share(number, 1))
    storer.add(router, 5, share(5, 1))
    said = storer.until(has_stored(len(stored) + 1))
    assert shares(said) == [*(StoredShare(ROUTER, number, 1, 0) for number in stored), StoredShare(router, 5, 1, 0)]
    assert storer.redis.stored == [*stored, 5]


@pytest.mark.parametrize(("router", "base"), [(ROUTER, 1), ("ffffffff", 0)])
def test_what_nobody_waits_for_any_more_is_given_up_also_while_redis_refuses_it(
    start: Start, router: str, base: int
) -> None:
    storer = start()
    storer.redis.refused = {0}
    storer.add(ROUTER, 0, share(0, 2))
    storer.add(router, 1, share(2, 2))
    storer.until(lambda said: down("refused") in said)
    assert shares(storer.said) == []
    storer.storing.want(router, base)
    assert shares(storer.until(has_stored(1))) == [StoredShare(router, 1, 2, 0)]
    assert storer.redis.stored == [2, 3]


def test_a_share_given_up_between_two_slices_is_not_told_as_stored(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "_SLICE_RECORDS", 2)
    storer = start()
    storer.redis.then = lambda: storer.storing.want(ROUTER, 1)
    storer.add(ROUTER, 0, share(0, 6))
    storer.add(ROUTER, 1, share(6, 2))
    assert shares(storer.until(has_stored(1))) == [StoredShare(ROUTER, 1, 2, 0)]
    assert storer.redis.stored == [0, 1, 6, 7]


def test_stop_ends_the_thread_and_closes_the_connection(start: Start) -> None:
    storer = start()
    storer.until(bool)
    assert storer.storing.stop()
    assert storer.redis.closed.is_set()


def test_stop_lets_what_is_at_hand_be_stored_and_told_and_leaves_the_rest(start: Start) -> None:
    storer = start()
    storer.redis.may_go_on.clear()
    storer.add(ROUTER, 0, share(0, 2))
    storer.add(ROUTER, 1, share(2, 2))
    assert storer.redis.called.wait(DEADLINE_S)
    stopping = threading.Thread(target=storer.storing.stop)
    stopping.start()
    assert storer.storing._stop.wait(DEADLINE_S)
    storer.redis.may_go_on.set()
    stopping.join(DEADLINE_S)
    assert not stopping.is_alive()
    assert shares(storer.until(has_stored(1))) == [StoredShare(ROUTER, 0, 2, 0)]
    assert storer.redis.stored == [0, 1]


def test_stop_does_not_wait_for_a_redis_that_fails_and_a_share_half_stored_is_not_told(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "_SLICE_RECORDS", 2)
    monkeypatch.setattr(storing, "_BACKOFF_S", (600.0, 600.0))
    storer = start("", "", *["OOM"] * 1000)
    storer.add(ROUTER, 0, share(0, 4))
    storer.until(lambda said: down() in said)
    assert storer.storing.stop()
    assert storer.redis.stored == [0, 1]
    assert shares(storer.said + storer.storing.outcomes()) == []


def test_stop_tells_that_redis_holds_it_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "STOP_TIMEOUT_S", 0.05)
    storer = start()
    storer.redis.may_go_on.clear()
    storer.add(ROUTER, 0, share(0, 1))
    assert storer.redis.called.wait(DEADLINE_S)
    assert not storer.storing.stop()
    monkeypatch.undo()
