"""What `tapfan undo` took back: whose changes, read off the history as the router reads it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tapfan.control import AUTOMATIC

_KEPT = ("add", "remove", "join")  # who came stays, and who went stays away
_NOTES = ("health", "ramp")  # that change no version, where they are automatic


def taken_back(
    entries: Sequence[Mapping[str, Any]], asked: Mapping[str, Any], since: int = 0
) -> list[Mapping[str, Any]]:
    """The entries that an undo took back, the newest first; none where it changed nothing.

    `entries`: the history, the newest first; `asked`: the arguments of the undo, which made a version after `since`.
    """
    ours = ("undo", asked["by"], asked.get("reason", ""))
    place = next((i for i, each in enumerate(entries) if each["version"] > since and _told(each) == ours), None)
    if place is None:
        return []
    before = entries[place + 1 :]
    to = asked.get("version")
    if to is None:
        return [entry for entry in before if entry["by"] != AUTOMATIC][:1]
    return [entry for entry in before if entry["version"] > to and entry["kind"] not in _KEPT and not _is_note(entry)]


def _told(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry["kind"], entry["by"], entry["reason"]


def _is_note(entry: Mapping[str, Any]) -> bool:
    return entry["by"] == AUTOMATIC and entry["kind"] in _NOTES
