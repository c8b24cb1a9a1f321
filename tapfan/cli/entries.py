"""Entries of the history in words: what changed, who did it, when and why."""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from tapfan import durations
from tapfan.cli.showing import weight_text
from tapfan.cli.timestamps import local_times
from tapfan.control import AUTOMATIC

_MOST = 4  # writers whose change is told by name
_NS_A_S = 1_000_000_000
_TOLD_BY_OVER = ("ramp",)
_CANCELLED = "ramp cancelled"
_DURATIONS = ("ttl", "rampup")
_KINDS_AS_THEIR_CHANGES = ("weights", "state", "ttl", "health")  # kinds that say no more than what changed


def line(entry: Mapping[str, Any]) -> str:
    """The whole of an entry."""
    return f"version {entry['version']}, {when(entry)}, by {who(entry)}: {what(entry)}"


def what(entry: Mapping[str, Any]) -> str:
    """What changed and why: "weights a 30 -> 70, b 70 -> 30 over 1m: the old host is full"."""
    changed = "; ".join(_groups([change for change in entry["changes"] if change["what"] not in _TOLD_BY_OVER]))
    title = _title(entry)
    if entry["kind"] in _KINDS_AS_THEIR_CHANGES and changed:
        title = ""
    elif title == _CANCELLED and changed:
        title += ","
    over = f" over {durations.text(entry['over'])}" if entry["over"] else ""
    reason = f": {entry['reason']}" if entry["reason"] else ""
    return " ".join(filter(None, [title, changed])) + over + reason


def who(entry: Mapping[str, Any]) -> str:
    """Who made the change, and by which key, where there was one of another name."""
    key = entry["key"]
    return entry["by"] or key or "-" if key in (None, entry["by"]) else f"{entry['by']} ({key})".strip()


def when(entry: Mapping[str, Any]) -> str:
    """The local time of day, with the day where that is not today."""
    return local_times([int(entry["at"] * _NS_A_S)])[0]


def _title(entry: Mapping[str, Any]) -> str:
    """What was done, in a word; a ramp that an operator did not begin was ended."""
    is_cancelled = entry["kind"] == "ramp" and entry["over"] is None and entry["by"] != AUTOMATIC
    return _CANCELLED if is_cancelled else str(entry["kind"])


def _groups(changes: list[dict[str, Any]]) -> Iterator[str]:
    for name, group in groupby(changes, key=lambda change: str(change["what"])):
        alike = list(group)
        told = ", ".join(_change(name, change) for change in alike[:_MOST])
        title = "weights" if name == "weight" and len(alike) > 1 else name
        yield f"{title} {told}" + (f" and {len(alike) - _MOST} more" if len(alike) > _MOST else "")


def _change(name: str, change: Mapping[str, Any]) -> str:
    before, after = (_value(name, change[side]) for side in ("before", "after"))
    step = f"{before} -> {after}" if before and after else after or f"was {before}"
    return f"{change['writer']} {step}" if change["writer"] else step


def _value(name: str, value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return durations.text(value) if name in _DURATIONS else weight_text(value)
