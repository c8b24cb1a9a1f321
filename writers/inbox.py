"""Which shares a writer takes: those of one router's epoch, each number once, in order (see `tapfan.messages`).

That shares are stored is said soon, and again after each mark until the router's base shows that it knows: the saying
may have been lost with a connection, and the router would wait for those shares for ever.
"""

from collections.abc import Sequence

from tapfan.bounds import MAX_PARTS
from tapfan.messages import Mark, Stored
from writers.storing import StoredShare


class Inbox:
    """Where the writer stands in the row of shares that its router sends it."""

    def __init__(self) -> None:
        self.router: str | None = None  # the epoch of the router; None before its first mark
        self.expected = 0  # the number of the next share
        self.mark = 0  # the last mark's number, and how far the router had sent then
        self.sent = 0
        self.unconfirmed: list[Stored] = []  # of this router's shares, in order, until a mark's base is past them

    def take_mark(self, mark: Mark) -> bool:
        """Note a router's mark; True when it is another router than before, and so begins at its base."""
        changed = mark.router != self.router
        if changed:
            self.router, self.expected = mark.router, mark.base
        # What was stored by an earlier start of ours, and is known only now, is not sent again.
        self.expected = max(self.expected, mark.base)
        self.unconfirmed = [stored for stored in self.unconfirmed if not changed and stored.end > mark.base]
        self.mark, self.sent = mark.number, mark.sent
        return changed

    def take_shares(self, router: str, number: int, count: int) -> range:
        """Of so many shares from this number on, those to take, in order; others came already, or come again."""
        end = number + count
        if router != self.router or not number <= self.expected < end:
            return range(0)
        taken = range(self.expected, end)
        self.expected = end
        return taken

    def add_stored(self, stored: Stored) -> None:
        """Shares of this router are stored; of another router's nobody asks any more."""
        if stored.router == self.router:
            self.unconfirmed.append(stored)


def stored_messages(name: str, shares: Sequence[StoredShare]) -> list[Stored]:
    """What the writer of that name says of shares that are stored: one message for those that follow each other."""
    runs: list[list[StoredShare]] = []
    for share in shares:
        run = runs[-1] if runs else []
        if run and len(run) < MAX_PARTS and (share.router, share.number) == (run[-1].router, run[-1].number + 1):
            run.append(share)
        else:
            runs.append([share])
    return [
        Stored(
            name=name,
            router=run[0].router,
            number=run[0].number,
            shares=len(run),
            stored=sum(share.stored for share in run),
            expired=[share.expired for share in run] if any(share.expired for share in run) else [],
        )
        for run in runs
    ]
