"""Writers that come and go while records are on their way: nothing is lost, and nobody gets what is not its."""

import select
import threading
from contextlib import suppress
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from router.changes import apply, join
from router.commits import Apply, Commits
from router.history import History
from router.house import House
from router.intent import Intent
from router.status import status
from tapfan.control import ControlError
from tapfan.logs import Repeated
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
from tests.router.sharing import STREAM, a_batch, shares_in
from tests.router.wanting import a_request

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
        writer = self.house.writers.get(name)
        message = writer.lane.next_unsent() if writer else None
        if writer is None or message is None:
            return
        writer.lane.mark_sent()
        for _, number, records in shares_in(message):
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

    def _write(self, _intent: Intent, _history: History) -> None:
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
        writer = self.house.writers.get(name)
        message = writer.lane.next_unsent() if writer else None
        if writer is None or message is None:
            return
        writer.lane.mark_sent()
        for _, number, records in shares_in(message):
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
