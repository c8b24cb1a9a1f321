"""What a router answers: the view that every change gives, and entries of its history."""

from typing import Any


def view(**changes: Any) -> dict[str, Any]:
    """Two writers, as they are after one change."""
    usual = {
        "version": 2,
        "ttl": 300.0,
        "configured_ttl": 300.0,
        "weights": {"a": 50.0, "b": 50.0},
        "configured": {"a": 30.0, "b": 70.0},
        "shares": {"a": 0.5, "b": 0.5},
        "states": {"a": "ready", "b": "ready"},
        "ramp": None,
        "repeated": False,
    }
    return usual | changes


def entry(kind: str, *changes: tuple[str | None, str, Any, Any], **given: Any) -> dict[str, Any]:
    """An entry of the history; a change: writer, what, before, after."""
    names = ("writer", "what", "before", "after")
    usual = {"version": 2, "at": 1_795_693_363.5, "kind": kind, "by": "anna", "key": None, "reason": "", "over": None}
    return usual | {"changes": [dict(zip(names, change, strict=True)) for change in changes]} | given
