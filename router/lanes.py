"""The lane to one writer: its numbered shares, kept until stored, and sent again after a loss or a restart."""

from collections import OrderedDict
from dataclasses import dataclass

from router.streams import OpenBatch, Stream
from tapfan.messages import Mark, Stored, WriterReport
from tapfan.wire import PackedBatch, WireError, read_batch, share_message, unpack


@dataclass
class KeptShare:
    """A share on its way: what to send, and which batch of which stream waits for it."""

    message: bytes
    records: int
    stream: Stream
    batch: OpenBatch

    @property
    def share(self) -> PackedBatch:
        """Its records, read back from the message."""
        return read_batch(unpack(self.message))


class Lane:
    """Holds a writer's unacknowledged shares in order; decides what to send, and sends nothing itself.

    `router`: the epoch of this router, eight hexadecimal digits: an earlier router's shares have other numbers.
    """

    def __init__(self, router: str) -> None:
        self._router = router
        self.stored = 0
        self.in_flight = 0
        self._kept: OrderedDict[int, KeptShare] = OrderedDict()
        self._next_number = 0  # of the next share that comes in
        self._unsent = 0  # the number of the first share not yet sent
        self._marks = 0
        self._trusted_mark = 0  # an echo of an earlier mark is from before the last resending

    def add(self, share: PackedBatch, stream: Stream, batch: OpenBatch) -> None:
        """Take a share to be sent."""
        message = share_message(self._router, self._next_number, share)
        self._kept[self._next_number] = KeptShare(message, len(share), stream, batch)
        self._next_number += 1
        self.in_flight += len(share)

    def next_unsent(self) -> bytes | None:
        """The message of the first share that is not sent yet; None when all are."""
        while self._unsent < self._next_number:
            kept = self._kept.get(self._unsent)
            if kept:
                return kept.message
            self._unsent += 1  # stored meanwhile: its acknowledgement came after the resending began
        return None

    def mark_sent(self) -> None:
        """What `next_unsent` gave is sent."""
        self._unsent += 1

    def take_away(self) -> list[KeptShare]:
        """Give up all shares, in order, for others to store; a late word that one is stored then changes nothing."""
        kept = list(self._kept.values())
        self._kept.clear()
        self.in_flight = 0
        return kept

    def take_report(self, report: WriterReport) -> Mark:
        """The answer to a writer's report; what it has proved not to have counts as unsent again."""
        base = next(iter(self._kept), self._next_number)
        unknown = report.router != self._router
        lost = not unknown and report.mark >= self._trusted_mark and report.expected < report.sent
        if unknown or lost:
            self._unsent = base if unknown else max(base, report.expected)
            self._trusted_mark = self._marks + 1
        self._marks += 1
        return Mark(router=self._router, number=self._marks, base=base, sent=self._unsent)

    def take_stored(self, message: Stored) -> KeptShare | None:
        """The share that the message says is stored; None when that was known, or was another router's.

        Raises WireError when its counts are not those of the share.
        """
        kept = self._kept.get(message.number) if message.router == self._router else None
        if kept is None:
            return None
        if message.stored + message.expired != kept.records:
            raise WireError(f"{message.stored} stored and {message.expired} expired of a share of {kept.records}")
        del self._kept[message.number]
        self.in_flight -= kept.records
        self.stored += message.stored
        return kept
