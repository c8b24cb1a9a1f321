"""A lane, the writer that it leads to, and a channel between them that loses messages, with restarts of both."""

from collections import deque
from dataclasses import dataclass, field

from router.lanes import Lane
from router.streams import OpenBatch, Stream
from tapfan.messages import Mark, Stored, WriterReport
from tests.router.housing import a_writer_report
from tests.router.sharing import a_part, shares_in
from writers.inbox import Inbox, stored_messages
from writers.storing import StoredShare


@dataclass
class WriterStart:
    """A start of the writer: what it took, and of that what it has not stored yet."""

    inbox: Inbox = field(default_factory=Inbox)
    taken: dict[str, list[int]] = field(default_factory=dict)  # by router, the shares' numbers
    bases: dict[str, int] = field(default_factory=dict)  # by router, where it was told to begin
    waiting: deque[tuple[str, int, list[int]]] = field(default_factory=deque)
    wanted: tuple[str, int] = ("", 0)  # the router of the last mark, and its base

    def take(self, message: bytes | Mark) -> list[Stored]:
        """Take a message of the router; gives what is to be told to it again."""
        if isinstance(message, Mark):
            if self.inbox.take_mark(message):
                self.bases[message.router] = message.base
            self.wanted = message.router, message.base
            return self.inbox.unconfirmed
        found = shares_in(message)
        router, first, _ = found[0]
        for number in self.inbox.take_shares(router, first, len(found)):
            self.taken.setdefault(router, []).append(number)
            self.waiting.append(found[number - first])
        return []

    def report(self) -> WriterReport:
        """What it says twice a second."""
        inbox = self.inbox
        return a_writer_report(router=inbox.router, expected=inbox.expected, mark=inbox.mark, sent=inbox.sent)


@dataclass
class Hop:
    """A lane, a writer and what is on the way between them; each share is known by its first record."""

    lane: Lane = field(default_factory=lambda: Lane("00000000"))
    writers: list[WriterStart] = field(default_factory=lambda: [WriterStart()])
    there: deque[bytes | Mark] = field(default_factory=deque)
    back: deque[WriterReport | Stored] = field(default_factory=deque)
    late: deque[WriterReport | Stored] = field(default_factory=deque)  # of earlier starts of the writer
    connected: bool = False  # the router knows where the writer is
    routers: int = 1
    unstored: dict[int, int] = field(default_factory=dict)  # of the shares that the router waits for, the size
    in_redis: list[int] = field(default_factory=list)  # records, in the order of storing
    taken_away: list[int] = field(default_factory=list)  # records that another writer has to store
    end: int = 0
    sent: list[int] = field(default_factory=list)  # the number of each share sent

    def add(self, count: int) -> None:
        """A share of so many records comes into the lane."""
        self._add(self.end, count)
        self.unstored[self.end] = count
        self.end += count

    def _add(self, first: int, count: int) -> None:
        self.lane.add(a_part(first, count), count, OpenBatch(Stream.begun(0, {}), first, count))

    def send(self, count: int) -> None:
        """The router sends the next messages to a writer that it knows, each with all the shares that there are."""
        for _ in range(count if self.connected else 0):
            message = self.lane.next_unsent()
            if message is None:
                return
            self.there.append(message)
            self.sent += [number for _, number, _ in shares_in(message)]
            self.lane.mark_sent()

    def write(self, count: int) -> None:
        """The writer takes the next messages."""
        for _ in range(min(count, len(self.there))):
            self.back += self.writers[-1].take(self.there.popleft())

    def store(self, count: int) -> None:
        """The writer stores the next shares that it took, apart from those that nobody waits for any more."""
        writer = self.writers[-1]
        done = []
        for _ in range(min(count, len(writer.waiting))):
            router, number, records = writer.waiting.popleft()
            if router != writer.wanted[0] or number < writer.wanted[1]:
                continue
            self.in_redis += records
            done.append(StoredShare(router, number, len(records), 0))
        for stored in stored_messages("a", done):
            writer.inbox.add_stored(stored)
            self.back.append(stored)

    def report(self, _: int = 0) -> None:
        """The writer reports."""
        self.back.append(self.writers[-1].report())

    def route(self, count: int) -> None:
        """The router takes the next messages."""
        for _ in range(min(count, len(self.back))):
            message = self.back.popleft()
            if isinstance(message, Stored):
                self._confirm(message)
            else:
                self.connected = True
                self.there.append(self.lane.take_report(message))

    def route_late(self, count: int) -> None:
        """The router takes messages of an earlier start of the writer; what it answers gets lost."""
        for _ in range(min(count, len(self.late))):
            message = self.late.popleft()
            if isinstance(message, Stored):
                self._confirm(message)
            else:
                self.lane.take_report(message)

    def _confirm(self, message: Stored) -> None:
        settled = self.lane.take_stored(message)
        assert not any(settled.expired)
        for batch, records in zip(settled.batches, settled.records, strict=True):
            assert not records or self.unstored.pop(batch.end) == records

    def turn(self, count: int) -> None:
        """Everybody does something, so that most sequences of steps get somewhere."""
        self.add(count)
        self.report()
        self.route(2 * count)
        self.send(count)
        self.write(2 * count)
        self.store(count)

    def lose_there(self, count: int) -> None:
        """The next messages to the writer do not arrive."""
        for _ in range(min(count, len(self.there))):
            self.there.popleft()

    def lose_back(self, count: int) -> None:
        """The next messages to the router do not arrive."""
        for _ in range(min(count, len(self.back))):
            self.back.popleft()

    def restart_writer(self, _: int) -> None:
        """Another start of the writer; what was on the way to the old one is lost."""
        self.there.clear()
        self.late += self.back
        self.back.clear()
        self.writers.append(WriterStart())

    def restart_router(self, _: int) -> None:
        """Another router, which gets all that is not acknowledged once more from the listeners."""
        self.lane = Lane(f"{self.routers:08x}")
        self.routers += 1
        self.connected = False
        for first, count in self.unstored.items():
            self._add(first, count)

    def take_away(self, _: int) -> None:
        """The writer counts as down; others get what it has not stored."""
        for kept in self.lane.take_away():
            share = kept.share
            assert self.unstored.pop(kept.batch.end) == kept.records == len(share)
            assert share.first == kept.batch.end  # as `_add` names it
            self.taken_away += range(share.first, share.end)

    def settle(self) -> None:
        """Nothing is lost any more: a gap is found, filled, and the filling stored and told."""
        self.late.clear()
        for _ in range(4):
            self.report()
            self.route(len(self.back))
            self.send(10_000)
            self.write(len(self.there))
            self.store(10_000)
        self.route(len(self.back))
