"""A stream as its listener sees it, record by record: what the plain ledger counts."""

from collections import Counter
from dataclasses import dataclass, field

from tapfan.losses import Losses, Reason


@dataclass
class Seen:
    """A stream as its listener sees it."""

    name: str
    stream: str
    base: int  # what became of the records below was settled before this router
    base_lost: Losses
    counted_from: int
    expected: int
    captured: int
    spooled: int = 0
    fates: dict[int, Reason | None] = field(default_factory=dict)  # of the records that are settled; None: stored
    ends: list[int] = field(default_factory=list)  # of all batches and gaps
    ended: bool = False  # its listener has another one, and nothing left over of this
    restored: bool = False  # an earlier router knew it, and nobody has told this one of it
    summed_up: bool = False

    @property
    def acknowledged(self) -> int:
        """The end of the last batch before which everything is settled."""
        done = self.base
        for end in self.ends:
            if any(record not in self.fates for record in range(done, end)):
                break
            done = end
        return done

    @property
    def unsent(self) -> int:
        """Records that are captured and have not come in."""
        return max(0, self.captured - self.expected)

    def lost(self, below: int) -> Losses:
        """The records lost of those below a sequence number."""
        lost: Losses = Counter(fate for record, fate in self.fates.items() if fate is not None and record < below)
        return lost + self.base_lost

    def take(self, end: int, fates: dict[int, Reason | None] | None = None) -> None:
        """A batch that ends there came in, or records that are settled already."""
        self.fates |= fates or {}
        self.ends.append(end)
        self.expected = end
        self.captured = max(self.captured, end)

    def forget_from(self, record: int) -> None:
        """What became of the records from there on is not known any more."""
        self.fates = {at: fate for at, fate in self.fates.items() if at < record}
        self.ends = [end for end in self.ends if end <= record]
        self.expected = record

    def counts(self) -> dict[str, int]:
        """What the ledger must say of it."""
        lost = self.lost_in_all().total()
        settled = sum(fate is None for fate in self.fates.values())
        spooled = 0 if self.ended else min(self.unsent, self.spooled)
        below = self.base - self.counted_from - self.base_lost.total()
        return {
            "captured": self.captured - self.counted_from,
            "stored": below + settled,
            "spooled": spooled,
            "in_flight": self.captured - self.counted_from - below - settled - lost - spooled,
        }

    def lost_in_all(self) -> Losses:
        """The records lost, with those that went with the listener's memory."""
        lost = self.lost(self.expected)
        if self.ended and self.unsent:
            lost["dropped_untracked" if self.restored else "dropped_listener_killed"] += self.unsent
        return lost
