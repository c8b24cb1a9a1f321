"""What may happen to a listener and a router between them: the outbox, its spool and the router's house, as they are.

Messages go one way in `there`, the other way in `back`; a listener that is started again has another connection.
"""

import sqlite3
from collections import defaultdict, deque
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from listener.entry import Entry
from listener.outbox import Limits, Outbox
from listener.spool import Spool
from router.house import House, Rules
from router.intent import Intent, Member
from router.ledger import LedgerFile
from router.listeners import Listener
from tapfan.logs import Logger
from tapfan.losses import Reason
from tapfan.messages import Acknowledgement, Gap, ListenerReport, Stored, read_message
from tapfan.wire import PackedBatch, read_batch, read_shares, unpack
from tests.listener.outgoing import NO_PACKETS, piece, some_records

Identity = tuple[str, int]  # of a record: stream and sequence number

_NS_A_MS = 1_000_000
_ALL = 10**9
_ROUNDS = 500  # more than any history takes to be settled


@dataclass
class Records:
    """What became of every record."""

    captured: dict[Identity, int] = field(default_factory=dict)  # with its timestamp
    stored: set[Identity] = field(default_factory=set)  # or found expired by a writer
    gaps: dict[Identity, Reason] = field(default_factory=dict)  # those that the router took gaps for
    in_memory: set[Identity] = field(default_factory=set)  # those that were nowhere else when a listener was killed


class Router:
    """A router without sockets, whose writers store whatever they get; of every third share one record has expired."""

    def __init__(self, epoch: int, ledger: LedgerFile, records: Records, ttl_ms: int) -> None:
        self._records = records
        self._epoch = f"{epoch:08x}"
        self._waiting: defaultdict[str, deque[tuple[int, PackedBatch]]] = defaultdict(deque)  # by writer, with numbers
        members = {name: Member("", weight, weight) for name, weight in (("a", 30.0), ("b", 70.0))}
        self.house = House(Intent(1, ttl_ms, members), ttl_ms, self._epoch, Rules(2, 3))
        self.ledger = ledger
        ledger.restore(self.house)

    def take(self, address: bytes, message: bytes) -> Listener | None:
        """What came from a listener; gives whom to answer."""
        content = unpack(message)
        if content["kind"] == "batch":
            self.house.take_batch(read_batch(content))
            return None
        report = read_message(content)
        if isinstance(report, ListenerReport):
            return self.house.take_listener_report(report, address, 0.0)
        assert isinstance(report, Gap)
        return self._take_gap(report)

    def _take_gap(self, gap: Gap) -> Listener | None:
        known = self.house.listeners.get(gap.stream)
        before = known.stream.expected if known else 0
        told = self.house.take_gap(gap)
        if known:
            numbers = range(before, known.stream.expected)
            self._records.gaps |= {(gap.stream, number): gap.reason for number in numbers}
        return told

    def store(self, shares: int) -> list[Listener]:
        """The writers store the next shares; gives whom to tell."""
        told = []
        for name, writer in self.house.writers.items():
            waiting = self._waiting[name]
            while (message := writer.lane.next_unsent()) is not None:
                writer.lane.mark_sent()
                _, first, parts = read_shares(unpack(message))
                waiting += enumerate(parts, first)
            for _ in range(min(shares, len(waiting))):
                told += self._store(name, *waiting.popleft())
        return told

    def _store(self, name: str, number: int, share: PackedBatch) -> list[Listener]:
        batch = share.unpacked()
        for sequence, timestamp in enumerate(batch.records.timestamp.tolist(), batch.first):
            assert self._records.captured[batch.stream, sequence] == timestamp
            self._records.stored.add((batch.stream, sequence))
        expired = int(number % 3 == 0)
        stored = Stored(
            name=name, router=self._epoch, number=number, shares=1, stored=len(batch) - expired, expired=[expired]
        )
        return self.house.take_stored(stored, 0.0)


class _ListenersSpool(Spool):
    """A spool whose disk is full at times."""

    disk_is_full = False

    def append(self, entry: Entry, loaded: bool = False) -> bool:
        """Write the entry, if there is room on the disk."""
        return not self.disk_is_full and super().append(entry, loaded)

    def damage(self) -> None:
        """As nobody else gets at the file, its own connection has to do it."""
        self._database.execute("DROP TABLE IF EXISTS entry")


