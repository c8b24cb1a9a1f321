"""Listeners as the router sees them: a stream each, its last report, and sums of streams that came to their end."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from router.streams import Stream
from tapfan.losses import Losses, Reason
from tapfan.messages import Acknowledgement, Gap, ListenerReport

REPORT_PERIOD_S = 0.5
_MISSED_REPORTS = 3
MAX_SUM = 2**53  # where sums of earlier streams stay: so those of all listeners have room in 64 bits


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

    def add(self, listener: Listener, loss: Reason) -> None:
        """Add another stream; `loss`: why there is no more of what has not come in."""
        self.stored = min(MAX_SUM, self.stored + listener.stream.stored)
        self.lost.update(listener.stream.lost)
        self.lost[loss] += listener.unsent
        self.lost = Counter({reason: min(MAX_SUM, count) for reason, count in self.lost.items()})
        self.kernel_drops = min(MAX_SUM, self.kernel_drops + listener.report.packets.kernel_drops)


class Listeners:
    """All listeners, by their streams. Times are seconds of a monotonic clock, handed in."""

    def __init__(self) -> None:
        self.listeners: dict[str, Listener] = {}  # by stream
        self.earlier: defaultdict[str, Earlier] = defaultdict(Earlier)  # by listener

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
                self.earlier[listener.report.name].add(listener, self.loss(listener))
                del self.listeners[key]

    def take_gap(self, gap: Gap) -> Listener | None:
        """Note that records will not come; gives the listener to tell, when there is something to acknowledge."""
        listener = self.listeners.get(gap.stream)
        if listener is None or listener.restored or not gap.first <= listener.stream.expected < gap.end:
            return None
        return listener if listener.stream.lose_to(gap.end, gap.reason) else None
