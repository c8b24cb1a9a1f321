"""What operators want and ask for, without a house."""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest

from router.changes import Request, apply
from router.history import Entry, History
from router.intent import Intent, Member
from tapfan.control import ControlError

TTL_MS = 300_000
LONGEST_MESSAGE = 300


def an_intent(**weights: float) -> Intent:
    """What is wanted at first of writers with these weights; a: 30, b: 70 when none is given."""
    weights = weights or {"a": 30, "b": 70}
    members = {name: Member(f"redis://{name}:6379/0", float(weight), float(weight)) for name, weight in weights.items()}
    return Intent(1, TTL_MS, members)


def a_request(command: str, now_s: float = 0.0, request_id: str | int | None = None, **arguments: Any) -> Request:
    """A request of somebody's; its digest is as good as one."""
    return Request(command, arguments, request_id, repr((command, arguments)), "somebody", None, now_s)


@dataclass
class Wanted:
    """An intent and its history, as requests change them."""

    intent: Intent = field(default_factory=an_intent)
    history: History = field(default_factory=History)
    in_flight: dict[str, int] = field(default_factory=dict)

    def ask(self, command: str, now_s: float = 0.0, request_id: str | int | None = None, **arguments: Any) -> Entry:
        """Make a change, which is one. Raises ControlError."""
        entry = self.take(a_request(command, now_s, request_id, **arguments))
        assert entry is not None
        return entry

    def take(self, request: Request) -> Entry | None:
        """Make a change. Raises ControlError."""
        intent, entry = apply(self.intent, self.history, request, lambda name: self.in_flight.get(name, 0))
        if entry is None:
            assert intent is self.intent
        else:
            self.intent, self.history = intent, self.history.add(entry)
        return entry

    @property
    def weights(self) -> dict[str, float]:
        """The weights that are set."""
        return {name: member.weight for name, member in self.intent.members.items()}

    @property
    def states(self) -> dict[str, str]:
        """The states."""
        return {name: member.state for name, member in self.intent.members.items()}


def refused(wanted: Wanted, command: str, **arguments: Any) -> ControlError:
    """Why a request is refused, which has changed nothing."""
    before = wanted.intent, copy.deepcopy(wanted.intent), wanted.history, list(wanted.history)
    with pytest.raises(ControlError) as refusal:
        wanted.take(a_request(command, **arguments))
    assert wanted.intent is before[0]
    assert (wanted.intent, wanted.history, list(wanted.history)) == before[1:]
    assert 0 < len(refusal.value.message) < LONGEST_MESSAGE
    return refusal.value
