"""The lane to a writer, against the writer's own inbox over a channel that loses messages, and restarts of both."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.lanes import Lane
from router.streams import OpenBatch, Stream
from tapfan.messages import Mark, Stored, WriterReport
from tapfan.wire import WireError
from tests.router.sharing import a_batch, read_share
from writers.inbox import Inbox

_EPOCH = "0123abcd"


@dataclass
class _Writer:
    """A start of the writer: what it took, and of that what it has not stored yet."""

    inbox: Inbox = field(default_factory=Inbox)
    taken: dict[str, list[int]] = field(default_factory=dict)  # by router, the shares' numbers
    bases: dict[str, int] = field(default_factory=dict)  # by router, where it was told to begin
    waiting: deque[tuple[str, int, list[int]]] = field(default_factory=deque)

    def take(self, message: bytes | Mark) -> list[Stored]:
        """Take a message of the router; gives what is to be told to it again."""
        if isinstance(message, Mark):
            if self.inbox.take_mark(message):
                self.bases[message.router] = message.base
            return self.inbox.unconfirmed
        router, number, records = read_share(message)
        if self.inbox.take_share(router, number):
            self.taken.setdefault(router, []).append(number)
            self.waiting.append((router, number, records))
        return []

    def report(self) -> WriterReport:
        """What it says twice a second."""
        inbox = self.inbox
        return WriterReport(
            name="a",
            redis="",
            healthy=True,
            reason="",
            router=inbox.router,
            expected=inbox.expected,
            mark=inbox.mark,
            sent=inbox.sent,
        )


@dataclass
class _Hop:
    """A lane, a writer and what is on the way between them; each share is known by its first record."""

    lane: Lane = field(default_factory=lambda: Lane("00000000"))
    writers: list[_Writer] = field(default_factory=lambda: [_Writer()])
    there: deque[bytes | Mark] = field(default_factory=deque)
    back: deque[WriterReport | Stored] = field(default_factory=deque)
    late: deque[WriterReport | Stored] = field(default_factory=deque)  # of earlier starts of the writer
    connected: bool = False  # the router knows where the writer is
    routers: int = 1
    unstored: dict[int, int] = field(default_factory=dict)  # of the shares that the router waits for, the size
    in_redis: list[int] = field(default_factory=list)  # records, in the order of storing
    end: int = 0
    sent: list[int] = field(default_factory=list)  # the number of each share sent

    def add(self, count: int) -> None:
        """A share of so many records comes into the lane."""
        self._add(self.end, count)
        self.unstored[self.end] = count
        self.end += count

    def _add(self, first: int, count: int) -> None:
        self.lane.add(a_batch(first, count), Stream.begun(0, 0), OpenBatch(first, 1))

    def send(self, count: int) -> None:
        """The router sends the next shares to a writer that it knows."""
        for _ in range(count if self.connected else 0):
            message = self.lane.next_unsent()
            if message is None:
                return
            self.there.append(message)
            self.sent.append(read_share(message)[1])
            self.lane.mark_sent()

    def write(self, count: int) -> None:
        """The writer takes the next messages."""
        for _ in range(min(count, len(self.there))):
            self.back += self.writers[-1].take(self.there.popleft())

    def store(self, count: int) -> None:
        """The writer stores the next shares that it took."""
        writer = self.writers[-1]
        for _ in range(min(count, len(writer.waiting))):
            router, number, records = writer.waiting.popleft()
            self.in_redis += records
            stored = Stored(name="a", router=router, number=number, stored=len(records), expired=0)
            writer.inbox.add_stored(stored)
            self.back.append(stored)

    def report(self, _: int = 0) -> None:
        """The writer reports."""
        self.back.append(self.writers[-1].report())

    def route(self, count: int) -> None:
        """The router takes the next messages."""
        for _ in range(min(count, len(self.back))):
            message = self.back.popleft()
            if isinstance(message, Stored):
                self._confirm(message)
            else:
                self.connected = True
                self.there.append(self.lane.take_report(message))

    def route_late(self, count: int) -> None:
        """The router takes messages of an earlier start of the writer; what it answers gets lost."""
        for _ in range(min(count, len(self.late))):
            message = self.late.popleft()
            if isinstance(message, Stored):
                self._confirm(message)
            else:
                self.lane.take_report(message)

    def _confirm(self, message: Stored) -> None:
        kept = self.lane.take_stored(message)
        if kept is not None:
            assert self.unstored.pop(kept.batch.end) == kept.records == message.stored

    def turn(self, count: int) -> None:
        """Everybody does something, so that most sequences of steps get somewhere."""
        self.add(count)
        self.report()
        self.route(2 * count)
        self.send(count)
        self.write(2 * count)
        self.store(count)

    def lose_there(self, count: int) -> None:
        """The next messages to the writer do not arrive."""
        for _ in range(min(count, len(self.there))):
            self.there.popleft()

    def lose_back(self, count: int) -> None:
        """The next messages to the router do not arrive."""
        for _ in range(min(count, len(self.back))):
            self.back.popleft()

    def restart_writer(self, _: int) -> None:
        """Another start of the writer; what was on the way to the old one is lost."""
        self.there.clear()
        self.late += self.back
        self.back.clear()
        self.writers.append(_Writer())

    def restart_router(self, _: int) -> None:
        """Another router, which gets all that is not acknowledged once more from the listeners."""
        self.lane = Lane(f"{self.routers:08x}")
        self.routers += 1
        self.connected = False
        for first, count in self.unstored.items():
            self._add(first, count)

    def settle(self) -> None:
        """Nothing is lost any more: a gap is found, filled, and the filling stored and told."""
        self.late.clear()
        for _ in range(4):
            self.report()
            self.route(len(self.back))
            self.send(10_000)
            self.write(len(self.there))
            self.store(10_000)
        self.route(len(self.back))


_FAIR = [
    *(st.tuples(st.just(action), st.integers(1, 5)) for action in ("turn", "add", "send", "write", "store", "route")),
    st.tuples(st.just("report"), st.just(0)),
]
_LOSSES = [st.tuples(st.just(action), st.integers(1, 3)) for action in ("lose_there", "lose_back")]
_RESTARTS = [
    st.tuples(st.just(action), st.integers(1, 3)) for action in ("restart_writer", "restart_router", "route_late")
]
_Steps = list[tuple[str, int]]


def _after(steps: Sequence[tuple[str, int]]) -> _Hop:
    hop = _Hop()
    for action, count in steps:
        getattr(hop, action)(count)
        _assert_consistent(hop)
    return hop


def _assert_consistent(hop: _Hop) -> None:
    """Each start of the writer took each router's shares in order and once; what counts as stored is stored."""
    for writer in hop.writers:
        for router, numbers in writer.taken.items():
            assert numbers == sorted(set(numbers))
            assert all(number >= writer.bases[router] for number in numbers)
    assert hop.lane.in_flight == sum(hop.unstored.values())
    waited_for = {first + at for first, count in hop.unstored.items() for at in range(count)}
    assert set(range(hop.end)) - waited_for <= set(hop.in_redis)


