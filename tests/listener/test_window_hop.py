"""The window of one stream, against a receiver that follows `tapfan.messages` over a channel that loses messages."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from listener.window import Window
from tapfan.losses import Losses, Reason
from tapfan.messages import Acknowledgement, ListenerReport, read_message
from tapfan.wire import unpack
from tests.listener.outgoing import STREAM, a_gap, a_report, acknowledgement_of, piece, put


@dataclass
class _Receiver:
    """Takes batches in order only; one in three of the records that it stores has expired."""

    base: int | None = None
    taken: list[int] = field(default_factory=list)
    fates: list[Reason | None] = field(default_factory=list)  # of the records taken: why they are lost, if they are
    ends: deque[int] = field(default_factory=deque)  # of the batches that are not stored yet
    acknowledged: int = 0
    lost: Losses = field(default_factory=Counter)
    report: ListenerReport | None = None

    @property
    def expected(self) -> int:
        assert self.base is not None
        return self.base + len(self.taken)

    def take(self, message: bytes) -> None:
        if unpack(message)["kind"] == "listener":
            self._take_report(read_message(unpack(message)))
            return
        found = piece(message)
        if self.base is not None and found.first == self.expected:
            numbers = range(found.first, found.end)
            self.taken += numbers if found.reason else found.timestamps
            self.fates += [found.reason or _fate(number) for number in numbers]
            self.ends.append(found.end)

    def _take_report(self, report: object) -> None:
        assert isinstance(report, ListenerReport)
        if self.base is None:
            self.base = self.acknowledged = report.base
            self.lost = Counter(report.lost)
        self.report = report

    def store(self, batches: int) -> None:
        assert self.base is not None
        for _ in range(min(batches, len(self.ends))):
            end = self.ends.popleft()
            self.lost.update(fate for fate in self.fates[self.acknowledged - self.base : end - self.base] if fate)
            self.acknowledged = end

    def acknowledgement(self) -> Acknowledgement | None:
        """What it says when it was asked."""
        if self.report is None:
            return None
        return acknowledgement_of(self.report, self.acknowledged, self.expected, self.lost)


def _fate(number: int) -> Reason | None:
    return "expired_at_writer" if number % 3 == 0 else None


@dataclass
class _Hop:
    """A window, a receiver, and what is on the way between them."""

    window: Window = field(default_factory=lambda: Window(STREAM, 0, 0, live=True))
    receivers: list[_Receiver] = field(default_factory=lambda: [_Receiver()])
    there: deque[bytes] = field(default_factory=deque)
    back: deque[Acknowledgement] = field(default_factory=deque)
    sent: list[int] = field(default_factory=list)  # the first sequence number of each batch sent
    fates: list[Reason | None] = field(default_factory=list)  # that the records will have

    def add(self, count: int) -> None:
        """A batch whose timestamps are its sequence numbers."""
        self.fates += map(_fate, range(self.window.end, self.window.end + count))
        put(self.window, count)

    def drop(self, count: int) -> None:
        """A gap."""
        self.fates += ["dropped_disk"] * count
        self.window.put(a_gap(1, self.window.end, self.window.end + count))

    def turn(self) -> None:
        """What the listener does in one: take all acknowledgements, send all batches, and report."""
        while self.back:
            self.window.take_acknowledgement(self.back.popleft())
        while (message := self.window.next_unsent()) is not None:
            self.there.append(message)
            self.sent.append(piece(message).first)
            self.window.mark_sent()
        self.there.append(a_report(self.window).pack())

    def deliver(self, count: int) -> None:
        """The next messages arrive."""
        for _ in range(min(count, len(self.there))):
            self.receivers[-1].take(self.there.popleft())

    def lose(self, count: int) -> None:
        """The next messages do not arrive."""
        for _ in range(min(count, len(self.there))):
            self.there.popleft()

    def store(self, batches: int) -> None:
        """The receiver stores the next batches."""
        if self.receivers[-1].ends:
            self.receivers[-1].store(batches)

    def answer(self, lost: bool = False) -> None:
        """The receiver says what it has, and what it has stored."""
        acknowledgement = self.receivers[-1].acknowledgement()
        if acknowledgement and not lost:
            self.back.append(acknowledgement)

    def restart(self) -> None:
        """Another receiver, which knows nothing, takes over; what was on the way to the old one is lost."""
        self.there.clear()
        self.receivers.append(_Receiver())

    def settle(self) -> None:
        """Nothing is lost any more: a hole is found, filled, and the filling acknowledged."""
        for _ in range(3):
            self.turn()
            self.deliver(len(self.there))
            self.store(len(self.receivers[-1].ends))
            self.answer()
        self.turn()


_CALM = (
    st.tuples(st.just("add"), st.integers(1, 5)),
    st.tuples(st.just("drop"), st.integers(1, 5)),
    st.tuples(st.just("turn")),
    st.tuples(st.just("turn")),
    st.tuples(st.just("deliver"), st.integers(1, 4)),
    st.tuples(st.just("deliver"), st.integers(1, 4)),
    st.tuples(st.just("store"), st.integers(1, 3)),
    st.tuples(st.just("answer"), st.booleans()),
)
_LOSSES = (st.tuples(st.just("lose"), st.integers(1, 3)), st.tuples(st.just("restart")))


def _steps(*kinds: Any) -> st.SearchStrategy[Sequence[tuple[Any, ...]]]:
    # Of a list of free length, hypothesis would make a handful of steps.
    return st.integers(0, 40).flatmap(lambda count: st.lists(st.one_of(*kinds), min_size=count, max_size=count))


@given(_steps(*_CALM, *_LOSSES))
def test_everything_arrives_in_order_and_once_whatever_is_lost(steps: Sequence[tuple[Any, ...]]) -> None:
    hop = _Hop()
    for action, *arguments in steps:
        getattr(hop, action)(*arguments)
        _assert_consistent(hop)
    hop.settle()
    assert hop.window.is_done
    assert (hop.window.records, hop.window.size) == (0, 0)
    assert hop.window.next_unsent() is None
    assert hop.receivers[-1].expected == hop.window.base == hop.window.sent == hop.window.end
    assert hop.window.lost == Counter(fate for fate in hop.fates if fate)
    _assert_consistent(hop)


def _assert_consistent(hop: _Hop) -> None:
    """Each receiver took records in order, each once; together they have all that count as stored."""
    stored = 0
    for receiver in hop.receivers:
        if receiver.base is not None:
            assert receiver.taken == list(range(receiver.base, receiver.expected))
            assert receiver.base <= stored, "no receiver has what is between"
            stored = max(stored, receiver.acknowledged)
    assert hop.window.acknowledged <= stored
    assert hop.window.acknowledged <= hop.window.sent <= hop.window.end


@given(_steps(*_CALM))
def test_where_nothing_is_lost_nothing_is_sent_twice(steps: Sequence[tuple[Any, ...]]) -> None:
    """However late acknowledgements are, or whether they come at all; but the receiver must have begun."""
    hop = _Hop()
    hop.turn()
    hop.deliver(1)
    for action, *arguments in steps:
        getattr(hop, action)(*arguments)
    hop.turn()
    hop.deliver(len(hop.there))
    assert hop.sent == sorted(set(hop.sent))
    assert hop.receivers[0].taken == list(range(hop.window.end))
