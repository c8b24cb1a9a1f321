"""What operators want of the writers: weights, states, time to live. One immutable value, with a version of its own.

What comes of it depends on more, the health of writers and the time, and is in `router.weights`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from tapfan.settings import Settings

State = Literal["ready", "drain", "maint"]
Came = Literal["configured", "added", "joined"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Member:
    """A writer: where it stores, and what it is to get."""

    redis: str  # its URL without secrets
    configured: float  # its weight in tapfan.toml, or with which it was added or joined
    weight: float  # as set; where a ramp leads to
    state: State = "ready"
    rampup_s: float = 0.0  # how long it takes up to its whole weight when it is back
    # From this router's configuration; or by the command `add` or its own report, and then it was never in that.
    came: Came = "configured"

    def with_weight(self, weight: float) -> "Member":
        """The same with another weight set."""
        return Member(self.redis, self.configured, weight, self.state, self.rampup_s, self.came)


@dataclass(frozen=True)
class Ramp:
    """A change of weights in steps, from `origin` to the members' weights."""

    origin: Mapping[str, float]  # the weight of each member when it began
    begun_s: float  # since the epoch: it goes on in a router that starts later
    over_s: float


@dataclass(frozen=True)
class Intent:
    """All of it. `version` grows by one with each change that an operator makes, and never with an automatic one."""

    version: int
    ttl_ms: int
    members: Mapping[str, Member]  # in the order of the configuration, then as they came
    ramp: Ramp | None = None


def configured(settings: Settings) -> Intent:
    """What the configuration says."""
    members = {
        writer.name: Member(writer.redacted, writer.weight, writer.weight, rampup_s=writer.rampup)
        for writer in settings.writers
    }
    return Intent(1, round(settings.ttl * 1000), members)
