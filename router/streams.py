"""What the router has of one listener's stream: received in order, acknowledged in order."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tapfan.losses import Losses, Reason


@dataclass
class OpenBatch:
    """A batch whose shares are not all stored yet."""

    end: int
    shares_left: int
    lost: Losses = field(default_factory=Counter)


@dataclass
class Stream:
    """Takes batches in order only; knows up to where everything is settled: stored or lost."""

    counted_from: int  # what became of the records below is not known here
    expected: int  # one past the last record received
    acknowledged: int  # every record below is settled
    acknowledged_lost: Losses  # how many of those are lost
    stored: int = 0  # records, in whatever order they were stored
    lost: Losses = field(default_factory=Counter)
    _open: deque[OpenBatch] = field(default_factory=deque)

    @property
    def in_flight(self) -> int:
        """Records that came in and are not settled yet."""
        return self.expected - self.counted_from - self.stored - self.lost.total()

    @classmethod
    def begun(cls, base: int, lost: Mapping[Reason, int]) -> "Stream":
        """A stream whose records below `base` an earlier router had settled, `lost` of them as lost."""
        losses: Losses = Counter(lost)
        return cls(0, base, base, losses, stored=base - losses.total(), lost=losses.copy())

    @classmethod
    def left_over(cls, base: int) -> "Stream":
        """The rest of a stream, from `base` on, of which nothing else is known."""
        return cls(base, base, base, Counter())

    def receive(self, end: int, shares: int) -> OpenBatch:
        """Take the next batch, which ends before `end` and is split into so many shares; gives its open entry."""
        batch = OpenBatch(end, shares)
        self._open.append(batch)
        self.expected = end
        return batch

    def store(self, batch: OpenBatch, stored: int, lost: Mapping[Reason, int]) -> bool:
        """One share of an open batch is settled; True when that moved `acknowledged`."""
        self.stored += stored
        if lost:
            self.lost.update(lost)
            batch.lost.update(lost)
        batch.shares_left -= 1
        return not batch.shares_left and self._advance()

    def lose_to(self, end: int, reason: Reason) -> bool:
        """The records from `expected` to `end` will not come; True when that moved `acknowledged`."""
        count = end - self.expected
        self.lost[reason] += count
        self.receive(end, 0).lost[reason] += count
        return self._advance()

    def skip_to(self, base: int, lost: Mapping[Reason, int]) -> None:
        """Count the records from `expected` to `base` as settled: an earlier router has acknowledged them meanwhile.

        `lost`: of all records below `base`, those that the listener knows to be lost.
        """
        count = base - self.expected
        batch = self.receive(base, 0)
        for reason, number in (Counter(lost) - self.lost).items():
            newly = min(number, count - batch.lost.total())
            batch.lost[reason] += newly
            self.lost[reason] += newly
        self.stored += count - batch.lost.total()
        self._advance()

    def _advance(self) -> bool:
        before = self.acknowledged
        while self._open and not self._open[0].shares_left:
            done = self._open.popleft()
            self.acknowledged = done.end
            self.acknowledged_lost.update(done.lost)
        return self.acknowledged > before
