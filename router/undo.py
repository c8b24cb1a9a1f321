"""Undo: weights, states and time to live as they were, read off the history backwards."""

from collections.abc import Iterable
from dataclasses import replace

from router.history import Entry, History
from router.intent import STATES, Intent, Member
from router.vectors import with_weights
from tapfan.control import AUTOMATIC, ControlError
from tapfan.values import shown

_MEMBERSHIP = {"add": "remove", "remove": "add"}  # what takes it back


def undone(intent: Intent, history: History, version: int | None) -> Intent:
    """With what was in force at that version; without one, before the last change of an operator's.

    Writers that came since keep what they have; those that are gone stay so. Raises ControlError.
    """
    if version is None:
        return _without_last(intent, history)
    oldest = _oldest(intent, history)
    if not oldest <= version <= intent.version:
        raise ControlError(
            "unknown_version",
            f"the history has no version {shown(version)}; it goes from {oldest} to {intent.version}",
        )
    return _without(intent, [entry for entry in reversed(history) if entry.version > version and not entry.is_note])


def _without_last(intent: Intent, history: History) -> Intent:
    entry = next((entry for entry in reversed(history) if entry.by != AUTOMATIC or entry.kind == "configuration"), None)
    if entry is None or (entry.kind == "configuration" and not entry.changes):
        raise ControlError("unknown_version", "the history has no change that could be taken back")
    if entry.kind == "configuration":
        raise ControlError(
            "bad_request",
            f"the last change, version {entry.version}, is of the configuration, which was edited: set what is to be, "
            "or name the version to go back to",
        )
    if entry.kind in _MEMBERSHIP:
        raise ControlError(
            "bad_request",
            f"the last change, version {entry.version}, was {entry.kind}: take it back with {_MEMBERSHIP[entry.kind]}, "
            "or name the version to go back to",
        )
    wanted = _without(intent, [entry])
    if wanted == intent:
        raise ControlError(
            "unknown_version",
            f"of the last change, version {entry.version}, nothing is left to take back; name a version to go back to",
        )
    return wanted


def _oldest(intent: Intent, history: History) -> int:
    """The first version that can be gone back to: all changes since are in the history."""
    first = next(iter(history), None)
    if first is None:
        return intent.version
    return first.version if first.is_note else first.version - 1


def _without(intent: Intent, entries: Iterable[Entry]) -> Intent:
    """Without the changes of these entries, the newest first.

    A ramp that began with one of them, or whose weights are changed, ends.
    """
    before: dict[tuple[str | None, str], float | str | None] = {}
    came: dict[str | None, float | str | None] = {}  # with which Redis: what another one of that name had is not theirs
    for entry in entries:
        moves = [change for change in entry.changes if change.what == "redis"]
        for change in moves:
            if change.after is None and came.get(change.writer) == change.before:
                del came[change.writer]
                before[change.writer, "state"] = "ready"  # which is not among the changes
        before |= {(change.writer, change.what): change.before for change in entry.changes if change.writer not in came}
        for change in moves:
            if change.before is None and change.writer not in came:
                came[change.writer] = change.after
                before[change.writer, "state"] = None
    weights: dict[str, float] = {}
    members: dict[str, Member] = {}
    for name, member in intent.members.items():
        weight, state = before.get((name, "weight")), before.get((name, "state"))
        if isinstance(weight, float):
            weights[name] = weight
        members[name] = replace(member, state=state) if state in STATES else member
    ttl_s = before.get((None, "ttl"))
    ttl_ms = round(ttl_s * 1000) if isinstance(ttl_s, float) else intent.ttl_ms
    wanted = replace(intent, members=members, ttl_ms=ttl_ms)
    back = with_weights(wanted, weights)
    return wanted if back is wanted and (None, "ramp") not in before else replace(back, ramp=None)
