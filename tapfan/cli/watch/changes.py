"""Changes that were asked for: one at a time, each of the version that was seen."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MAX_WAITING = 20


@dataclass(frozen=True)
class Change:
    """A request to the router that changes something; `title`: it in words. `step`: of what + and - ask for."""

    command: str
    arguments: Mapping[str, Any]
    title: str
    step: tuple[str, int, Mapping[str, Any]] | None = None

    @staticmethod
    def of_step(name: str, by: int, options: Mapping[str, Any]) -> "Change":
        """One writer's weight, so much more or less."""
        return Change("weights", {"weights": {name: f"{by:+d}"}, **options}, f"{name} {by:+d}", (name, by, options))

    def followed_by(self, other: "Change") -> "Change | None":
        """Both as one, where that is the same."""
        if self.step is None or other.step is None or (self.step[0], self.step[2]) != (other.step[0], other.step[2]):
            return None
        return Change.of_step(self.step[0], self.step[1] + other.step[1], self.step[2])

    @property
    def is_nothing(self) -> bool:
        """Whether + and - have cancelled each other."""
        return self.step is not None and self.step[1] == 0


@dataclass
class Changes:
    """Those that wait, and the one that was sent.

    Each is sent with the version that was on the screen when it was asked for; one that waited for another one, with
    the version that this one made, so that nobody else's change is ever overwritten unseen.
    """

    sent: Change | None = None
    _waiting: deque[tuple[Change, int]] = field(default_factory=deque)  # with the version

    def ask(self, change: Change, version: int) -> bool:
        """Have it sent as soon as may be; False when too many wait already."""
        if self._waiting and (both := self._waiting[-1][0].followed_by(change)):
            version = self._waiting.pop()[1]
            change = both
        if len(self._waiting) >= _MAX_WAITING:
            return False
        if not change.is_nothing:
            self._waiting.append((change, version))
        return True

    def next(self) -> tuple[str, dict[str, Any]] | None:
        """The command and the arguments to send now, if any."""
        if self.sent is not None or not self._waiting:
            return None
        self.sent, version = self._waiting.popleft()
        return self.sent.command, {**self.sent.arguments, "if_version": version}

    def made(self, version: int) -> Change:
        """The one that was sent is made; gives it."""
        self._waiting = deque((change, max(seen, version)) for change, seen in self._waiting)
        return self._settled()

    def failed(self) -> Change:
        """The one that was sent is not made, and those that wait were asked for in the belief that it is."""
        self._waiting.clear()
        return self._settled()

    def _settled(self) -> Change:
        assert self.sent is not None
        change, self.sent = self.sent, None
        return change
