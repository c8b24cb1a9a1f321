"""The window of one stream, against a receiver that follows `tapfan.messages` over a channel that loses messages."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.window import Window
from tapfan.losses import Losses, Reason
from tapfan.messages import Acknowledgement, ListenerReport, read_message
from tapfan.wire import unpack
from tests.listener.outgoing import STREAM, a_gap, a_report, acknowledgement_of, an_entry, piece


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
        _put(self.window, count)

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


def test_a_loss_is_made_good_once_however_many_acknowledgements_tell_of_it() -> None:
    """Those that answer a report from before the sending again tell of the first loss."""
    window = _window(2, 2)
    _send_all(window)
    reports = [a_report(window) for _ in range(3)]
    sent_again = []
    for report in reports:
        window.take_acknowledgement(acknowledgement_of(report, acknowledged=0, expected=0))
        sent_again += _send_all(window)
    assert sent_again == [0, 2]


def test_the_first_answer_after_sending_again_tells_whether_that_was_lost_too() -> None:
    window = _window(2, 2)
    for _ in range(3):
        _send_all(window)
        _, lost = window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=0, expected=0))
        assert lost


def test_what_is_stored_before_it_could_be_sent_again_is_not_sent() -> None:
    window = _window(2, 2, 2)
    early = a_report(window)
    _send_all(window)
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=0, expected=0))
    assert window.sent == 0
    window.take_acknowledgement(acknowledgement_of(early, acknowledged=4, expected=4))
    assert (window.base, window.sent, window.records) == (4, 4, 2)
    assert _send_all(window) == [4]


def test_sending_again_begins_at_the_first_batch_that_did_not_arrive() -> None:
    window = _window(3, 3, 3)
    _send_all(window)
    _, lost = window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=0, expected=3))
    assert (lost, window.sent) == (True, 3)
    assert _send_all(window) == [3, 6]


def test_sending_again_sends_a_whole_gap_of_which_the_receiver_has_a_part() -> None:
    """It had taken batches in its place from an earlier start."""
    window = _window(3)
    window.put(a_gap(2, 3, 9))
    _send_all(window)
    _, lost = window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=0, expected=6))
    assert lost
    assert _send_all(window) == [3]


def test_what_is_settled_is_given_back_once_and_in_order() -> None:
    window = _window(2, 2, 2)
    _send_all(window)
    report = a_report(window)
    settled, _ = window.take_acknowledgement(acknowledgement_of(report, acknowledged=4, expected=6))
    assert [entry.first for entry in settled] == [0, 2]
    assert window.take_acknowledgement(acknowledgement_of(report, acknowledged=4, expected=6)) == ([], False)
    settled, _ = window.take_acknowledgement(acknowledgement_of(report, acknowledged=6, expected=6))
    assert [entry.first for entry in settled] == [4]


def test_a_batch_is_kept_until_its_last_record_is_stored() -> None:
    window = _window(10)
    _send_all(window)
    report = a_report(window)
    window.take_acknowledgement(acknowledgement_of(report, acknowledged=9, expected=10))
    assert window.records == 10
    _, lost = window.take_acknowledgement(acknowledgement_of(report, acknowledged=9, expected=0))
    assert lost
    assert _send_all(window) == [0]


def test_a_settled_part_of_an_entry_is_below_the_base() -> None:
    """With those who are lost of it: a report would not add up otherwise."""
    window = Window(STREAM, 0, 20, live=False)
    window.put(an_entry(1, 0, 5))
    window.put(a_gap(0, 5, 10, "dropped_listener_killed"))
    report = a_report(window)
    window.take_acknowledgement(acknowledgement_of(report, 8, 8, {"expired_at_writer": 8}))
    assert (window.base, window.sent) == (8, 8)
    told = a_report(window)
    assert (told.base, told.sent, told.lost) == (8, 8, {"expired_at_writer": 8})
    assert _send_all(window) == [5]
    assert window.sent == 10


@pytest.mark.parametrize(
    "forged",
    [
        {"acknowledged": 10, "lost": {"expired_at_writer": 10}},
        {"acknowledged": 2, "lost": {"expired_at_writer": 2}},
        {"acknowledged": 0, "expected": 0},
    ],
)
def test_an_acknowledgement_of_what_cannot_be_is_ignored(forged: dict[str, Any]) -> None:
    """More than there is, and less than was acknowledged before."""
    window = _window(3, 3, 3)
    _send_all(window)
    report = a_report(window)
    window.take_acknowledgement(acknowledgement_of(report, acknowledged=3, expected=9))
    before = _state(window)
    message = acknowledgement_of(report, acknowledged=3, expected=9).model_copy(update=forged)
    assert window.take_acknowledgement(message) == ([], False)
    assert _state(window) == before


def test_what_the_receiver_was_not_yet_told_to_be_sent_is_not_lost() -> None:
    """The acknowledgement answers a report from before the last batch was sent."""
    window = _window(3)
    _send_all(window)
    report = a_report(window)
    _put(window, 3)
    _send_all(window)
    assert window.take_acknowledgement(acknowledgement_of(report, acknowledged=0, expected=3)) == ([], False)
    assert window.sent == 6


def test_records_and_bytes_are_counted_of_what_is_kept() -> None:
    """A gap has no records, but is kept, too."""
    window = _window(3, 4)
    assert window.records == 7
    size = window.size
    window.put(a_gap(3, 7, 100))
    assert (window.records, window.end, window.captured) == (7, 100, 100)
    assert 0 < window.size - size < size / 2
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=7, expected=7))
    assert (window.records, window.size > 0) == (0, True)
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=100, expected=100))
    assert (window.records, window.size) == (0, 0)


def test_a_window_is_done_when_all_that_was_captured_is_settled_also_what_it_does_not_hold_yet() -> None:
    window = Window(STREAM, 100, 106, live=False)
    assert (window.base, window.sent, window.end, window.is_done) == (100, 100, 100, False)
    window.put(an_entry(1, 100, 3))
    _send_all(window)
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=103, expected=103))
    assert (window.base, window.is_done) == (103, False)
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=106, expected=106))
    assert (window.base, window.sent, window.end, window.is_done) == (106, 106, 106, True)


def test_of_an_earlier_start_the_router_may_have_more_than_there_is() -> None:
    """What came last had been sent from memory, and was not in the spool."""
    window = Window(STREAM, 0, 3, live=False)
    window.put(an_entry(1, 0, 3))
    _send_all(window)
    settled, lost = window.take_acknowledgement(acknowledgement_of(a_report(window), 9, 12, {"expired_at_writer": 9}))
    assert ([entry.first for entry in settled], lost) == ([0], False)
    assert window.is_done
    assert a_report(window).base == 9


def test_only_what_is_not_on_disk_is_only_in_memory() -> None:
    window = Window(STREAM, 0, 0, live=True)
    for place, first, on_disk in ((1, 0, True), (2, 2, False), (3, 4, True)):
        window.put(an_entry(place, first, 2, on_disk=on_disk))
    assert [entry.place for entry in window.only_in_memory()] == [2]
    window.forget_disk()
    assert [entry.place for entry in window.only_in_memory()] == [1, 2, 3]
    assert _send_all(window) == [0, 2, 4]


def _window(*counts: int) -> Window:
    """A window with batches of so many records."""
    window = Window(STREAM, 0, 0, live=True)
    for count in counts:
        _put(window, count)
    return window


def _put(window: Window, count: int) -> None:
    window.put(an_entry(1, window.end, count))


def _state(window: Window) -> tuple[Any, ...]:
    return window.acknowledged, dict(window.lost), window.base, window.sent, window.end, window.records, window.size


def _send_all(window: Window) -> list[int]:
    """Send all that is not sent; gives the numbers of the first records."""
    firsts = []
    while (message := window.next_unsent()) is not None:
        firsts.append(piece(message).first)
        window.mark_sent()
    return firsts
