"""The lane to one writer: its numbered shares, kept until stored, and sent again after a loss or a restart."""

from dataclasses import dataclass
from itertools import accumulate
from operator import gt
from typing import NamedTuple

from router.streams import OpenBatch
from tapfan.bounds import MAX_PARTS
from tapfan.messages import Mark, Stored, WriterReport
from tapfan.wire import PackedBatch, WireError, read_part, shares_message

_MESSAGE_BYTES = 2**20  # of a message of several shares


@dataclass(slots=True, eq=False)
class KeptShare:
    """A share on its way: what to send, and which batch waits for it."""

    part: bytes
    records: int
    batch: OpenBatch

    @property
    def share(self) -> PackedBatch:
        """Its records, read back from what is sent."""
        return read_part(self.part)


class Settled(NamedTuple):
    """Shares of which a writer has said that they are stored: the lists go together."""

    batches: list[OpenBatch]
    records: list[int]  # of each; 0 of one of which that was known
    expired: list[int]  # of those, the ones that had expired before; empty: of none any


class Lane:
    """Holds a writer's unacknowledged shares in order; decides what to send, and sends nothing itself.

    `router`: the epoch of this router, eight hexadecimal digits: an earlier router's shares have other numbers.
    """

    def __init__(self, router: str) -> None:
        self._router = router
        self.stored = 0
        self.in_flight = 0
        # The shares from number `_base` on, in three lists, as an object for each would cost as much as all the rest.
        # One that is stored before those that came in before it has 0 records until these are stored, too.
        self._base = 0
        self._parts: list[bytes] = []
        self._records: list[int] = []
        self._batches: list[OpenBatch] = []
        self._unsent = 0  # the number of the first share not yet sent
        self._offered = 0  # the number after the last share of the message that is to be sent
        self._marks = 0
        self._trusted_mark = 0  # an echo of an earlier mark is from before the last resending

    def add(self, part: bytes, records: int, batch: OpenBatch) -> None:
        """Take a share of so many records to be sent (`tapfan.wire.share_parts`)."""
        self._parts.append(part)
        self._records.append(records)
        self._batches.append(batch)
        self.in_flight += records

    def next_unsent(self) -> bytes | None:
        """A message of the first shares that are not sent yet, as many as go into one; None when all are sent."""
        # Those that are stored meanwhile are passed over: their acknowledgement came after the resending began.
        start = self._first_kept(max(0, self._unsent - self._base))
        self._unsent = self._base + start
        records = self._records[start : start + MAX_PARTS]
        if not records:
            return None
        if 0 in records:
            records = records[: records.index(0)]
        parts = self._parts[start : start + len(records)]
        if sum(map(len, parts)) > _MESSAGE_BYTES:
            ends = accumulate(map(len, parts))
            parts = parts[: max(1, sum(end <= _MESSAGE_BYTES for end in ends))]
        self._offered = self._unsent + len(parts)
        return shares_message(self._router, self._unsent, parts)

    def mark_sent(self) -> None:
        """What `next_unsent` gave is sent."""
        self._unsent = self._offered

    def take_away(self) -> list[KeptShare]:
        """Give up all shares, in order, for others to store; a late word that one is stored then changes nothing."""
        found = zip(self._parts, self._records, self._batches, strict=True)
        kept = [KeptShare(part, records, batch) for part, records, batch in found if records]
        self._forget(len(self._parts))
        self.in_flight = 0
        return kept

    def take_report(self, report: WriterReport) -> Mark:
        """The answer to a writer's report; what it has proved not to have counts as unsent again."""
        unknown = report.router != self._router
        lost = not unknown and report.mark >= self._trusted_mark and report.expected < report.sent
        if unknown or lost:
            self._unsent = self._base if unknown else max(self._base, min(report.expected, self._end))
            self._trusted_mark = self._marks + 1
        self._marks += 1
        return Mark(router=self._router, number=self._marks, base=self._base, sent=self._unsent)

    def take_stored(self, message: Stored) -> Settled:
        """The shares that the message says are stored; none when they were another router's.

        Raises WireError when the counts are not those of the shares, and then takes none.
        """
        start, stop = max(0, message.number - self._base), min(message.end - self._base, len(self._parts))
        if message.router != self._router or start >= stop:
            return Settled([], [], [])
        before = self._base - message.number
        counts, expired = self._records[start:stop], message.expired[before + start : before + stop]
        if expired and 0 in counts:
            expired = [count and lost for count, lost in zip(counts, expired, strict=True)]
        records, lost = sum(counts), sum(expired)
        if any(map(gt, expired, counts)):
            raise WireError(f"more expired of a share than it had: {lost} of {records} in all")
        is_whole = stop - start == message.shares and 0 not in counts
        if is_whole and records - lost != message.stored:
            raise WireError(f"{message.stored} stored and {lost} expired of {message.shares} shares of {records}")
        batches = self._batches[start:stop]
        if start:
            self._parts[start:stop] = [b""] * (stop - start)
            self._records[start:stop] = [0] * (stop - start)
        else:
            self._forget(self._first_kept(stop))
        self.in_flight -= records
        self.stored += records - lost
        return Settled(batches, counts, expired)

    @property
    def _end(self) -> int:
        """The number of the next share that comes in."""
        return self._base + len(self._parts)

    def _first_kept(self, start: int) -> int:
        """The place, from `start` on, of the first share that is not stored; one past the last when there is none."""
        while start < len(self._records) and not self._records[start]:
            start += 1
        return start

    def _forget(self, count: int) -> None:
        """Keep the first so many no longer."""
        del self._parts[:count], self._records[:count], self._batches[:count]
        self._base += count
