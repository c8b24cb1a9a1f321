"""What the router has of one listener's stream: received in order, acknowledged in order."""

from collections import deque
from dataclasses import dataclass, field


@dataclass
class OpenBatch:
    """A batch whose shares are not all stored yet."""

    end: int
    shares_left: int
    expired: int = 0


@dataclass
class Stream:
    """Takes batches in order only; knows up to where everything is stored."""

    expected: int  # one past the last record received
    acknowledged: int  # every record below is stored or expired
    acknowledged_expired: int  # how many of those had expired
    stored: int = 0  # records, in whatever order they were stored
    expired: int = 0
    _open: deque[OpenBatch] = field(default_factory=deque)

    @property
    def in_flight(self) -> int:
        """Records that came in and are not settled yet."""
        return self.expected - self.stored - self.expired

    @classmethod
    def begun(cls, base: int, expired: int) -> "Stream":
        """A stream whose records below `base` an earlier router had acknowledged, `expired` of them as expired."""
        return cls(base, base, expired, stored=base - expired, expired=expired)

    def receive(self, end: int, shares: int) -> OpenBatch:
        """Take the next batch, which ends before `end` and is split into so many shares; gives its open entry."""
        batch = OpenBatch(end, shares)
        self._open.append(batch)
        self.expected = end
        return batch

    def store(self, batch: OpenBatch, stored: int, expired: int) -> bool:
        """One share of an open batch is stored; True when that moved `acknowledged`."""
        self.stored += stored
        self.expired += expired
        batch.expired += expired
        batch.shares_left -= 1
        return self._advance()

    def skip_to(self, base: int, expired: int) -> None:
        """Count the records from `expected` to `base` as settled: an earlier router has acknowledged them meanwhile.

        `expired`: of all records below `base`, those that the listener knows to have expired.
        """
        newly_expired = min(max(0, expired - self.expired), base - self.expected)
        self.expired += newly_expired
        self.stored += base - self.expected - newly_expired
        self.receive(base, 0).expired = newly_expired
        self._advance()

    def _advance(self) -> bool:
        before = self.acknowledged
        while self._open and not self._open[0].shares_left:
            done = self._open.popleft()
            self.acknowledged = done.end
            self.acknowledged_expired += done.expired
        return self.acknowledged > before
