"""Where a ramp is: changes in at most 100 steps, none shorter than 100 ms, each at an exact fraction. No clock."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from router.intent import Intent, Member, Ramp
from router.vectors import Weight, exact, simplest, with_weights
from tapfan.values import MIN_WEIGHT

_MAX_STEPS = 100
_STEP_S = 0.1


def steps(over_s: float) -> int:
    """In how many steps a change over so many seconds is made."""
    return min(_MAX_STEPS, max(1, int(over_s / _STEP_S + 1e-6)))


def step(begun_s: float, over_s: float, now_s: float) -> int:
    """How many of its steps are made: 0 at its beginning, or before it; all of them from its end on."""
    passed_s, count = now_s - begun_s, steps(over_s)
    return count if passed_s >= over_s else min(count - 1, max(0, int(passed_s / over_s * count)))


def is_over(ramp: Ramp, now_s: float) -> bool:
    """Whether the weights are where it leads to."""
    return now_s - ramp.begun_s >= ramp.over_s


def left_s(ramp: Ramp, now_s: float) -> float:
    """How long it still takes."""
    return min(ramp.over_s, max(0.0, ramp.begun_s + ramp.over_s - now_s))


def positions(intent: Intent, now_s: float) -> Mapping[str, Weight]:
    """The weight of each member now, before its state and health count: as set, or where the ramp has it."""
    ramp = intent.ramp
    weights: dict[str, Weight] = {name: member.weight for name, member in intent.members.items()}
    if ramp is None or is_over(ramp, now_s):
        return weights
    part = Fraction(step(ramp.begun_s, ramp.over_s, now_s), steps(ramp.over_s))
    for name, origin in ramp.origin.items():
        target = weights[name]
        if target != origin:
            begun = exact(origin)
            weights[name] = simplest(begun + (exact(target) - begun) * part) if part else origin
    return weights


def stopped(intent: Intent, now_s: float) -> Intent:
    """The same with no ramp: the weights are what they are now, and who has more than 0 has what may be set."""
    if intent.ramp is None:
        return intent
    here = {
        name: max(float(position), MIN_WEIGHT) if position else 0.0
        for name, position in positions(intent, now_s).items()
    }
    return replace(with_weights(intent, here), ramp=None)


def kept(ramp: Ramp | None, members: Mapping[str, Member]) -> Ramp | None:
    """The ramp for these members: it leaves out those that are gone, and leads those that came later nowhere."""
    if ramp is None:
        return None
    return replace(ramp, origin={name: ramp.origin.get(name, member.weight) for name, member in members.items()})