def _assert_settled(hop: _Hop) -> None:
    assert not hop.unstored
    assert hop.lane.in_flight == 0
    assert hop.lane.next_unsent() is None
    assert set(hop.in_redis) == set(range(hop.end))
    assert not hop.writers[-1].waiting


@settings(max_examples=400)
@given(st.lists(st.one_of(*_FAIR, *_LOSSES), min_size=10, max_size=60))
@example([("report", 0), ("route", 1), ("add", 1), ("send", 1), ("write", 2), ("store", 1), ("lose_back", 1)])
@example([("report", 0), ("route", 1), ("add", 1), ("add", 1), ("send", 2), ("lose_there", 2), ("write", 1)])
def test_every_share_is_taken_once_and_in_order_whatever_is_lost(steps: _Steps) -> None:
    hop = _after(steps)
    hop.settle()
    _assert_consistent(hop)
    _assert_settled(hop)
    assert hop.in_redis == list(range(hop.end))
    assert hop.lane.stored == hop.end


@settings(max_examples=800)
@given(st.lists(st.one_of(*_FAIR, *_FAIR, *_LOSSES, *_LOSSES, *_RESTARTS), min_size=10, max_size=80))
@example([*[("turn", 1)] * 4, ("write", 1), ("store", 1), ("lose_back", 1), ("turn", 1), ("restart_writer", 1)])
@example([*[("turn", 1)] * 5, ("add", 1), ("restart_writer", 1), ("report", 0), ("route", 1), ("route_late", 1)])
def test_nothing_is_lost_whoever_restarts_and_whatever_is_lost(steps: _Steps) -> None:
    hop = _after(steps)
    hop.settle()
    _assert_consistent(hop)
    _assert_settled(hop)


@given(st.lists(st.one_of(*_FAIR), max_size=60))
def test_where_nothing_is_lost_nothing_is_sent_twice(steps: _Steps) -> None:
    """However late reports and marks are."""
    hop = _Hop()
    hop.report()
    hop.route(1)
    hop.write(1)
    for action, count in [*steps, ("send", 10_000)]:
        getattr(hop, action)(count)
    assert hop.sent == list(range(len(hop.sent)))


def _lane(*counts: int) -> Lane:
    """A lane with shares of so many records, all sent."""
    lane = Lane(_EPOCH)
    for count in counts:
        lane.add(a_batch(0, count), Stream.begun(0, 0), OpenBatch(0, 1))
    _send_all(lane)
    return lane


