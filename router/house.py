"""The router's state: streams in, lanes out, and the weights between. No socket, no clock."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from router.lanes import Lane
from router.observed import Observed
from router.streams import Stream
from router.weights import Weights
from tapfan.control import ControlError
from tapfan.messages import Acknowledgement, ListenerReport, Mark, Stored, WriterReport
from tapfan.wire import PackedBatch

REPORT_PERIOD_S = 0.5
_MISSED_REPORTS = 3


def _is_absent(reported_s: float, now_s: float) -> bool:
    return now_s - reported_s > _MISSED_REPORTS * REPORT_PERIOD_S


@dataclass
class Writer:
    """A writer as the router sees it."""

    redis: str
    lane: Lane
    address: bytes | None = None  # its ZeroMQ routing id, once it has reported
    report: WriterReport | None = None
    reported_s: float = 0.0

    def health(self, now_s: float) -> str:
        """Whether it can store now: up, down (its Redis) or absent (no report for three periods)."""
        if self.report is None or _is_absent(self.reported_s, now_s):
            return "absent"
        return "up" if self.report.healthy else "down"


@dataclass
class Listener:
    """A listener's stream, with its last report and the routing id that acknowledgements go to."""

    address: bytes
    report: ListenerReport
    stream: Stream
    reported_s: float

    def health(self, now_s: float) -> str:
        """Whether it takes packets: up, waiting (its window is full) or absent (no report for three periods)."""
        if _is_absent(self.reported_s, now_s):
            return "absent"
        return "waiting" if self.report.waiting else "up"

    @property
    def unsent(self) -> int:
        """Records that it has reported as captured and that have not come in."""
        return max(0, self.report.captured - self.stream.expected)

    def acknowledgement(self) -> Acknowledgement:
        """What to tell it now."""
        return Acknowledgement(
            stream=self.report.stream,
            acknowledged=self.stream.acknowledged,
            expired=self.stream.acknowledged_expired,
            expected=self.stream.expected,
            report=self.report.number,
            sent=self.report.sent,
        )


@dataclass
class Earlier:
    """What a listener's earlier streams came to: all of it is settled."""

    stored: int = 0
    expired: int = 0
    dropped: int = 0  # captured, and gone with the listener before it was sent
    kernel_drops: int = 0


@dataclass
class House:
    """Everything the router knows. Times are seconds of a monotonic clock, handed in."""

    weights: Weights
    writers: dict[str, Writer]
    listeners: dict[str, Listener] = field(default_factory=dict)  # by stream
    earlier: defaultdict[str, Earlier] = field(default_factory=lambda: defaultdict(Earlier))  # by listener
    observed: Observed = field(default_factory=Observed)

    def take_batch(self, batch: PackedBatch) -> bool:
        """Split a batch over the lanes; False when it is not the next of a known stream, and so not taken."""
        listener = self.listeners.get(batch.stream)
        if listener is None or batch.first != listener.stream.expected:
            return False
        counts = {name: count for name, count in self.weights.take(len(batch)).items() if count}
        open_batch = listener.stream.receive(batch.end, len(counts))
        start = 0
        for name, count in counts.items():
            self.writers[name].lane.add(batch.slice(start, start + count), listener.stream, open_batch)
            start += count
        return True

    def take_listener_report(self, report: ListenerReport, address: bytes, now_s: float) -> Listener:
        """Note a listener's report; the first of a stream opens it."""
        listener = self.listeners.get(report.stream)
        if listener is None:
            self._sum_up_earlier(report.name, now_s)
            listener = Listener(address, report, Stream.begun(report.base, report.expired), now_s)
            self.listeners[report.stream] = listener
        if report.base > listener.stream.expected:
            listener.stream.skip_to(report.base, report.expired)
        listener.address, listener.report, listener.reported_s = address, report, now_s
        return listener

    def _sum_up_earlier(self, name: str, now_s: float) -> None:
        """Keep no more than sums of the streams of a listener that have come to their end."""
        for key, listener in list(self.listeners.items()):
            ended = listener.stream.acknowledged == listener.stream.expected and listener.health(now_s) == "absent"
            if listener.report.name == name and ended:
                self.earlier[name].stored += listener.stream.stored
                self.earlier[name].expired += listener.stream.expired
                self.earlier[name].dropped += listener.unsent
                self.earlier[name].kernel_drops += listener.report.kernel_drops
                del self.listeners[key]

    def take_writer_report(self, report: WriterReport, address: bytes, now_s: float) -> Mark | None:
        """Note a writer's report; gives the mark to answer with, None for a writer that is not configured."""
        writer = self.writers.get(report.name)
        if writer is None:
            return None
        writer.address, writer.report, writer.reported_s = address, report, now_s
        return writer.lane.take_report(report)

    def take_stored(self, message: Stored, now_s: float) -> Listener | None:
        """Note a stored share; gives the listener to tell, when there is something to acknowledge. Raises WireError."""
        writer = self.writers.get(message.name)
        kept = writer.lane.take_stored(message) if writer else None
        if kept is None:
            return None
        self.observed.count(message.name, message.stored, now_s)
        if not kept.stream.store(kept.batch, message.stored, message.expired):
            return None
        return next(listener for listener in self.listeners.values() if listener.stream is kept.stream)

    def change_weights(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The `weights` command: sets those given, if any, and gives all that are in force."""
        given = arguments.pop("weights", {})
        if arguments or not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
            raise ControlError("bad_request", 'weights takes {"weights": {writer: weight, …}}, or nothing')
        self.weights.change(given)
        return {
            "version": self.weights.version,
            "weights": dict(self.weights.current),
            "configured": dict(self.weights.configured),
            "shares": self.weights.shares(),
        }
