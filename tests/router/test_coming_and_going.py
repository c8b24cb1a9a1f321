"""Writers that come and go at random, under all kinds of changes: each record is stored once, the ledger balances."""

import select
import threading
from contextlib import suppress
from typing import Any

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from router.changes import apply, join
from router.commits import Apply, Commits
from router.history import History
from router.house import House
from router.intent import Intent
from router.remembered import Remembered
from tapfan.control import ControlError
from tapfan.logs import Repeated
from tests.router.housing import (
    ROUTER,
    TTL_MS,
    a_writer_report,
    change,
    ledger_of,
    stored,
    with_a_stream,
)
from tests.router.sharing import STREAM, a_batch, shares_in
from tests.router.wanting import a_request

_names = st.sampled_from("abcd")
_actions = st.one_of(
    st.tuples(st.just("batch"), st.integers(1, 40)),
    st.tuples(st.just("store"), _names),
    st.tuples(st.just("late"), _names),
    st.tuples(st.just("healthy"), _names),
    st.tuples(st.just("failing"), _names),
    st.tuples(st.just("look"), st.none()),
    st.tuples(st.just("tick"), st.floats(0, 5)),
    st.tuples(st.just("add"), _names),
    st.tuples(st.just("join"), _names),
    st.tuples(st.just("remove"), _names),
    st.tuples(st.just("state"), st.tuples(_names, st.sampled_from(["ready", "drain", "maint"]))),
    st.tuples(st.just("weights"), st.tuples(_names, st.integers(0, 5), st.sampled_from([None, 0.3, 5.0]))),
    st.tuples(st.just("undo"), st.none()),
)


def _sent_now(house: House, name: str) -> list[tuple[int, list[int]]]:
    """The shares of the next message to a writer, which gets it: their numbers and records."""
    writer = house.writers.get(name)
    message = writer.lane.next_unsent() if writer else None
    if writer is None or message is None:
        return []
    writer.lane.mark_sent()
    return [(number, records) for _, number, records in shares_in(message)]


