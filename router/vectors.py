"""Vectors of weights as requests give them: numbers, "+10", "-10" (to the set weight), "50%" (of the configured one).

Decimals are meant as they are written: 0.1 and "+0.2" make 0.3.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

from router.intent import Intent, Member
from router.terms import listed
from tapfan.control import ControlError
from tapfan.values import MAX_WEIGHT, MIN_WEIGHT, shown, weight

_RELATIVE = re.compile(r"(?P<sign>[+-]?)(?P<number>[0-9]{1,20}(\.[0-9]{1,20})?)(?P<percent>%?)", re.ASCII)

Weight = float | Fraction  # a float means the decimal that it is written as; a Fraction is none of those decimals


def exact(weight: Weight) -> Fraction:
    """A weight as an exact number."""
    return weight if isinstance(weight, Fraction) else _as_written(weight)


@lru_cache(maxsize=4096)
def _as_written(weight: float) -> Fraction:
    return Fraction(Decimal(repr(weight)))


def simplest(weight: Fraction) -> Weight:
    """The same as a float, if there is one that means it; so two that are the same number are equal."""
    number = float(weight)
    return number if _as_written(number) == weight else weight


def member_of(intent: Intent, name: object) -> Member:
    """The writer with that name. Raises ControlError, naming those that there are."""
    found = intent.members.get(name) if isinstance(name, str) else None
    if found is None:
        raise ControlError("unknown_writer", f"no writer is named {shown(name)}; there are: {listed(intent.members)}")
    return found


def weight_of(name: str, value: Any, known: Member | None = None) -> float:
    """The weight that a writer is to have; with `known`, also relative to what it has. Raises ControlError."""
    try:
        if isinstance(value, str) and (value[:1] in ("+", "-") or value[-1:] == "%"):
            return _relative(value, known)
        return weight(value)
    except (ValueError, OverflowError) as error:
        raise ControlError("bad_weight", f"the weight of {name:.40}, {shown(value)}, {error}") from error


def with_weights(intent: Intent, weights: Mapping[str, float]) -> Intent:
    """With these weights, the others as they are; the same where nothing changes."""
    changed = {
        name: intent.members[name].with_weight(value)
        for name, value in weights.items()
        if intent.members[name].weight != value
    }
    return replace(intent, members={**intent.members, **changed}) if changed else intent


def _relative(value: str, known: Member | None) -> float:
    if known is None:
        raise ValueError(f"must be a number from 0 to {MAX_WEIGHT}; there is nothing yet that it could be relative to")
    match = _RELATIVE.fullmatch(value)
    if match is None or bool(match["sign"]) == bool(match["percent"]):
        raise ValueError('must be such as "+10", "-10" or "50%"')
    number = Fraction(match["sign"] + match["number"])
    result = exact(known.configured) * number / 100 if match["percent"] else exact(known.weight) + number
    if not 0 <= result <= MAX_WEIGHT:
        raise ValueError(f"would make {float(result):g}; must be from 0 to {MAX_WEIGHT}")
    if result and float(result) < MIN_WEIGHT:
        raise ValueError(f"would make {float(result):g}; must be 0, or at least {MIN_WEIGHT:g}")
    return float(result)
