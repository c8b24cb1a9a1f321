"""Environment variables in place of what tapfan.toml says: TAPFAN_TTL=90s, TAPFAN_WRITERS__A__WEIGHT=5."""

from collections.abc import Mapping
from typing import Any

FILE_VARIABLE = "TAPFAN_CONFIG"  # names the file itself, and nothing in it
_PREFIX = "TAPFAN_"
_LISTS = ("listen", "interface")  # in a variable, separated by commas

Place = tuple[str | int, ...]  # of a value: keys of tables, and positions in lists


class OverrideError(Exception):
    """Raised for a variable that overrides nothing."""


def override(content: dict[str, Any], environment: Mapping[str, str]) -> dict[Place, str]:
    """Put TAPFAN_A__B=value in place of content["a"]["b"]; an entry of a list of tables is found by its name.

    Gives the variable of each place that one was put in. Raises OverrideError.
    """
    overridden: dict[Place, str] = {}
    for variable, value in sorted(environment.items()):
        if not variable.startswith(_PREFIX) or variable == FILE_VARIABLE:
            continue
        *tables, key = variable.removeprefix(_PREFIX).lower().split("__")
        inside: Any = content
        place: Place = ()
        for table in tables:
            step: str | int | None = table
            if isinstance(inside, list):
                step = next((i for i, entry in enumerate(inside) if _is_named(entry, table)), None)
                inside = None if step is None else inside[step]
            else:
                inside = inside.setdefault(table, {})
            if step is None or not isinstance(inside, dict | list):
                raise OverrideError(f"the environment variable {variable} names nothing that can be configured")
            place = (*place, step)
        if not isinstance(inside, dict):
            raise OverrideError(f"the environment variable {variable} names a list; name one entry and its key")
        inside[key] = value.split(",") if key in _LISTS else value
        overridden[*place, key] = variable
    return overridden


def origin(place: Place, overridden: Mapping[Place, str]) -> str | None:
    """The variable that the value at a place comes from; None where there is none."""
    variables = (variable for known, variable in overridden.items() if place[: len(known)] == known)
    return next(variables, None)


def _is_named(entry: Any, name: str) -> bool:
    return isinstance(entry, dict) and str(entry.get("name")).lower() == name
