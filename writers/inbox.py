"""Which shares a writer takes: those of one router's epoch, each number once, in order (see `tapfan.messages`).

That a share is stored is said at once, and again after each mark until the router's base shows that it knows: the
saying may have been lost with a connection, and the router would wait for that share for ever.
"""

from tapfan.messages import Mark, Stored


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
        self.unconfirmed = [stored for stored in self.unconfirmed if not changed and stored.number >= mark.base]
        self.mark, self.sent = mark.number, mark.sent
        return changed

    def take_share(self, router: str, number: int) -> bool:
        """True for the share that is expected; others come again, or came already."""
        if router != self.router or number != self.expected:
            return False
        self.expected += 1
        return True

    def add_stored(self, stored: Stored) -> None:
        """A share of this router is stored; of another router's nobody asks any more."""
        if stored.router == self.router:
            self.unconfirmed.append(stored)
