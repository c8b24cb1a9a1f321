"""The thread that stores: every share, in order, however often Redis fails; and its health, told once a change."""

import json
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import hiredis
import numpy as np
import pytest

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.settings import WriterSettings
from writers import storing
from writers.commands import Commands
from writers.store import Store, StoreError
from writers.storing import Health, StoredShare, Storing

_DEADLINE_S = 20.0
_TTL_S = 300.0
_UP, _DOWN = Health(True), Health(False, "OOM")
_ROUTER = "0123abcd"

Outcome = StoredShare | Health


class _Redis(Store):
    """Takes commands, apart from those calls that are told to fail."""

    def __init__(self, *failures: str) -> None:
        super().__init__(WriterSettings(name="a", redis="redis://127.0.0.1:1/0", weight=1))
        self.failures = deque(failures)  # of the next calls, "" for one that succeeds
        self.stored: list[int] = []  # the source ports
        self.calls = 0
        self.probes = 0
        self.closed = threading.Event()
        self.called = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def set_all(self, commands: Commands) -> None:
        if not commands.count:
            return
        self.calls += 1
        self.called.set()
        assert self.may_go_on.wait(_DEADLINE_S)
        self._fail()
        self.stored += _ports(commands)

    def probe(self) -> None:
        self.probes += 1
        self._fail()

    def close(self) -> None:
        self.closed.set()

    def _fail(self) -> None:
        if self.failures and (reason := self.failures.popleft()):
            raise StoreError(reason)


def _ports(commands: Commands) -> list[int]:
    reader = hiredis.Reader()
    reader.feed(bytes(commands.data))
    return [json.loads(reader.gets()[2])["sport"] for _ in range(commands.count)]


@dataclass
class _Storer:
    """A Storing and what it has said so far."""

    storing: Storing
    redis: _Redis
    said: list[Outcome] = field(default_factory=list)

    def until(self, done: Callable[[list[Outcome]], bool]) -> list[Outcome]:
        """What was said, as soon as that is enough; the descriptor tells when there is more."""
        poller = select.poll()
        poller.register(self.storing.ready_fd, select.POLLIN)
        deadline_s = time.monotonic() + _DEADLINE_S
        while not done(self.said):
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"only {self.said} within {_DEADLINE_S:g} s"
            if poller.poll(left_s * 1000):
                self.said += self.storing.outcomes()
        return self.said


Start = Callable[..., _Storer]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a thread that stores, with the failures of its first calls.

    It does not wait long to try again, and probes Redis once, at its start.
    """
    monkeypatch.setattr(storing, "_BACKOFF_S", (0.001, 0.004))
    monkeypatch.setattr(storing, "_PROBE_PERIOD_S", 10 * _DEADLINE_S)
    started: list[_Storer] = []

    def begin(*failures: str) -> _Storer:
        redis = _Redis(*failures)
        started.append(_Storer(Storing(redis, _TTL_S), redis))
        return started[-1]

    yield begin
    for storer in started:
        storer.redis.may_go_on.set()
        assert storer.storing.stop()


def _share(first: int, count: int, age_s: float = 0) -> Batch:
    """A share whose records' source ports are their sequence numbers."""
    columns = {name: np.ones((count, width)[: 1 + (width > 1)], dtype) for name, (dtype, width) in COLUMNS.items()}
    columns["source_port"] = np.arange(first, first + count, dtype=np.uint16)
    columns["timestamp"] = np.full(count, time.time_ns() - int(age_s * 10**9), np.uint64)
    return Batch("local.00000001", first, Records(**columns))


def _shares(said: list[Outcome]) -> list[StoredShare]:
    return [outcome for outcome in said if isinstance(outcome, StoredShare)]


def _health(said: list[Outcome]) -> list[Health]:
    return [outcome for outcome in said if isinstance(outcome, Health)]


def _has_stored(count: int) -> Callable[[list[Outcome]], bool]:
    return lambda said: len(_shares(said)) >= count


def test_shares_are_stored_in_order_and_told_one_by_one(start: Start) -> None:
    storer = start()
    for number in range(5):
        storer.storing.add(_ROUTER, number, _share(number * 10, 10))
    said = storer.until(_has_stored(5))
    assert said == [_UP, *(StoredShare(_ROUTER, number, 10, 0) for number in range(5))]
    assert storer.redis.stored == list(range(50))


def test_health_is_told_before_there_is_anything_to_store(start: Start) -> None:
    assert start().until(bool) == [_UP]
    assert start("OOM").until(bool) == [_DOWN]


@pytest.mark.parametrize("failures", [1, 2, 7])
def test_what_failed_is_tried_until_it_is_stored_and_the_next_comes_after_it(start: Start, failures: int) -> None:
    storer = start("", *["OOM"] * failures)
    for number in range(3):
        storer.storing.add(_ROUTER, number, _share(number * 4, 4))
    said = storer.until(_has_stored(3))
    assert said == [_UP, _DOWN, _UP, *(StoredShare(_ROUTER, number, 4, 0) for number in range(3))]
    assert storer.redis.stored == list(range(12))
    assert storer.redis.calls == failures + 3


