"""The lane to one writer: its numbered shares, kept until stored, and sent again after a loss or a restart."""

from dataclasses import dataclass
from itertools import accumulate, repeat

from router.streams import OpenBatch, Stream
from tapfan.bounds import MAX_PARTS
from tapfan.messages import Mark, Stored, WriterReport
from tapfan.wire import PackedBatch, WireError, read_part, shares_message

_MESSAGE_BYTES = 2**20  # of a message of several shares


@dataclass(slots=True, eq=False)
class KeptShare:
    """A share on its way: what to send, and which batch of which stream waits for it."""

    part: bytes
    records: int
    stream: Stream
    batch: OpenBatch

    @property
    def share(self) -> PackedBatch:
        """Its records, read back from what is sent."""
        return read_part(self.part)


class Lane:
    """Holds a writer's unacknowledged shares in order; decides what to send, and sends nothing itself.

    `router`: the epoch of this router, eight hexadecimal digits: an earlier router's shares have other numbers.
    """

    def __init__(self, router: str) -> None:
        self._router = router
        self.stored = 0
        self.in_flight = 0
        self._kept: dict[int, KeptShare] = {}  # in order
        self._next_number = 0  # of the next share that comes in
        self._unsent = 0  # the number of the first share not yet sent
        self._offered = 0  # the number after the last share of the message that is to be sent
        self._marks = 0
        self._trusted_mark = 0  # an echo of an earlier mark is from before the last resending

    def add(self, part: bytes, records: int, stream: Stream, batch: OpenBatch) -> None:
        """Take a share of so many records to be sent (`tapfan.wire.share_parts`)."""
        number = self._next_number
        self._kept[number] = KeptShare(part, records, stream, batch)
        self._next_number = number + 1
        self.in_flight += records

    def next_unsent(self) -> bytes | None:
        """A message of the first shares that are not sent yet, as many as go into one; None when all are sent."""
        if self._unsent == self._next_number:
            return None
        while self._unsent < self._next_number and self._unsent not in self._kept:
            self._unsent += 1  # stored meanwhile: its acknowledgement came after the resending began
        following = list(map(self._kept.get, range(self._unsent, min(self._next_number, self._unsent + MAX_PARTS))))
        if None in following:
            following = following[: following.index(None)]
        parts = [kept.part for kept in following if kept]
        if sum(map(len, parts)) > _MESSAGE_BYTES:
            ends = accumulate(map(len, parts))
            parts = parts[: max(1, sum(end <= _MESSAGE_BYTES for end in ends))]
        self._offered = self._unsent + len(parts)
        return shares_message(self._router, self._unsent, parts) if parts else None

    def mark_sent(self) -> None:
        """What `next_unsent` gave is sent."""
        self._unsent = self._offered

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

    def take_stored(self, message: Stored) -> list[tuple[KeptShare, int]]:
        """The shares that the message says are stored, each with how many of its records had expired before.

        Not those of which that was known, or that were another router's. Raises WireError when the counts are not those
        of the shares, and then takes none.
        """
        if message.router != self._router:
            return []
        numbers = range(message.number, message.end)
        found = zip(map(self._kept.get, numbers), message.expired or repeat(0), strict=False)
        done = [(kept, expired) for kept, expired in found if kept is not None]
        records = sum([kept.records for kept, _ in done])
        lost = sum(message.expired) and sum([expired for _, expired in done])
        if lost and any(expired > kept.records for kept, expired in done):
            raise WireError(f"more expired of a share than it had: {lost} of {records} in all")
        if len(done) == message.shares and records - lost != message.stored:
            raise WireError(f"{message.stored} stored and {lost} expired of {message.shares} shares of {records}")
        for number in numbers:
            self._kept.pop(number, None)
        self.in_flight -= records
        self.stored += records - lost
        return done
