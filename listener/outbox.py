"""What the listener has not yet been told is stored: kept in order, sent, and sent again after a loss."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from tapfan.batch import Batch, Records
from tapfan.messages import Acknowledgement, ListenerReport
from tapfan.wire import batch_message, packed_batch


@dataclass(frozen=True)
class _Kept:
    message: bytes
    first: int
    end: int


class Outbox:
    """The window of one stream. Decides what to send, and sends nothing itself; see `tapfan.messages`.

    `name`: the listener's; `epoch`: eight hexadecimal digits, drawn at its start.
    """

    def __init__(self, name: str, epoch: str) -> None:
        self.name = name
        self.stream = f"{name}.{epoch}"
        self.end = 0  # the sequence number of the next record
        self.acknowledged = 0  # every record below is stored or expired
        self.expired = 0  # of those
        self._kept: deque[_Kept] = deque()
        self._unsent = 0  # the place in `_kept` of the first batch not yet sent
        self._reports = 0
        self._trusted_report = 0  # an echo of an earlier report is from before the last resending

    @property
    def in_flight(self) -> int:
        """Records that are not yet acknowledged."""
        return self.end - self.acknowledged

    @property
    def sent(self) -> int:
        """One past the last record sent."""
        return self._kept[self._unsent].first if self._unsent < len(self._kept) else self.end

    def add(self, records: Records) -> None:
        """Give the records their sequence numbers, and keep them as the next batch."""
        batch = Batch(self.stream, self.end, records)
        self._kept.append(_Kept(batch_message(packed_batch(batch)), batch.first, batch.end))
        self.end = batch.end

    def next_unsent(self) -> bytes | None:
        """The message of the first batch that is not sent yet; None when all are."""
        return self._kept[self._unsent].message if self._unsent < len(self._kept) else None

    def mark_sent(self) -> None:
        """What `next_unsent` gave is sent."""
        self._unsent += 1

    def take_acknowledgement(self, message: Acknowledgement) -> bool:
        """Forget what is stored; what is proved lost counts as unsent again. True when there was a loss."""
        if message.stream != self.stream or not self.acknowledged <= message.acknowledged <= self.end:
            return False
        self.acknowledged, self.expired = message.acknowledged, message.expired
        while self._kept and self._kept[0].end <= self.acknowledged:
            self._kept.popleft()
            self._unsent = max(0, self._unsent - 1)
        lost = message.report >= self._trusted_report and message.expected < min(message.sent, self.sent)
        if lost:
            self._unsent = next((i for i, kept in enumerate(self._kept) if kept.end > message.expected), 0)
            self._trusted_report = self._reports + 1
        return lost

    def report(
        self, source: Literal["capture", "accept"], kernel_drops: int, undecoded: int, waiting: bool = False
    ) -> ListenerReport:
        """The next report."""
        self._reports += 1
        return ListenerReport(
            name=self.name,
            stream=self.stream,
            number=self._reports,
            base=self._kept[0].first if self._kept else self.end,
            sent=self.sent,
            expired=self.expired,
            captured=self.end,
            kernel_drops=kernel_drops,
            undecoded=undecoded,
            source=source,
            waiting=waiting,
        )
