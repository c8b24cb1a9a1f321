"""Outboxes of one start of the listener after another, on the same spool file."""

from collections.abc import Mapping
from dataclasses import dataclass

from listener.outbox import Limits, Outbox
from listener.spool import Spool
from tapfan.losses import Reason
from tapfan.messages import ListenerReport, PacketCounts, SourceKind
from tests.listener.outgoing import NO_PACKETS, NOTHING, Piece, acknowledgement_of, piece, some_records
from tests.listener.spooling import LIMIT, Spools

MANY = 10**9  # more records and bytes than any test has
FOR_EVER_S = 10.0**9


@dataclass
class Start:
    """The outbox of one start, with its spool."""

    outbox: Outbox
    spool: Spool
    captured: int = 0

    def add(self, *counts: int) -> None:
        """Batches of so many records, whose timestamps are their sequence numbers."""
        for count in counts:
            self.outbox.add(some_records(range(self.captured, self.captured + count)))
            self.captured += count

    def send(self) -> list[Piece]:
        """Send all that is not sent yet."""
        pieces = []
        while (message := self.outbox.next_unsent()) is not None:
            pieces.append(piece(message))
            self.outbox.mark_sent()
        return pieces

    def sent(self) -> list[tuple[int, int]]:
        """Send all that is not sent yet; gives where the pieces begin and end."""
        return [(piece.first, piece.end) for piece in self.send()]

    def reports(self, source: SourceKind = "capture", packets: PacketCounts = NO_PACKETS) -> dict[str, ListenerReport]:
        """The next report of each stream."""
        return {report.stream: report for report in self.outbox.reports(source, packets)}

    def live_report(self) -> ListenerReport:
        """The next report of the stream that is captured into."""
        return self.reports()[self.outbox.stream]

    def acknowledge(
        self, stream: str, acknowledged: int, expected: int | None = None, lost: Mapping[Reason, int] = NOTHING
    ) -> bool:
        """Report, and take the answer; whether it told of a loss."""
        answer = acknowledgement_of(
            self.reports()[stream], acknowledged, acknowledged if expected is None else expected, lost
        )
        return self.outbox.take_acknowledgement(answer)

    def settle(self) -> list[Piece]:
        """Send and acknowledge whatever there is; gives what was sent."""
        pieces = []
        while not self.outbox.is_empty:
            self.outbox.refill()
            pieces += self.send()
            for report in self.reports().values():
                self.outbox.take_acknowledgement(acknowledgement_of(report, report.sent, report.sent, report.lost))
        self.reports()
        return pieces


class Starts:
    """Starts outboxes; one that was not told to keep what it has is killed by the next."""

    def __init__(self, spools: Spools) -> None:
        self._spools = spools
        self._epoch = 0

    def start(
        self,
        always: bool = False,
        records: int = MANY,
        size: int = MANY,
        limit: int = LIMIT,
        ttl_s: float = FOR_EVER_S,
        now_ns: int = 0,
    ) -> Start:
        """The next one."""
        self._epoch += 1
        spool = self._spools.open(limit)
        epoch = f"{self._epoch:08x}"
        outbox = Outbox("local", epoch, spool, Limits(records, size, ttl_s), always, lambda: now_ns)
        return Start(outbox, spool)

    def stop(self, running: Start) -> None:
        """End one as the listener does."""
        running.outbox.keep()
        self._spools.close()
