"""What is in force of what operators want: intent and history, ramps as far as they are, and the weights of it all."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from router import ramp
from router.history import MAX_ENTRIES, Change, Entry, History, Kind
from router.intent import Intent, Ramp
from router.vectors import Weight, exact, simplest
from router.weights import Weights
from tapfan.control import AUTOMATIC


@dataclass(frozen=True)
class _Rampup:
    """A writer that is back, on its way to its whole weight."""

    begun_s: float  # by the monotonic clock
    over_s: float
    since_s: float  # when it began, since the epoch: for a router that starts later

    def step(self, clock_s: float) -> int:
        """From 1, at the beginning, to all of them."""
        return min(ramp.steps(self.over_s), ramp.step(self.begun_s, self.over_s, clock_s) + 1)

    def factor(self, clock_s: float) -> Fraction:
        """What its weight is multiplied with."""
        return Fraction(self.step(clock_s), ramp.steps(self.over_s))

    def left_s(self, clock_s: float) -> float:
        """How long it still takes; 0 or less when it is over."""
        return self.begun_s + self.over_s - clock_s


class Steering:
    """Holds the intent and what came of it.

    Ramps go by the time since the epoch, `now_s`, as they outlast a router; rampups by a monotonic clock, `clock_s`,
    so that setting the host's time neither ends them nor holds them up; over a restart they go by the time, too.
    """

    def __init__(self, intent: Intent, history: History, now_s: float) -> None:
        self.intent = intent
        self.history = history
        self.now_s = now_s
        self._clock_s = 0.0  # as the last `tick` said
        self.weights = Weights()
        self._up = frozenset(intent.members)
        self._rampups: dict[str, _Rampup] = {}
        self._ended: tuple[float, float] | None = None  # the last ramp that came to its end, as `_identity` gives it
        self._steps: tuple[int, ...] = ()
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._reckon()

    def restore(self, rampups: Mapping[str, float], clock_s: float) -> None:
        """Go on with the rampups of the router before, by when they began, since the epoch."""
        self._clock_s = clock_s
        for name, since_s in rampups.items():
            passed_s = max(0.0, self.now_s - since_s)
            if self._is_ready(name) and passed_s < (over_s := self.intent.members[name].rampup_s):
                self._rampups[name] = _Rampup(clock_s - passed_s, over_s, self.now_s - passed_s)
        self._reckon()

    def rampups(self, intent: Intent) -> dict[str, float]:
        """When the rampups began, since the epoch, as they are once that intent is in force."""
        began = {name: rampup.since_s for name, rampup in self._rampups.items() if _is_ready(intent, name)}
        for name, member in self.intent.members.items():
            if member.state != "ready" and name in self._up and _is_ready(intent, name) and member.rampup_s:
                began[name] = self.now_s
        return began

    def adopt(self, intent: Intent, entries: Iterable[Entry], now_s: float) -> None:
        """Let another intent be in force, which these entries led to."""
        self.now_s = now_s
        before = self.intent
        self._end_ramp(now_s)
        if intent.ramp is not None and _identity(intent.ramp) == self._ended:
            intent = replace(intent, ramp=None)  # it was made while the ramp still went on
        self.intent = intent
        for entry in entries:
            self._add(entry)
        self._rampups = {name: rampup for name, rampup in self._rampups.items() if self._is_ready(name)}
        for name, member in before.members.items():
            if member.state != "ready" and self._is_ready(name) and name in self._up:
                self.ramp_up(name)
        self._reckon()

    def tick(self, now_s: float, clock_s: float) -> bool:
        """Go on with what goes by the time; True when that changed the weights."""
        self.now_s, self._clock_s = now_s, clock_s
        if self.intent.ramp is None and not self._rampups:
            return False
        self._end_ramp(now_s)
        for name, rampup in list(self._rampups.items()):
            if rampup.left_s(clock_s) <= 0:
                del self._rampups[name]
        return self._steps != self._current_steps() and self._reckon()

    def set_up(self, names: Collection[str]) -> bool:
        """Give records to these writers only; True when they are others than before."""
        if self._up == set(names):
            return False
        self._up = frozenset(names)
        self._rampups = {name: rampup for name, rampup in self._rampups.items() if name in self._up}
        self._reckon()
        return True

    def ramp_up(self, name: str) -> None:
        """A writer is back: let its weight begin small, if it is to; in force with the next `adopt` or `set_up`."""
        rampup_s = self.intent.members[name].rampup_s
        if rampup_s and self._is_ready(name):
            self._rampups[name] = _Rampup(self._clock_s, rampup_s, self.now_s)

    def rampup_left_s(self, name: str) -> float | None:
        """How long a writer still takes to its whole weight; None when it has that."""
        rampup = self._rampups.get(name)
        return max(0.0, rampup.left_s(self._clock_s)) if rampup else None

    def note_health(self, name: str, before: str, now: str) -> None:
        """Put into the history that a writer's health is another."""
        self._note("health", (Change(name, "health", before, now),))

    def take_entries(self) -> list[Entry]:
        """The entries that came since this was last asked, of changes and automatic ones."""
        entries = list(self._entries)
        self._entries.clear()
        return entries

    def view(self) -> dict[str, Any]:
        """What is in force, as clients are told."""
        members = self.intent.members
        shares = self.weights.shares()
        return {
            "version": self.intent.version,
            "ttl": self.intent.ttl_ms / 1000,
            "weights": {name: member.weight for name, member in members.items()},
            "configured": {name: member.configured for name, member in members.items()},
            "shares": {name: shares.get(name, 0.0) for name in members},
            "states": {name: member.state for name, member in members.items()},
            "ramp": self.ramp_view(),
        }

    def ramp_view(self) -> dict[str, Any] | None:
        """The ramp that goes on."""
        going = self.intent.ramp
        if going is None:
            return None
        return {
            "from": dict(going.origin),
            "to": {name: member.weight for name, member in self.intent.members.items()},
            "over": going.over_s,
            "left": ramp.left_s(going, self.now_s),
        }

    def _is_ready(self, name: str) -> bool:
        return _is_ready(self.intent, name)

    def _end_ramp(self, now_s: float) -> None:
        going = self.intent.ramp
        if going is None or not ramp.is_over(going, now_s):
            return
        weights = {name: member.weight for name, member in self.intent.members.items()}
        changes = tuple(
            Change(name, "weight", origin, weights[name])
            for name, origin in going.origin.items()
            if origin != weights[name]
        )
        self._ended = _identity(going)
        self.intent = replace(self.intent, ramp=None)
        self._note("ramp", changes, "at its end")

    def _note(self, kind: Kind, changes: tuple[Change, ...], reason: str = "") -> None:
        self._add(Entry(self.intent.version, self.now_s, kind, AUTOMATIC, None, reason, None, changes))

    def _add(self, entry: Entry) -> None:
        self.history = self.history.add(entry)
        self._entries.append(entry)

    def _reckon(self) -> bool:
        """Find the effective weights; True when they are others than before."""
        self._steps = self._current_steps()
        effective: dict[str, Weight] = {}
        for name, position in ramp.positions(self.intent, self.now_s).items():
            if position and name in self._up and self._is_ready(name):
                rampup = self._rampups.get(name)
                effective[name] = simplest(exact(position) * rampup.factor(self._clock_s)) if rampup else position
        return self.weights.set(effective)

    def _current_steps(self) -> tuple[int, ...]:
        going = self.intent.ramp
        step = -1 if going is None else ramp.step(going.begun_s, going.over_s, self.now_s)
        return (step, *(rampup.step(self._clock_s) for rampup in self._rampups.values()))


def _is_ready(intent: Intent, name: str) -> bool:
    member = intent.members.get(name)
    return member is not None and member.state == "ready"


def _identity(going: Ramp) -> tuple[float, float]:
    return going.begun_s, going.over_s
