"""What the router has of one listener's stream: received in order, acknowledged in order."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tapfan.losses import Losses, Reason


@dataclass(slots=True, eq=False)
class OpenBatch:
    """A batch whose records are not all settled yet."""

    stream: "Stream"
    end: int
    left: int  # records that are not settled
    lost: Losses = field(default_factory=Counter)

    def lose(self, lost: Mapping[Reason, int]) -> None:
        """Some of the records that are about to be settled are lost."""
        self.lost.update(lost)
        self.stream.lost.update(lost)


@dataclass(eq=False)
class Stream:
    """Takes batches in order only; knows up to where everything is settled: stored or lost."""

    counted_from: int  # what became of the records below is not known here
    expected: int  # one past the last record received
    acknowledged: int  # every record below is settled
    acknowledged_lost: Losses  # how many of those are lost
    lost: Losses = field(default_factory=Counter)
    _open: deque[OpenBatch] = field(default_factory=deque)

    @property
    def in_flight(self) -> int:
        """Records that came in and are not settled yet."""
        return sum([batch.left for batch in self._open])

    @property
    def stored(self) -> int:
        """Records that are stored, in whatever order they were."""
        return self.expected - self.counted_from - self.lost.total() - self.in_flight

    @classmethod
    def begun(cls, base: int, lost: Mapping[Reason, int]) -> "Stream":
        """A stream whose records below `base` an earlier router had settled, `lost` of them as lost."""
        return cls(0, base, base, Counter(lost), Counter(lost))

    @classmethod
    def left_over(cls, base: int) -> "Stream":
        """The rest of a stream, from `base` on, of which nothing else is known."""
        return cls(base, base, base, Counter())

    def receive(self, end: int) -> OpenBatch:
        """Take the next batch, which ends before `end`; gives its open entry."""
        batch = OpenBatch(self, end, end - self.expected)
        self._open.append(batch)
        self.expected = end
        return batch

    def lose_to(self, end: int, reason: Reason) -> bool:
        """The records from `expected` to `end` will not come; True when that moved `acknowledged`."""
        batch = self.receive(end)
        batch.lose({reason: batch.left})
        return bool(settle([batch], [batch.left]))

    def skip_to(self, base: int, lost: Mapping[Reason, int]) -> None:
        """Count the records from `expected` to `base` as settled: an earlier router has acknowledged them meanwhile.

        `lost`: of all records below `base`, those that the listener knows to be lost.
        """
        batch = self.receive(base)
        newly: Losses = Counter()
        for reason, number in (Counter(lost) - self.lost).items():
            newly[reason] = min(number, batch.left - newly.total())
        batch.lose(newly)
        settle([batch], [batch.left])

    def advance(self) -> bool:
        """Acknowledge what is settled without a gap; True when that is more than it was."""
        before = self.acknowledged
        while self._open and not self._open[0].left:
            done = self._open.popleft()
            self.acknowledged = done.end
            if done.lost:
                self.acknowledged_lost.update(done.lost)
        return self.acknowledged > before


def settle(batches: Iterable[OpenBatch], records: Iterable[int]) -> set[Stream]:
    """So many records of each batch are stored or lost; gives the streams whose `acknowledged` that moved."""
    done = set()
    for batch, count in zip(batches, records, strict=True):
        left = batch.left - count
        batch.left = left
        if not left:
            done.add(batch.stream)
    return {stream for stream in done if stream.advance()}