class History:
    """One listener, one router, and everything that was captured."""

    def __init__(self, folder: Path, log: Logger, always: bool, limits: Limits, spool_bytes: int) -> None:
        self._folder = folder
        self._log = log
        self._always = always
        self._limits = limits
        self._ttl_ms = round(limits.ttl_s * 1000)
        self._spool_bytes = spool_bytes
        self._now_ns = 0
        self._epochs = 0
        self._there: dict[bytes, deque[bytes]] = {}
        self._back: deque[tuple[bytes, Acknowledgement]] = deque()
        self._sent: dict[str, int] = {}  # of each stream, where the last piece that this start has sent ended
        self._acknowledged: dict[str, int] = {}  # of each stream, what this start was told
        self._trouble = False
        self.records = Records()
        self.router = self._new_router()
        self._start()

    def _new_router(self) -> Router:
        self._epochs += 1
        return Router(self._epochs, LedgerFile(self._folder / "ledger.json", self._log), self.records, self._ttl_ms)

    def _start(self) -> None:
        self._epochs += 1
        self._spool = _ListenersSpool(self._folder / "spool.db", self._spool_bytes, self._log)
        self.outbox = Outbox(
            "local", f"{self._epochs:08x}", self._spool, self._limits, self._always, lambda: self._now_ns
        )
        self._address = self.outbox.stream.encode()
        self._there[self._address] = deque()
        self._sent.clear()
        self._acknowledged.clear()
        self._captured = 0

    def burst(self, count: int, batches: int) -> None:
        """More is captured than may be on its way."""
        for _ in range(batches):
            self.add(count)

    def add(self, count: int) -> None:
        """Records are captured, each at a time of its own."""
        timestamps = range(self._now_ns + 1, self._now_ns + count + 1)
        self._now_ns += count
        numbers = range(self._captured, self._captured + count)
        self._captured += count
        self.records.captured |= {
            (self.outbox.stream, number): timestamp for number, timestamp in zip(numbers, timestamps, strict=True)
        }
        self.outbox.add(some_records(timestamps))

    def age(self) -> None:
        """What is captured later outlives all that was captured until now."""
        self._now_ns += self._ttl_ms * _NS_A_MS + 1

    def refill(self) -> None:
        """The listener takes from its spool what there is room for."""
        self.outbox.refill()

    def send(self, most: int) -> None:
        """The listener sends: in the order of each stream, or again what it has sent before."""
        for _ in range(most):
            message = self.outbox.next_unsent()
            if message is None:
                return
            self.outbox.mark_sent()
            found = piece(message)
            known = max(self._sent.get(found.stream, found.first), self._acknowledged.get(found.stream, 0))
            assert found.first <= known, "something was left out"
            self._sent[found.stream] = found.end
            self._there[self._address].append(message)

    def report(self) -> None:
        """The listener reports, and removes from its spool what is settled."""
        for report in self.outbox.reports("capture", NO_PACKETS):
            self._there[self._address].append(report.pack())

    def deliver(self, most: int, connection: int = 0) -> None:
        """Messages come to the router; with several connections, from whichever of them."""
        for address, message in self._take_from(most, connection):
            self._tell(self.router.take(address, message))

    def lose(self, most: int, connection: int = 0) -> None:
        """Messages do not come to the router."""
        self._take_from(most, connection)

    def _take_from(self, most: int, connection: int) -> list[tuple[bytes, bytes]]:
        waiting = [(address, queue) for address, queue in self._there.items() if queue]
        if not waiting:
            return []
        address, queue = waiting[connection % len(waiting)]
        return [(address, queue.popleft()) for _ in range(min(most, len(queue)))]

    def _tell(self, listener: Listener | None) -> None:
        if listener:
            self._back.append((listener.address, listener.acknowledgement(self._ttl_ms)))

    def store(self, shares: int) -> None:
        """The writers store."""
        for listener in self.router.store(shares):
            self._tell(listener)

    def hear(self, most: int) -> None:
        """Acknowledgements come to the listener, unless they were for the one before it."""
        for _ in range(min(most, len(self._back))):
            address, message = self._back.popleft()
            if address == self._address:
                self.outbox.take_acknowledgement(message)
                told = max(message.acknowledged, self._acknowledged.get(message.stream, 0))
                self._acknowledged[message.stream] = told

    def miss(self, most: int) -> None:
        """Acknowledgements do not come to the listener."""
        for _ in range(min(most, len(self._back))):
            self._back.popleft()

    def kill(self) -> None:
        """The listener is killed, and started again."""
        self._spool.close()
        self.records.in_memory |= self.records.captured.keys() - self._on_disk()
        self._start()

    def _on_disk(self) -> set[Identity]:
        """What a start would find."""
        with closing(sqlite3.connect(self._folder / "spool.db")) as database:
            if not database.execute("SELECT * FROM sqlite_master").fetchall():
                return set()  # damaged
            rows = database.execute("SELECT stream, first, end FROM entry")
            return {(stream, number) for stream, first, end in rows for number in range(first, end)}

    def stop(self) -> None:
        """The listener is stopped, and started again."""
        self.report()
        self.outbox.keep()
        if self._trouble:
            self.kill()
            return
        self._spool.close()
        self._start()

    def damage(self) -> None:
        """What is in the spool cannot be read any more."""
        self._trouble = True
        self._spool.damage()

    def disk(self, is_full: bool) -> None:
        """There is no more room on the disk, or there is some again."""
        self._trouble = True
        self._spool.disk_is_full = is_full

    def save(self) -> None:
        """The router writes its ledger."""
        self.router.ledger.save(self.router.house)

    def restart(self) -> None:
        """The router is started again, with the ledger that was last written."""
        self.router = self._new_router()

    def forget(self) -> None:
        """The router is started again without its ledger."""
        (self._folder / "ledger.json").unlink(missing_ok=True)
        self.restart()

    def round(self, shares: int = _ALL) -> None:
        """Once everything that should happen; the writers store so many shares."""
        self.refill()
        self.send(_ALL)
        self.report()
        while any(self._there.values()):
            self.deliver(_ALL)
        self.store(shares)
        self.hear(_ALL)

    def catch_up(self) -> None:
        """Until the last that was in the spool is on its way, with as little stored as that takes."""
        for _ in range(_ROUNDS):
            if not self._spool.has_more:
                break
            self.round(1)

    def settle(self) -> None:
        """Nothing is lost any more, until everything is settled."""
        for _ in range(_ROUNDS):
            self.round()
            if self.outbox.is_empty and not self._spool.has_more:
                break
        assert self.outbox.is_empty, "not settled"
        (report,) = self.outbox.reports("capture", NO_PACKETS)
        assert (report.live, report.leftovers) == (True, [])

    def left_on_disk(self) -> set[Identity]:
        """Close the spool; gives what a start would find."""
        self._spool.close()
        return self._on_disk()
