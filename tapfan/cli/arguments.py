"""The command's arguments that need reading."""

from collections.abc import Sequence

from tapfan.values import weight

_VALID = "NAME=WEIGHT, such as a=30"


def weight_vector(changes: Sequence[str]) -> dict[str, float]:
    """Weights by name from "a=30" and the like. Raises ValueError, saying which is bad and what is valid."""
    vector: dict[str, float] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not name or not equals:
            raise ValueError(f"{change!r} is not {_VALID}")
        if name in vector:
            raise ValueError(f"{name} is given twice")
        try:
            vector[name] = weight(value)
        except ValueError as error:
            raise ValueError(f"the weight of {name}, {value!r}, {error}") from error
    return vector