def test_a_change_of_health_is_told_once_and_another_reason_is_a_change(start: Start) -> None:
    storer = start("", "OOM", "OOM", "READONLY", "READONLY", "OOM", "")
    storer.storing.add(_ROUTER, 0, _share(0, 1))
    storer.storing.add(_ROUTER, 1, _share(1, 1))
    said = storer.until(_has_stored(2))
    assert _health(said) == [_UP, _DOWN, Health(False, "READONLY"), _DOWN, _UP]


def test_a_long_share_is_stored_slice_by_slice_and_a_slice_that_failed_alone_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "_SLICE_RECORDS", 4)
    storer = start("", "", "OOM", "OOM", "")
    storer.storing.add(_ROUTER, 9, _share(0, 11))
    said = storer.until(_has_stored(1))
    assert _shares(said) == [StoredShare(_ROUTER, 9, 11, 0)]
    assert storer.redis.stored == list(range(11))
    assert storer.redis.calls == 5


@pytest.mark.parametrize(("age_s", "expired"), [(_TTL_S - 60, 0), (_TTL_S + 1, 3)])
def test_records_older_than_the_ttl_are_told_as_expired(start: Start, age_s: float, expired: int) -> None:
    storer = start()
    storer.storing.add(_ROUTER, 0, _share(0, 3, age_s))
    assert _shares(storer.until(_has_stored(1))) == [StoredShare(_ROUTER, 0, 3 - expired, expired)]
    assert len(storer.redis.stored) == 3 - expired


def test_what_expires_while_redis_is_away_is_counted_as_expired_once_and_not_as_stored(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis fails, and goes on to; that it was not asked is no reason to call it healthy."""
    storer = start("", *["OOM"] * 1000)
    storer.redis.may_go_on.clear()
    share = _share(0, 3)
    storer.storing.add(_ROUTER, 0, share)
    assert storer.redis.called.wait(_DEADLINE_S)
    later_ns = time.time_ns() + int((_TTL_S + 1) * 10**9)
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    storer.redis.may_go_on.set()
    assert storer.until(_has_stored(1)) == [_UP, _DOWN, StoredShare(_ROUTER, 0, 0, 3)]
    assert storer.redis.stored == []


def test_an_idle_redis_is_probed_so_that_its_failure_and_return_are_told(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "_PROBE_PERIOD_S", 0.01)
    storer = start("", "", "OOM", "OOM", "")
    said = storer.until(lambda said: len(said) >= 3)
    assert said == [_UP, _DOWN, _UP]
    assert storer.redis.probes >= 5
    assert storer.redis.calls == 0


def test_the_descriptor_is_readable_while_there_is_something_to_take_and_not_after(start: Start) -> None:
    storer = start()
    poller = select.poll()
    poller.register(storer.storing.ready_fd, select.POLLIN)
    assert poller.poll(_DEADLINE_S * 1000)
    assert poller.poll(0), "it stays so until the outcomes are taken"
    assert storer.storing.outcomes() == [_UP]
    assert not poller.poll(0)
    assert storer.storing.outcomes() == []


def test_a_long_reason_is_cut_to_what_a_report_has_room_for(start: Start) -> None:
    (health,) = start("x" * 10_000).until(bool)
    assert isinstance(health, Health)
    assert 100 < len(health.reason) <= 500


def test_stop_ends_the_thread_and_closes_the_connection(start: Start) -> None:
    storer = start()
    storer.until(bool)
    assert storer.storing.stop()
    assert storer.redis.closed.is_set()


def test_stop_lets_what_is_at_hand_be_stored_and_told_and_leaves_the_rest(start: Start) -> None:
    storer = start()
    storer.redis.may_go_on.clear()
    storer.storing.add(_ROUTER, 0, _share(0, 2))
    storer.storing.add(_ROUTER, 1, _share(2, 2))
    assert storer.redis.called.wait(_DEADLINE_S)
    stopping = threading.Thread(target=storer.storing.stop)
    stopping.start()
    assert storer.storing._stop.wait(_DEADLINE_S)
    storer.redis.may_go_on.set()
    stopping.join(_DEADLINE_S)
    assert not stopping.is_alive()
    assert _shares(storer.until(_has_stored(1))) == [StoredShare(_ROUTER, 0, 2, 0)]
    assert storer.redis.stored == [0, 1]


def test_stop_does_not_wait_for_a_redis_that_fails_and_a_share_half_stored_is_not_told(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "_SLICE_RECORDS", 2)
    monkeypatch.setattr(storing, "_BACKOFF_S", (600.0, 600.0))
    storer = start("", "", *["OOM"] * 1000)
    storer.storing.add(_ROUTER, 0, _share(0, 4))
    storer.until(lambda said: _DOWN in said)
    assert storer.storing.stop()
    assert storer.redis.stored == [0, 1]
    assert _shares(storer.said + storer.storing.outcomes()) == []


def test_stop_tells_that_redis_holds_it_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "STOP_TIMEOUT_S", 0.05)
    storer = start()
    storer.redis.may_go_on.clear()
    storer.storing.add(_ROUTER, 0, _share(0, 1))
    assert storer.redis.called.wait(_DEADLINE_S)
    assert not storer.storing.stop()
    monkeypatch.undo()
