"""The listener's window, against a receiver that follows `tapfan.messages` over a channel that loses messages."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.outbox import Outbox
from tapfan.batch import Records
from tapfan.messages import Acknowledgement, ListenerReport, read_message
from tapfan.wire import read_batch, unpack

_EPOCH = "0123abcd"


@dataclass
class _Receiver:
    """Takes batches in order only; one in three of the records that it stores has expired."""

    base: int | None = None
    taken: list[int] = field(default_factory=list)
    ends: deque[int] = field(default_factory=deque)  # of the batches that are not stored yet
    acknowledged: int = 0
    expired: int = 0
    report: ListenerReport | None = None

    @property
    def expected(self) -> int:
        assert self.base is not None
        return self.base + len(self.taken)

    def take(self, message: bytes) -> None:
        content = unpack(message)
        if content["kind"] == "listener":
            self._take_report(read_message(content))
        elif self.base is not None and content["first"] == self.expected:
            self.taken += read_batch(content).unpacked().records.timestamp.tolist()
            self.ends.append(self.expected)

    def _take_report(self, report: object) -> None:
        assert isinstance(report, ListenerReport)
        if self.base is None:
            self.base = self.acknowledged = report.base
            self.expired = report.expired
        self.report = report

    def store(self, batches: int) -> None:
        for _ in range(min(batches, len(self.ends))):
            end = self.ends.popleft()
            self.expired += sum(number % 3 == 0 for number in range(self.acknowledged, end))
            self.acknowledged = end

    def acknowledgement(self) -> Acknowledgement | None:
        """What it says when it was asked."""
        if self.report is None:
            return None
        return Acknowledgement(
            stream=self.report.stream,
            acknowledged=self.acknowledged,
            expired=self.expired,
            expected=self.expected,
            report=self.report.number,
            sent=self.report.sent,
        )


@dataclass
class _Hop:
    """An outbox, a receiver, and what is on the way between them."""

    outbox: Outbox = field(default_factory=lambda: Outbox("local", _EPOCH))
    receivers: list[_Receiver] = field(default_factory=lambda: [_Receiver()])
    there: deque[bytes] = field(default_factory=deque)
    back: deque[Acknowledgement] = field(default_factory=deque)
    sent: list[int] = field(default_factory=list)  # the first sequence number of each batch sent

    def add(self, count: int) -> None:
        """Records whose timestamps are their sequence numbers."""
        self.outbox.add(_records(self.outbox.end, count))

    def turn(self) -> None:
        """What the listener does in one: take all acknowledgements, send all batches, and report."""
        while self.back:
            self.outbox.take_acknowledgement(self.back.popleft())
        while (message := self.outbox.next_unsent()) is not None:
            self.there.append(message)
            self.sent.append(unpack(message)["first"])
            self.outbox.mark_sent()
        self.there.append(self.outbox.report("capture", 0, 0).pack())

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
        """Nothing is lost any more: a gap is found, filled, and the filling acknowledged."""
        for _ in range(3):
            self.turn()
            self.deliver(len(self.there))
            self.store(len(self.receivers[-1].ends))
            self.answer()
        self.turn()


_STEPS = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 5)),
    st.tuples(st.just("turn")),
    st.tuples(st.just("turn")),
    st.tuples(st.just("deliver"), st.integers(1, 4)),
    st.tuples(st.just("deliver"), st.integers(1, 4)),
    st.tuples(st.just("lose"), st.integers(1, 3)),
    st.tuples(st.just("store"), st.integers(1, 3)),
    st.tuples(st.just("answer"), st.booleans()),
    st.tuples(st.just("restart")),
)


@given(st.lists(_STEPS, max_size=60))
def test_everything_arrives_in_order_and_once_whatever_is_lost(steps: Sequence[tuple[str, int]]) -> None:
    hop = _Hop()
    for action, *arguments in steps:
        getattr(hop, action)(*arguments)
        _assert_consistent(hop)
    hop.settle()
    assert hop.outbox.in_flight == 0
    assert hop.outbox.next_unsent() is None
    assert hop.receivers[-1].expected == hop.outbox.sent == hop.outbox.end
    assert hop.outbox.expired == sum(number % 3 == 0 for number in range(hop.outbox.end))
    _assert_consistent(hop)


def _assert_consistent(hop: _Hop) -> None:
    """Each receiver took records in order, each once; together they have all that count as stored."""
    stored = 0
    for receiver in hop.receivers:
        if receiver.base is not None:
            assert receiver.taken == list(range(receiver.base, receiver.expected))
            assert receiver.base <= stored, "no receiver has what is between"
            stored = max(stored, receiver.acknowledged)
    assert hop.outbox.acknowledged <= stored
    assert hop.outbox.acknowledged <= hop.outbox.sent <= hop.outbox.end


@given(st.lists(_STEPS.filter(lambda step: step[0] not in ("lose", "restart")), max_size=60))
def test_where_nothing_is_lost_nothing_is_sent_twice(steps: Sequence[tuple[str, int]]) -> None:
    """However late acknowledgements are, or whether they come at all; but the receiver must have begun."""
    hop = _Hop()
    hop.turn()
    hop.deliver(1)
    for action, *arguments in steps:
        getattr(hop, action)(*arguments)
    hop.turn()
    hop.deliver(len(hop.there))
    assert hop.sent == sorted(set(hop.sent))
    assert hop.receivers[0].taken == list(range(hop.outbox.end))


def test_a_loss_is_made_good_once_however_many_acknowledgements_tell_of_it() -> None:
    """Those that answer a report from before the sending again tell of the first loss."""
    outbox = _outbox(2, 2)
    _send_all(outbox)
    for _ in range(3):
        outbox.report("capture", 0, 0)
    sent_again = []
    for report in (1, 2, 3):
        outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=0, expected=0, report=report))
        sent_again += _send_all(outbox)
    assert sent_again == [0, 2]


def test_the_first_answer_after_sending_again_tells_whether_that_was_lost_too() -> None:
    outbox = _outbox(2, 2)
    for report in (1, 2, 3):
        _send_all(outbox)
        outbox.report("capture", 0, 0)
        assert outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=0, expected=0, report=report))


def test_what_is_stored_before_it_could_be_sent_again_is_not_sent() -> None:
    outbox = _outbox(2, 2, 2)
    _send_all(outbox)
    outbox.report("capture", 0, 0)
    outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=0, expected=0))
    assert outbox.sent == 0
    outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=4, expected=4, report=0))
    assert (outbox.sent, outbox.in_flight) == (4, 2)
    assert _send_all(outbox) == [4]


def test_sending_again_begins_at_the_first_batch_that_did_not_arrive() -> None:
    outbox = _outbox(3, 3, 3)
    _send_all(outbox)
    outbox.report("capture", 0, 0)
    assert outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=0, expected=3))
    assert outbox.sent == 3
    assert _send_all(outbox) == [3, 6]


def test_records_are_numbered_in_the_order_of_adding() -> None:
    outbox = _outbox(2, 3)
    assert outbox.stream == f"local.{_EPOCH}"
    assert _send_all(outbox) == [0, 2]
    assert outbox.end == 5


def test_a_report_says_what_is_sent_and_what_is_stored() -> None:
    outbox = _outbox(2, 3, 4)
    _send_next(outbox)
    _send_next(outbox)
    first = outbox.report("capture", 7, 2)
    outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=2, expected=5, expired=1))
    second = outbox.report("accept", 8, 2)
    assert first == ListenerReport(
        name="local",
        stream=f"local.{_EPOCH}",
        number=1,
        base=0,
        sent=5,
        expired=0,
        captured=9,
        kernel_drops=7,
        undecoded=2,
        waiting=False,
        source="capture",
    )
    assert second == first.model_copy(
        update={"number": 2, "base": 2, "expired": 1, "kernel_drops": 8, "source": "accept"}
    )
    assert outbox.in_flight == 7
    assert _send_all(outbox) == [5]
    assert outbox.report("accept", 8, 2).sent == 9


def test_an_empty_outbox_reports_its_end() -> None:
    outbox = _outbox(4)
    _send_all(outbox)
    outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=4, expected=4))
    report = outbox.report("capture", 0, 0)
    assert (report.base, report.sent, report.captured, outbox.in_flight) == (4, 4, 4, 0)
    assert outbox.next_unsent() is None


def test_a_batch_is_kept_until_its_last_record_is_stored() -> None:
    outbox = _outbox(10)
    _send_all(outbox)
    outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=9, expected=10))
    assert (outbox.in_flight, outbox.report("capture", 0, 0).base) == (1, 0)
    assert outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=9, expected=0))
    assert _send_all(outbox) == [0]


@pytest.mark.parametrize(
    "forged",
    [
        {"stream": "local.ffffffff", "acknowledged": 6},
        {"stream": f"other.{_EPOCH}", "acknowledged": 6},
        {"acknowledged": 10, "expired": 10},
        {"acknowledged": 2, "expired": 2},
        {"acknowledged": 0, "expected": 0},
    ],
)
def test_an_acknowledgement_of_another_stream_or_of_what_cannot_be_is_ignored(forged: dict[str, int | str]) -> None:
    """Other streams, more than there is, and less than was acknowledged before."""
    outbox = _outbox(3, 3, 3)
    _send_all(outbox)
    outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=3, expected=9))
    before = (outbox.acknowledged, outbox.expired, outbox.in_flight, outbox.sent)
    message = _acknowledgement(outbox, acknowledged=3, expected=9).model_copy(update=forged)
    assert not outbox.take_acknowledgement(message)
    assert (outbox.acknowledged, outbox.expired, outbox.in_flight, outbox.sent) == before


def test_what_the_receiver_was_not_yet_told_to_be_sent_is_not_lost() -> None:
    """The acknowledgement answers a report from before the last batch was sent."""
    outbox = _outbox(3)
    _send_all(outbox)
    outbox.report("capture", 0, 0)
    outbox.add(_records(3, 3))
    _send_all(outbox)
    assert not outbox.take_acknowledgement(_acknowledgement(outbox, acknowledged=0, expected=3, sent=3))
    assert outbox.sent == 6


def _outbox(*counts: int) -> Outbox:
    """An outbox with batches of so many records."""
    outbox = Outbox("local", _EPOCH)
    for count in counts:
        outbox.add(_records(outbox.end, count))
    return outbox


def _records(first: int, count: int) -> Records:
    records = Records.empty(count)
    for name in ("source", "destination", "source_port", "destination_port", "flags", "segments"):
        getattr(records, name)[:] = 1
    records.timestamp[:] = np.arange(first, first + count)
    return records


def _send_next(outbox: Outbox) -> int:
    """Send a batch; gives the number of its first record."""
    message = outbox.next_unsent()
    assert message is not None
    outbox.mark_sent()
    return read_batch(unpack(message)).first


def _send_all(outbox: Outbox) -> list[int]:
    """Send all batches that are not sent; gives the numbers of their first records."""
    firsts = []
    while outbox.next_unsent() is not None:
        firsts.append(_send_next(outbox))
    return firsts


def _acknowledgement(
    outbox: Outbox, acknowledged: int, expected: int, expired: int = 0, sent: int | None = None, report: int = 1
) -> Acknowledgement:
    """An answer to a report of the outbox's."""
    return Acknowledgement(
        stream=outbox.stream,
        acknowledged=acknowledged,
        expired=expired,
        expected=expected,
        report=report,
        sent=outbox.sent if sent is None else sent,
    )
