"""The router's state: streams in, lanes out, and the weights between. No socket, no clock."""

from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from router.health import AWAY_LOOKS, Health
from router.history import Entry, History
from router.intent import Intent
from router.lanes import KeptShare, Lane
from router.listeners import Listener, Listeners
from router.observed import Observed
from router.remembered import MAX_REMOVED, Remembered, is_of_a_process
from router.steering import Steering
from router.streams import OpenBatch, settle
from router.weights import Weights
from tapfan.messages import Mark, Stored, WriterReport
from tapfan.wire import PackedBatch, share_parts

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass
class Writer:
    """A writer as the router sees it."""

    lane: Lane
    health: Health
    address: bytes = b""  # the ZeroMQ routing id of its process, once that has reported, also when it is away
    is_connected: bool = False  # whether something can be sent there
    report: WriterReport | None = None
    noted: str = ""  # its condition, as the history has it; none of one that is new and has not reported

    @property
    def condition(self) -> str:
        """Whether it may get records, up, or else why not; one that is not known yet may."""
        return "up" if self.health.up else self.health.text


@dataclass(frozen=True)
class _Held:
    """Records that wait for a writer to be up."""

    records: PackedBatch
    batch: OpenBatch


@dataclass
class Rules:
    """How the house deals with writers that come and go; `rise` and `fall` are explained at Health."""

    rise: int
    fall: int
    whole_below: int = 0  # records: a share as small as this goes to one of the others whole, not in ever smaller parts
    patience: int = 0  # looks for which, after nobody was up, the first who is waits for the others


