"""The router's state: streams in, lanes out, and the weights between. No socket, no clock."""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import Any

from router.health import Health
from router.lanes import Lane
from router.observed import Observed
from router.streams import OpenBatch, Stream
from router.weights import Weights
from tapfan.control import ControlError
from tapfan.losses import Losses, Reason
from tapfan.messages import Acknowledgement, Gap, ListenerReport, Mark, Stored, WriterReport
from tapfan.values import shown, ttl
from tapfan.wire import PackedBatch

REPORT_PERIOD_S = 0.5
_MISSED_REPORTS = 3


@dataclass
class Writer:
    """A writer as the router sees it."""

    redis: str
    lane: Lane
    health: Health
    address: bytes | None = None  # its ZeroMQ routing id, once it has reported
    report: WriterReport | None = None


@dataclass
class Listener:
    """A listener's stream, with its last report and the routing id that acknowledgements go to."""

    address: bytes
    report: ListenerReport
    stream: Stream
    reported_s: float
    restored: bool = False  # known from an earlier router, and not reported to this one yet

    def health(self, now_s: float) -> str:
        """Whether it reports: up, spooling (it has more than its window holds) or absent (not for three periods).

        One that has read a capture file, all of which is settled, is done instead of absent.
        """
        if now_s - self.reported_s > _MISSED_REPORTS * REPORT_PERIOD_S:
            is_done = self.report.ended and self.report.base == self.report.captured
            return "done" if is_done else "absent"
        return "spooling" if self.report.spooled else "up"

    @property
    def unsent(self) -> int:
        """Records that it has reported as captured and that have not come in."""
        return max(0, self.report.captured - self.stream.expected)

    @property
    def spooled(self) -> int:
        """Of those, the ones that are on its disk only."""
        return min(self.unsent, self.report.spooled)

    def acknowledgement(self, ttl_ms: int) -> Acknowledgement:
        """What to tell it now."""
        return Acknowledgement(
            stream=self.report.stream,
            acknowledged=self.stream.acknowledged,
            lost=dict(self.stream.acknowledged_lost),
            expected=self.stream.expected,
            report=self.report.number,
            sent=self.report.sent,
            ttl_ms=ttl_ms,
        )


@dataclass
class Earlier:
    """What a listener's earlier streams came to: all of it is settled."""

    stored: int = 0
    lost: Losses = field(default_factory=Counter)
    kernel_drops: int = 0


@dataclass(frozen=True)
class _Held:
    """Records that wait for a writer to be up."""

    records: PackedBatch
    stream: Stream
    batch: OpenBatch


