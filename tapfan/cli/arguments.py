"""The command's arguments that need reading."""

import re
from collections.abc import Mapping, Sequence

from tapfan.values import weight

WeightChange = float | str  # the new weight, or "+10", "-10", "50%" as the router reads them

_VALID = "NAME=WEIGHT, such as a=30; or a=+10, a=-10 (more or less than now), a=50% (of the configured weight)"
_RELATIVE = re.compile(r"(?P<sign>[+-]?)(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<percent>%?)", re.ASCII)


def weight_vector(changes: Sequence[str]) -> dict[str, WeightChange]:
    """Weights by name from "a=30" and the like. Raises ValueError, saying which is bad and what is valid."""
    vector: dict[str, WeightChange] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not name or not equals:
            raise ValueError(f"{change!r} is not {_VALID}")
        if name in vector:
            raise ValueError(f"{name} is given twice")
        try:
            vector[name] = _weight_change(value)
        except ValueError as error:
            raise ValueError(f"the weight of {name}, {value!r}, {error}") from error
    return vector


def without_effect(vector: Mapping[str, WeightChange], configured: Mapping[str, float]) -> str | None:
    """The first writer whose weight is given as a part of a configured weight of 0; None when there is none."""
    parts = (name for name, value in vector.items() if isinstance(value, str) and value.endswith("%"))
    return next((name for name in parts if not configured.get(name, 1.0) and float(str(vector[name])[:-1])), None)


def _weight_change(text: str) -> WeightChange:
    match = _RELATIVE.fullmatch(text)
    if match is not None and bool(match["sign"]) != bool(match["percent"]):
        weight(match["number"])
        return text
    if text.startswith(("+", "-")) or text.endswith("%"):
        raise ValueError("must be +10 or -10 (more or less than now), or 50% (of the configured weight)")
    return weight(text)