class House(Listeners):
    """Everything the router knows. Times are seconds of a monotonic clock, handed in, unless they say otherwise.

    `router`: its epoch, of which all its shares are; `now_s`: since the epoch.
    """

    def __init__(
        self,
        intent: Intent,
        configured_ttl_ms: int,
        router: str,
        rules: Rules,
        history: History | None = None,
        now_s: float = 0.0,
    ) -> None:
        super().__init__()
        self.rules = rules
        self.observed = Observed()
        self.steering = Steering(intent, history or History(), now_s)
        self._configured_ttl_ms = configured_ttl_ms
        self._router = router
        self.writers = {name: self._writer(name, is_up=True) for name in intent.members}
        self._leaving: Set[str] = frozenset()
        self._waits = 0  # looks that are left of the patience
        self._held: deque[_Held] = deque()
        self._lanes: dict[str, Lane] = {}  # of writers that were removed: no number of a share is used twice
        self._removed: dict[bytes, str] = {}  # them by the routing ids of their processes

    def _writer(self, name: str, is_up: bool) -> Writer:
        lane = Lane(self._router) if is_up else self._lanes.pop(name, Lane(self._router))
        lane.stored = 0
        health = Health(self.rules.rise, self.rules.fall, is_up)
        return Writer(lane, health, noted="up" if is_up else "")

    @property
    def intent(self) -> Intent:
        """What operators want."""
        return self.steering.intent

    @property
    def history(self) -> History:
        """Who changed what."""
        return self.steering.history

    @property
    def weights(self) -> Weights:
        """What the split goes by."""
        return self.steering.weights

    @property
    def ttl_ms(self) -> int:
        """How long records live that come in from now on."""
        return self.intent.ttl_ms

    @property
    def held(self) -> int:
        """Records that wait for a writer that may get them."""
        return sum(len(held.records) for held in self._held)

    @property
    def draining(self) -> bool:
        """Whether writers that are up have something to store."""
        return any(writer.health.up and writer.lane.in_flight for writer in self.writers.values())

    def take_batch(self, batch: PackedBatch) -> bool:
        """Split a batch over the lanes; False when it is not the next of a reported stream, and so not taken."""
        listener = self.listeners.get(batch.stream)
        if listener is None or listener.restored or batch.first != listener.stream.expected:
            return False
        batch = replace(batch, ttl_ms=self.ttl_ms)
        self._place(_Held(batch, listener.stream.receive(batch.end)))
        return True

    def _place(self, held: _Held) -> None:
        """Give the records of one share to the lanes as shares of their own; hold them while nobody is up."""
        if not self.weights.any_up or self._waits:
            self._held.append(held)
            return
        taken = self.weights.take(len(held.records))
        counts = [count for count in taken.values() if count]
        lanes = [self.writers[name].lane for name, count in taken.items() if count]
        for lane, count, part in zip(lanes, counts, share_parts(held.records, counts), strict=True):
            lane.add(part, count, held.batch)

    def adopt(self, intent: Intent, entries: Iterable[Entry], now_s: float) -> None:
        """Let another intent be in force, which these entries led to; `now_s`: since the epoch.

        What writers have that are removed goes to others; those that are new may get records once they report.
        """
        gone = [self.writers[name] for name in self.writers if name not in intent.members]
        for name, writer in list(self.writers.items()):
            if name not in intent.members:
                _remember(self._lanes, name, writer.lane)
                self.observed.forget(name)
                if writer.address:
                    _remember(self._removed, writer.address, name)
        self.steering.adopt(intent, entries, now_s)
        if self.writers.keys() != intent.members.keys():
            self.writers = {name: self.writers.get(name) or self._writer(name, is_up=False) for name in intent.members}
            self.steering.set_up(self._names_up())
        self._give([kept for writer in gone for kept in writer.lane.take_away()])
        self._redistribute()

    def hold_back(self, names: Set[str]) -> None:
        """Give these writers nothing new, whose removal is on its way to the disk: else others would get that again."""
        if names != self._leaving:
            self._leaving = names
            self._rearrange()

    def tick(self, now_s: float, clock_s: float) -> None:
        """Go on with what goes by the time, since the epoch and of the monotonic clock; to be called often."""
        if self.steering.tick(now_s, clock_s):
            self._redistribute()

    def view(self, repeated: bool = False) -> dict[str, Any]:
        """What clients are told after a change; `repeated`: it had been made before."""
        return self.steering.view() | {"configured_ttl": self._configured_ttl_ms / 1000, "repeated": repeated}

    def take_entries(self) -> list[Entry]:
        """The entries of the history that came since this was last asked, automatic ones, too."""
        return self.steering.take_entries()

    def in_flight(self, name: str) -> int | None:
        """Records that a writer has to store; None while it may get more, as it is ready and up."""
        writer = self.writers.get(name)
        if writer is None:
            return 0
        is_ready = self.intent.members[name].state == "ready"
        return None if is_ready and writer.health.up else writer.lane.in_flight

    def restore(self, remembered: Remembered, clock_s: float) -> None:
        """Know what the router before knew; `clock_s`: of the monotonic clock."""
        self._removed = dict(remembered.removed)
        for name, address in remembered.processes.items():
            if name in self.writers:
                self.writers[name].address = address
        for name in remembered.away & self.writers.keys():
            writer = self.writers[name]
            writer.health = Health(self.rules.rise, self.rules.fall, up=False)
            writer.health.looks_down = AWAY_LOOKS
            writer.noted = writer.condition
        self.steering.restore(remembered.rampups, clock_s)
        self.steering.set_up(self._names_up())

    def remembered(self, intent: Intent) -> Remembered:
        """What the next router is to know, once that intent is in force."""
        known = {name: writer.address for name, writer in self.writers.items() if is_of_a_process(writer.address)}
        removed = self._removed | {address: name for name, address in known.items() if name not in intent.members}
        return Remembered(
            self.steering.rampups(intent),
            {name: address for name, address in known.items() if name in intent.members},
            {address: name for address, name in removed.items() if is_of_a_process(address)},
            frozenset(name for name in known if name in intent.members and self.writers[name].health.is_away),
        )

    def is_removed(self, address: bytes) -> bool:
        """Whether a routing id is that of the process of a writer that was removed."""
        return address in self._removed

    def take_writer_report(self, report: WriterReport, address: bytes) -> Mark | None:
        """Note a writer's report; gives the mark to answer with, None for one that there is not, or is no more."""
        writer = self.writers.get(report.name)
        if writer is None or self.is_removed(address):
            return None
        was_up, is_new = writer.health.up, writer.report is None and not writer.address
        writer.address, writer.is_connected, writer.report = address, True, report
        writer.health.report(report.healthy)
        self._note_health(report.name, writer)
        if writer.health.up != was_up:
            if not was_up and not is_new:
                self.steering.ramp_up(report.name)
            self._rearrange()
        return writer.lane.take_report(report)

    def look(self, now_s: float) -> None:
        """To be called once a period: notices who does not report."""
        has_changed = False
        for name, writer in self.writers.items():
            was_up = writer.health.up
            writer.health.look()
            has_changed |= writer.health.up != was_up
            self._note_health(name, writer)
        if has_changed:
            self._rearrange()
        if self._waits:
            self._waits -= 1
            self._redistribute()
        self.sum_up_earlier(now_s)

    def _note_health(self, name: str, writer: Writer) -> None:
        condition = writer.condition
        if condition == writer.noted or (not writer.noted and writer.report is None):
            return
        if writer.noted:
            self.steering.note_health(name, writer.noted, condition)
        writer.noted = condition

    def _names_up(self) -> list[str]:
        return [name for name, writer in self.writers.items() if writer.health.up and name not in self._leaving]

    def _rearrange(self) -> None:
        nobody_was_up = not self.weights.any_up
        if self.steering.set_up(self._names_up()):
            if nobody_was_up:
                self._waits = self.rules.patience
            self._redistribute()

    def _redistribute(self) -> None:
        """Let those that are up have what is held, and what the others have not stored.

        While nobody is up, what a writer has stays with it: it may well be the first that can store it. The first who
        is up again then waits a little for the others: what was held is more than its share.
        """
        if not self.weights.any_up or self._waits:
            return
        while self._held:
            self._place(self._held.popleft())
        self._give(
            [kept for writer in self.writers.values() if not writer.health.up for kept in writer.lane.take_away()]
        )

    def _give(self, taken: Iterable[KeptShare]) -> None:
        """Let others have what was a writer's; hold it while nobody is up."""
        for kept in taken:
            if kept.records < self.rules.whole_below and self.weights.any_up and not self._waits:
                self._least_loaded().lane.add(kept.part, kept.records, kept.batch)
            else:
                self._place(_Held(kept.share, kept.batch))

    def _least_loaded(self) -> Writer:
        """Of the writers that may get records, the one that has the fewest on their way for its weight."""
        shares = self.weights.shares()
        name = min(
            (name for name, share in shares.items() if share),
            key=lambda name: self.writers[name].lane.in_flight / shares[name],
        )
        return self.writers[name]

    def take_stored(self, message: Stored, now_s: float) -> list[Listener]:
        """Note stored shares; gives the listeners to tell, which have something acknowledged. Raises WireError."""
        writer = self.writers.get(message.name)
        if writer is None:
            return []
        before = writer.lane.stored
        batches, records, expired = writer.lane.take_stored(message)
        for batch, count in zip(batches, expired, strict=False):
            if count:
                batch.lose({"expired_at_writer": count})
        moved = settle(batches, records)
        if writer.lane.stored > before:
            self.observed.count(message.name, writer.lane.stored - before, now_s)
        return [listener for listener in self.listeners.values() if listener.stream in moved] if moved else []


def _remember(found: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Put it at the end, and forget what is beyond MAX_REMOVED."""
    found.pop(key, None)
    found[key] = value
    while len(found) > MAX_REMOVED:
        del found[next(iter(found))]