@dataclass
class House:
    """Everything the router knows. Times are seconds of a monotonic clock, handed in."""

    weights: Weights
    writers: dict[str, Writer]
    ttl_ms: int  # of the records that come in from now on
    listeners: dict[str, Listener] = field(default_factory=dict)  # by stream
    earlier: defaultdict[str, Earlier] = field(default_factory=lambda: defaultdict(Earlier))  # by listener
    observed: Observed = field(default_factory=Observed)
    whole_below: int = 0  # records: a share as small as this goes to one of the others whole, not in ever smaller parts
    patience: int = 0  # looks for which, after nobody was up, the first who is waits for the others
    _waits: int = 0  # looks that are left of that
    _held: deque[_Held] = field(default_factory=deque)

    @property
    def held(self) -> int:
        """Records that wait for a writer that may get them."""
        return sum(len(held.records) for held in self._held)

    @property
    def draining(self) -> bool:
        """Whether writers that are up have something to store."""
        return any(writer.health.up and writer.lane.in_flight for writer in self.writers.values())

    def take_batch(self, batch: PackedBatch) -> bool:
        """Split a batch over the lanes; False when it is not the next of a reported stream, and so not taken."""
        listener = self.listeners.get(batch.stream)
        if listener is None or listener.restored or batch.first != listener.stream.expected:
            return False
        batch = replace(batch, ttl_ms=self.ttl_ms)
        self._place(_Held(batch, listener.stream, listener.stream.receive(batch.end, 1)))
        return True

    def take_gap(self, gap: Gap) -> Listener | None:
        """Note that records will not come; gives the listener to tell, when there is something to acknowledge."""
        listener = self.listeners.get(gap.stream)
        if listener is None or listener.restored or not gap.first <= listener.stream.expected < gap.end:
            return None
        return listener if listener.stream.lose_to(gap.end, gap.reason) else None

    def _place(self, held: _Held) -> None:
        """Give the records of one share to the lanes as shares of their own; hold them while nobody is up."""
        if not self.weights.any_up or self._waits:
            self._held.append(held)
            return
        counts = {name: count for name, count in self.weights.take(len(held.records)).items() if count}
        held.batch.shares_left += len(counts) - 1
        start = 0
        for name, count in counts.items():
            self.writers[name].lane.add(held.records.slice(start, start + count), held.stream, held.batch)
            start += count

    def take_listener_report(self, report: ListenerReport, address: bytes, now_s: float) -> Listener:
        """Note a listener's report; the first of a stream opens it."""
        listener = self.listeners.get(report.stream)
        if listener is None:
            stream = Stream.begun(report.base, report.lost) if report.live else Stream.left_over(report.base)
            listener = Listener(address, report, stream, now_s)
            self.listeners[report.stream] = listener
        elif listener.restored and report.live:
            listener.stream = Stream.begun(report.base, report.lost)
        elif not report.live:
            # Another process reports it now, which knows nothing of what the one that captured had counted.
            captured = max(report.captured, listener.report.captured)
            report = report.model_copy(update={"captured": captured, "packets": listener.report.packets})
        if report.base > listener.stream.expected:
            if report.live or address == listener.address:  # it knows, as an earlier router has told it
                listener.stream.skip_to(report.base, report.lost)
            else:
                listener.stream.lose_to(report.base, self.loss(listener))
        listener.address, listener.report, listener.reported_s, listener.restored = address, report, now_s, False
        return listener

    def current(self, name: str) -> Listener:
        """The stream that a listener captures into, as far as is known."""
        streams = [listener for listener in self.listeners.values() if listener.report.name == name]
        return next((listener for listener in reversed(streams) if listener.report.live), streams[-1])

    def has_ended(self, listener: Listener) -> bool:
        """Whether nothing more comes of a stream: the listener has another one, and this not even in its spool."""
        current = self.current(listener.report.name)
        return listener is not current and listener.report.stream not in current.report.leftovers

    def loss(self, listener: Listener) -> Reason:
        """Why there is no more of what has not come in of a stream."""
        if self.has_ended(listener) and self.current(listener.report.name).report.spool_damaged:
            return "dropped_spool_damaged"
        return "dropped_untracked" if listener.restored else "dropped_listener_killed"

    def sum_up_earlier(self, now_s: float) -> None:
        """Keep no more than sums of the streams that have come to their end."""
        for key, listener in list(self.listeners.items()):
            settled = listener.stream.acknowledged == listener.stream.expected
            if settled and self.has_ended(listener) and listener.health(now_s) == "absent":
                earlier = self.earlier[listener.report.name]
                earlier.stored += listener.stream.stored
                earlier.lost.update(listener.stream.lost)
                earlier.lost[self.loss(listener)] += listener.unsent
                earlier.kernel_drops += listener.report.packets.kernel_drops
                del self.listeners[key]

    def take_writer_report(self, report: WriterReport, address: bytes) -> Mark | None:
        """Note a writer's report; gives the mark to answer with, None for a writer that is not configured."""
        writer = self.writers.get(report.name)
        if writer is None:
            return None
        writer.address, writer.report = address, report
        writer.health.report(report.healthy)
        self._rearrange()
        return writer.lane.take_report(report)

    def look(self, now_s: float) -> None:
        """To be called once a period: notices who does not report."""
        for writer in self.writers.values():
            writer.health.look()
        self._rearrange()
        if self._waits:
            self._waits -= 1
            self._redistribute()
        self.sum_up_earlier(now_s)

    def _rearrange(self) -> None:
        nobody_was_up = not self.weights.any_up
        if self.weights.set_up([name for name, writer in self.writers.items() if writer.health.up]):
            if nobody_was_up:
                self._waits = self.patience
            self._redistribute()

    def _redistribute(self) -> None:
        """Let those that are up have what is held, and what the others have not stored.

        While nobody is up, what a writer has stays with it: it may well be the first that can store it. The first who
        is up again then waits a little for the others: what was held is more than its share.
        """
        if not self.weights.any_up or self._waits:
            return
        while self._held:
            self._place(self._held.popleft())
        taken = [kept for writer in self.writers.values() if not writer.health.up for kept in writer.lane.take_away()]
        for kept in taken:
            if kept.records < self.whole_below:
                self._least_loaded().lane.add(kept.share, kept.stream, kept.batch)
            else:
                self._place(_Held(kept.share, kept.stream, kept.batch))

    def _least_loaded(self) -> Writer:
        """Of the writers that may get records, the one that has the fewest on their way for its weight."""
        shares = self.weights.shares()
        name = min(
            (name for name, share in shares.items() if share),
            key=lambda name: self.writers[name].lane.in_flight / shares[name],
        )
        return self.writers[name]

    def take_stored(self, message: Stored, now_s: float) -> Listener | None:
        """Note a stored share; gives the listener to tell, when there is something to acknowledge. Raises WireError."""
        writer = self.writers.get(message.name)
        kept = writer.lane.take_stored(message) if writer else None
        if kept is None:
            return None
        self.observed.count(message.name, message.stored, now_s)
        lost: Losses = Counter({"expired_at_writer": message.expired} if message.expired else {})
        if not kept.stream.store(kept.batch, message.stored, lost):
            return None
        return next(listener for listener in self.listeners.values() if listener.stream is kept.stream)

    def change_ttl(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The `ttl` command: sets the one given, if any, for records that come in later, and gives what is in force."""
        if arguments.keys() - {"ttl"}:
            raise ControlError("bad_request", 'ttl takes {"ttl": a duration}, or nothing')
        if "ttl" in arguments:
            try:
                self.ttl_ms = round(ttl(arguments["ttl"]) * 1000)
            except ValueError as error:
                raise ControlError("bad_ttl", f"ttl {shown(arguments['ttl'])} {error}") from error
        return {"ttl": self.ttl_ms / 1000}

    def change_weights(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The `weights` command: sets those given, if any, and gives all that are in force."""
        given = arguments.pop("weights", {})
        if arguments or not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
            raise ControlError("bad_request", 'weights takes {"weights": {writer: weight, …}}, or nothing')
        self.weights.change(given)
        self._redistribute()
        return {
            "version": self.weights.version,
            "weights": dict(self.weights.current),
            "configured": dict(self.weights.configured),
            "shares": self.weights.shares(),
        }
