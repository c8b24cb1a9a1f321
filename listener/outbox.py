"""What the listener has captured and not yet been told is stored: on its way, or waiting in the spool."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from listener.entry import Entry
from listener.spool import Spool
from listener.spool_rows import SpoolDamagedError
from listener.window import Window
from tapfan.batch import Batch, Records
from tapfan.losses import Reason
from tapfan.messages import MAX_LEFTOVERS, Acknowledgement, ListenerReport, PacketCounts, SourceKind
from tapfan.wire import batch_message, packed_batch

_NO_PLACE = 0  # of what is in no spool, and never will be
_NS_A_MS = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What may be on its way at most, and how long a record is worth sending."""

    records: int
    size: int  # bytes
    ttl_s: float


class Outbox:
    """Numbers what is captured and keeps it until it is settled: in windows while there is room, then in the spool.

    What the spool was found with, of earlier starts, goes first, with its own identities; behind it, and behind
    what was spooled since, everything else waits its turn. `always`: write everything to the spool before it is sent.
    """

    def __init__(
        self,
        name: str,
        epoch: str,
        spool: Spool,
        limits: Limits,
        always: bool = False,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._name = name
        self._spool = spool
        self._limits = limits
        self._ttl_ms = round(limits.ttl_s * 1000)  # until the router says otherwise
        self._always = always
        self._clock_ns = clock_ns
        self._last_place = _NO_PLACE
        self._settled: list[int] = []  # places to be removed from the spool
        self._unwritten: Entry | None = None  # a gap behind all that is in the spool: what the disk did not take
        self._live = Window(f"{name}.{epoch}", 0, 0, live=True)
        self._windows: dict[str, Window] = {}
        self._find_leftovers()

    def _find_leftovers(self) -> None:
        leftovers = []
        try:
            leftovers = self._spool.leftovers()
        except SpoolDamagedError as error:
            self._spool.set_aside(error)
        for found in leftovers:
            self._windows[found.stream] = Window(found.stream, found.first, found.end, live=False)
        self._windows[self._live.stream] = self._live
        self._last_place = self._spool.last_place

    @property
    def stream(self) -> str:
        """The stream that is captured into."""
        return self._live.stream

    @property
    def is_empty(self) -> bool:
        """Whether everything is settled."""
        return all(window.is_done for window in self._windows.values())

    @property
    def unsettled(self) -> int:
        """Records that are on their way or in the spool."""
        return sum(window.captured - window.base for window in self._windows.values())

    @property
    def has_room(self) -> bool:
        """Whether what comes next need not wait in the spool."""
        return not self._spool.has_more and all(self._room())

    def _room(self) -> tuple[int, int]:
        """For how many more records and bytes there is room on the way."""
        windows = self._windows.values()
        records, size = sum(window.records for window in windows), sum(window.size for window in windows)
        return max(0, self._limits.records - records), max(0, self._limits.size - size)

    def add(self, records: Records) -> None:
        """Give the records their sequence numbers, and keep them as the next batch."""
        batch = Batch(self.stream, self._live.captured, records)
        message = batch_message(packed_batch(batch))
        entry = Entry(self._next_place(), batch.stream, batch.first, batch.end, int(records.timestamp.max()), message)
        must_wait = self._spool.has_more or self._unwritten is not None or not all(self._room())
        if must_wait or self._always:
            entry = self._written(entry, loaded=not must_wait)
        if not must_wait:
            self._live.put(entry)
            return
        self._live.captured = entry.end
        if not entry.on_disk:
            first, place = (self._unwritten or entry).first, (self._unwritten or entry).place
            self._unwritten = Entry(place, self.stream, first, entry.end, reason="dropped_disk")

    def refill(self) -> None:
        """Take from the spool what there is room for."""
        while self._spool.has_more and all(room := self._room()):
            try:
                entries = self._spool.load(*room, self._clock_ns() - self._ttl_ms * _NS_A_MS)
            except SpoolDamagedError as error:
                self._give_up_spool(error)
                return
            for entry in entries:
                self._take_loaded(entry)
        if self._unwritten and not self._spool.has_more:
            self._live.put(self._unwritten)
            self._unwritten = None

    def next_unsent(self) -> bytes | None:
        """The message of the first entry that is not sent yet; None when all are."""
        return next(filter(None, (window.next_unsent() for window in self._windows.values())), None)

    def mark_sent(self) -> None:
        """What `next_unsent` gave is sent."""
        next(window for window in self._windows.values() if window.next_unsent() is not None).mark_sent()

    def take_acknowledgement(self, message: Acknowledgement) -> bool:
        """Forget what is settled; what is proved lost on the way counts as unsent again. True when there was a loss."""
        self._ttl_ms = message.ttl_ms
        window = self._windows.get(message.stream)
        if window is None:
            return False
        settled, lost = window.take_acknowledgement(message)
        self._settled += [entry.place for entry in settled if entry.on_disk]
        return lost

    def reports(self, source: SourceKind, packets: PacketCounts, ended: bool = False) -> list[ListenerReport]:
        """The next report of each stream; what is settled is then gone from the spool, too."""
        try:
            self._forget_settled()
            self._spool.tell()
        except SpoolDamagedError as error:
            self._give_up_spool(error)
        return [self._report(window, source, packets, ended) for window in self._windows.values()]

    def keep(self) -> None:
        """Write what is only in memory to the spool, for the next start."""
        try:
            self._keep()
        except SpoolDamagedError as error:
            self._give_up_spool(error)
            self._keep()

    def _keep(self) -> None:
        for window in self._windows.values():
            for entry in window.only_in_memory():
                if entry.place != _NO_PLACE:
                    self._append(entry, loaded=True)
        if self._unwritten:
            self._append(self._unwritten, loaded=True)

    def _forget_settled(self) -> None:
        """Remove from the spool what is settled, and forget earlier streams of which there is nothing more on disk.

        Not before: should this process be killed, the next one would find them, and the router must then know them.
        """
        if self._settled:
            settled, self._settled = self._settled, []
            self._spool.remove(settled)
        for window in list(self._windows.values()):
            if not window.live and window.is_done and not self._spool.holds(window.stream):
                del self._windows[window.stream]

    def _next_place(self) -> int:
        self._last_place += 1
        return self._last_place

    def _take_loaded(self, entry: Entry) -> None:
        window = self._windows.get(entry.stream)
        if window is None or entry.end <= window.acknowledged:
            self._settled.append(entry.place)  # an earlier start had been told so, but not yet removed it
            return
        if entry.first > window.end:
            # Only in memory when the listener was killed; the router knows how much of it had come in.
            reason: Reason = "dropped_listener_killed"
            window.put(Entry(_NO_PLACE, entry.stream, window.end, entry.first, reason=reason, on_disk=True))
        window.put(entry)

    def _written(self, entry: Entry, loaded: bool) -> Entry:
        """The entry as it is when it was to be written to the spool: on disk, if that took it."""
        try:
            return replace(entry, on_disk=self._append(entry, loaded))
        except SpoolDamagedError as error:
            self._give_up_spool(error)
            entry = replace(entry, place=self._next_place())  # behind the gaps that have come before it
            return replace(entry, on_disk=self._append(entry, loaded))

    def _append(self, entry: Entry, loaded: bool) -> bool:
        if self._unwritten and not loaded:
            if not self._spool.append(self._unwritten):
                return False
            self._unwritten = None
        return self._spool.append(entry, loaded)

    def _give_up_spool(self, error: SpoolDamagedError) -> None:
        """Begin a new spool; what was only in the damaged one is lost."""
        self._spool.set_aside(error)
        self._settled.clear()
        self._unwritten = None
        for window in list(self._windows.values()):
            window.forget_disk()
            if window.is_done and not window.live:
                del self._windows[window.stream]
            if window.captured > window.end:
                reason: Reason = "dropped_spool_damaged"
                window.put(Entry(self._next_place(), window.stream, window.end, window.captured, reason=reason))

    def _report(self, window: Window, source: SourceKind, packets: PacketCounts, ended: bool) -> ListenerReport:
        leftovers = [stream for stream in self._windows if stream != self.stream]
        return ListenerReport(
            name=self._name,
            stream=window.stream,
            live=window.live,
            number=window.next_report(),
            base=window.base,
            sent=window.sent,
            lost=dict(window.lost),
            captured=window.captured,
            spooled=window.captured - window.end,
            leftovers=leftovers[:MAX_LEFTOVERS] if window.live else [],
            packets=packets if window.live else PacketCounts(),
            source=source,
            ended=ended and window.live,
            spool_damaged=self._spool.was_damaged,
        )