def _send_all(lane: Lane) -> list[int]:
    """Send all that is unsent; gives the shares' numbers."""
    numbers = []
    while (message := lane.next_unsent()) is not None:
        numbers.append(read_share(message)[1])
        lane.mark_sent()
    return numbers


def _report(mark: Mark, expected: int, router: str | None = _EPOCH) -> WriterReport:
    """What a writer says that saw the mark."""
    return WriterReport(
        name="a",
        redis="",
        healthy=True,
        reason="",
        router=router,
        expected=expected,
        mark=mark.number,
        sent=mark.sent,
    )


def _new_writer() -> WriterReport:
    return _report(Mark(router=_EPOCH, number=0, base=0, sent=0), 0, router=None)


def test_a_share_carries_its_router_its_number_and_its_records() -> None:
    lane = Lane(_EPOCH)
    lane.add(a_batch(7, 2), Stream.begun(0, 0), OpenBatch(9, 1))
    lane.add(a_batch(9, 3), Stream.begun(0, 0), OpenBatch(12, 1))
    first = lane.next_unsent()
    lane.mark_sent()
    second = lane.next_unsent()
    assert first is not None
    assert second is not None
    assert read_share(first) == (_EPOCH, 0, [7, 8])
    assert read_share(second) == (_EPOCH, 1, [9, 10, 11])
    assert lane.in_flight == 5


def test_a_share_that_could_not_be_sent_is_the_next_once_more() -> None:
    lane = Lane(_EPOCH)
    lane.add(a_batch(0, 1), Stream.begun(0, 0), OpenBatch(1, 1))
    unsent = lane.next_unsent()
    assert unsent is not None
    assert lane.next_unsent() == unsent


def test_a_new_writer_gets_what_is_kept_from_the_oldest_on() -> None:
    lane = _lane(1, 1, 1)
    lane.take_stored(_stored(_EPOCH, 0, 1))
    mark = lane.take_report(_new_writer())
    assert (mark.router, mark.base, mark.sent) == (_EPOCH, 1, 1)
    assert _send_all(lane) == [1, 2]


def test_a_lane_that_keeps_nothing_lets_a_new_writer_begin_at_its_end() -> None:
    lane = _lane(1, 1)
    lane.take_stored(_stored(_EPOCH, 0, 1))
    lane.take_stored(_stored(_EPOCH, 1, 1))
    mark = lane.take_report(_new_writer())
    assert (mark.base, mark.sent) == (2, 2)
    assert _send_all(lane) == []


def test_a_gap_is_filled_from_its_beginning_and_once_however_many_reports_tell_of_it() -> None:
    lane = _lane(1, 1, 1)
    mark = lane.take_report(_new_writer())
    _send_all(lane)
    mark = lane.take_report(_report(mark, 0))
    answer = lane.take_report(_report(mark, 1))
    assert (answer.base, answer.sent) == (0, 1)
    assert _send_all(lane) == [1, 2]
    lane.take_report(_report(mark, 1))
    assert _send_all(lane) == []
    lane.take_report(_report(answer, 1))
    assert _send_all(lane) == []


def test_what_is_stored_while_it_waits_to_be_sent_again_is_not_sent_again() -> None:
    lane = _lane(1, 1, 1)
    lane.take_report(_new_writer())
    lane.take_stored(_stored(_EPOCH, 1, 1))
    assert _send_all(lane) == [0, 2]


@pytest.mark.parametrize(("router", "number"), [("ffffffff", 0), (_EPOCH, 1), (_EPOCH, 2**63 - 1)])
def test_what_another_router_sent_or_nobody_counts_as_nothing_stored(router: str, number: int) -> None:
    lane = _lane(4)
    assert lane.take_stored(_stored(router, number, 4)) is None
    assert (lane.stored, lane.in_flight) == (0, 4)


def test_a_share_counts_as_stored_once() -> None:
    lane = _lane(4)
    kept = lane.take_stored(_stored(_EPOCH, 0, 3, 1))
    assert kept is not None
    assert kept.records == 4
    assert lane.take_stored(_stored(_EPOCH, 0, 3, 1)) is None
    assert (lane.stored, lane.in_flight) == (3, 0)


@pytest.mark.parametrize(("stored", "expired"), [(3, 0), (4, 1), (0, 0), (2**62, 2**62)])
def test_counts_that_are_not_those_of_the_share_are_refused(stored: int, expired: int) -> None:
    lane = _lane(4)
    with pytest.raises(WireError, match="of a share of 4"):
        lane.take_stored(_stored(_EPOCH, 0, stored, expired))
    assert (lane.stored, lane.in_flight) == (0, 4)


def _stored(router: str, number: int, stored: int, expired: int = 0) -> Stored:
    return Stored(name="a", router=router, number=number, stored=stored, expired=expired)