class _World:
    """A house, and what its writers have been sent and stored."""

    def __init__(self) -> None:
        self.house = with_a_stream(a=1, b=2)
        self.now_s = 1.0
        self.end = 0
        self.stored: set[int] = set()
        self.said: dict[str, list[tuple[int, int]]] = {}  # of what was stored, by writer: numbers and records
        self.starts = 0

    def act(self, action: str, given: Any) -> None:
        """Let it happen."""
        getattr(self, f"_{action}")(given)

    def _batch(self, count: int) -> None:
        assert self.house.take_batch(a_batch(self.end, count))
        self.end += count

    def _store(self, name: str) -> None:
        """A writer stores the next shares that it is sent, also one that is to get no new ones."""
        for number, records in _sent_now(self.house, name):
            assert not self.stored & set(records), "a record is in one place only"
            self.stored |= set(records)
            self.house.take_stored(stored(name, number, len(records)), self.now_s)
            self.said.setdefault(name, []).append((number, len(records)))

    def _late(self, name: str) -> None:
        for number, records in self.said.get(name, []):
            assert self.house.take_stored(stored(name, number, records), self.now_s) == []

    def _healthy(self, name: str, healthy: bool = True) -> None:
        self.house.take_writer_report(a_writer_report(name, healthy, router=ROUTER), f"{name} {self.starts}".encode())

    def _failing(self, name: str) -> None:
        self._healthy(name, healthy=False)

    def _look(self, _: None) -> None:
        self.house.look(self.now_s)

    def _tick(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.house.tick(self.now_s, self.now_s)

    def _add(self, name: str) -> None:
        self.starts += 1
        self._ask("add", name=name, redis="redis://x:6379/0", weight=3, rampup=2)

    def _join(self, name: str) -> None:
        self.starts += 1
        intent, entry = join(self.house.intent, a_writer_report(name, rampup_s=1.0), self.now_s)
        if entry is not None:
            self.house.adopt(intent, [entry], self.now_s)

    def _remove(self, name: str) -> None:
        self._ask("remove", name=name, force=True)

    def _state(self, given: tuple[str, str]) -> None:
        self._ask("state", states={given[0]: given[1]}, force=True)

    def _weights(self, given: tuple[str, int, float | None]) -> None:
        over = {} if given[2] is None else {"over": given[2]}
        self._ask("weights", weights={given[0]: given[1]}, force=True, **over)

    def _undo(self, _: None) -> None:
        self._ask("undo", force=True)

    def _ask(self, command: str, **arguments: Any) -> None:
        before = self.house.intent
        try:
            change(self.house, command, self.now_s, **arguments)
        except ControlError:
            assert self.house.intent is before

    def settle(self) -> None:
        """Everybody can and may store, and does."""
        for name in list(self.house.writers):
            self._ask("state", states={name: "ready"})
            self._ask("weights", weights={name: 1})
        self.starts += 1
        for _ in range(3):
            for name in list(self.house.writers):
                self._healthy(name)
        for name in [name for name in list(self.house.writers) for _ in range(1000)]:
            if self.house.writers[name].lane.in_flight == 0:
                continue
            self._store(name)


@settings(max_examples=150)
@given(st.lists(_actions, max_size=60))
def test_whoever_comes_and_goes_every_record_is_stored_once_and_the_ledger_is_balanced(
    actions: list[tuple[str, Any]],
) -> None:
    world = _World()
    for action, given_values in actions:
        world.act(action, given_values)
        house = world.house
        ledger = ledger_of(house)
        assert (ledger["captured"], ledger["stored"], ledger["balanced"]) == (world.end, len(world.stored), True)
        assert house.writers.keys() == house.intent.members.keys()
        assert list(house.writers) == list(house.intent.members)
        assert house.weights.effective.keys() <= {
            name
            for name, member in house.intent.members.items()
            if member.state == "ready" and house.writers[name].health.up
        }
    world.settle()
    assert world.stored == set(range(world.end))
    assert world.house.listeners[STREAM].acknowledgement(TTL_MS).acknowledged == world.end


_slow_actions = st.one_of(
    st.tuples(st.just("batch"), st.integers(1, 40)),
    st.tuples(st.just("send"), _names),
    st.tuples(st.just("store"), _names),
    st.tuples(st.just("healthy"), _names),
    st.tuples(st.just("failing"), _names),
    st.tuples(st.just("add"), _names),
    st.tuples(st.just("join"), _names),
    st.tuples(st.just("remove"), _names),
    st.tuples(st.just("state"), st.tuples(_names, st.sampled_from(["ready", "drain", "maint"]))),
    st.tuples(st.just("weights"), st.tuples(_names, st.integers(0, 5), st.sampled_from([None, 0.3]))),
    st.tuples(st.just("undo"), st.none()),
    st.tuples(st.just("save"), st.none()),
)


class _SlowWorld(_World):
    """Changes wait for a slow disk, writers store late, and who is removed was not forced to go."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, list[tuple[int, list[int]]]] = {}  # to a writer, which has not stored them yet
        self.was_sent: set[int] = set()
        self._may = threading.Semaphore(0)
        self.commits = Commits(self.house, self._write, Repeated(structlog.get_logger()))

    def _write(self, _intent: Intent, _history: History, _remembered: Remembered) -> None:
        assert self._may.acquire(timeout=10)

    def close(self) -> None:
        """All that waits is in force, and the thread has ended."""
        self._may.release(1000)
        self.commits.close()

    def _save(self, _: None) -> None:
        """What is being saved is on the disk, and in force."""
        if self.commits.waiting:
            self._may.release()
            assert select.select([self.commits.wake], [], [], 10)[0]
            self.commits.settle()

    def _send(self, name: str) -> None:
        for number, records in _sent_now(self.house, name):
            assert not self.was_sent & set(records), "others have it"
            self.was_sent |= set(records)
            self.sent.setdefault(name, []).append((number, records))

    def _store(self, name: str) -> None:
        """A writer stores the first share that it was sent before."""
        if self.sent.get(name):
            number, records = self.sent[name].pop(0)
            self.stored |= set(records)
            self.house.take_stored(stored(name, number, len(records)), self.now_s)

    def _failing(self, name: str) -> None:
        """It becomes down, unless that would give others what it has: some of it twice."""
        writer = self.house.writers.get(name)
        if writer is None or writer.lane.in_flight == 0:
            self._healthy(name, healthy=False)

    def _join(self, name: str) -> None:
        self.starts += 1
        self._stage(lambda intent, _past: join(intent, a_writer_report(name), self.now_s))

    def _remove(self, name: str) -> None:
        self._ask("remove", name=name)

    def _ask(self, command: str, **arguments: Any) -> None:
        request = a_request(command, self.now_s, **arguments)
        self._stage(lambda intent, past: apply(intent, past, request, self.house.in_flight))

    def _stage(self, change_of: Apply) -> None:
        with suppress(ControlError):
            self.commits.stage(change_of, lambda _refusal: None)


@settings(max_examples=200, deadline=None)
@given(st.lists(_slow_actions, max_size=60))
def test_whoever_is_removed_without_force_no_record_goes_to_two_writers(actions: list[tuple[str, Any]]) -> None:
    world = _SlowWorld()
    try:
        for action, given_values in actions:
            world.act(action, given_values)
            ledger = ledger_of(world.house)
            assert (ledger["captured"], ledger["stored"], ledger["balanced"]) == (world.end, len(world.stored), True)
    finally:
        world.close()
    for name in list(world.house.writers):
        world.act("send", name)
