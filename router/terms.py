"""The arguments of requests: which a command takes, those that go with every change, and what is wrong with others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tapfan import values
from tapfan.control import AUTOMATIC, MAX_BY, MAX_REASON, ControlError
from tapfan.values import shown

_MAX_LISTED = 10
_FORCED = ("weights", "state", "undo", "remove")  # commands that can be refused for what would be left
_TAKES = {
    "weights": '{"weights": {writer: weight, …}, "over": a duration} or {"cancel": true}, or nothing',
    "state": '{"states": {writer: "ready", "drain" or "maint", …}}, or nothing',
    "ttl": '{"ttl": a duration}, or nothing',
    "undo": '{"version": a whole number}, or nothing',
    "add": '{"name", "redis", "weight"} and perhaps "rampup"',
    "remove": '{"name": a writer}',
}


@dataclass(frozen=True)
class Terms:
    """What may be said with any change."""

    by: str
    reason: str
    if_version: int | None
    force: bool


def terms_of(command: str, arguments: Mapping[str, Any], by: str) -> tuple[Terms, dict[str, Any]]:
    """The terms among a change's arguments, and the other ones. Raises ControlError."""
    rest = dict(arguments)
    if_version = rest.pop("if_version", None)
    if if_version is not None and (isinstance(if_version, bool) or not isinstance(if_version, int)):
        raise ControlError("bad_request", f"if_version must be a whole number, not {shown(if_version)}")
    force = rest.pop("force", False) if command in _FORCED else False
    if not isinstance(force, bool):
        raise ControlError("bad_request", f"force must be true or false, not {shown(force)}")
    given_by = _text("by", rest.pop("by", by), MAX_BY).strip() or by
    if given_by == AUTOMATIC:
        raise ControlError("bad_request", f"by: {AUTOMATIC!r} is whom automatic changes are by")
    return Terms(given_by, _text("reason", rest.pop("reason", ""), MAX_REASON), if_version, force), rest


def check(command: str, arguments: Mapping[str, Any], known: Iterable[str], needed: Iterable[str] = ()) -> None:
    """Raise ControlError for arguments that the command does not take, or when one that it needs is missing."""
    unknown = arguments.keys() - set(known)
    missing = [name for name in needed if name not in arguments]
    if unknown or missing:
        problem = f"not {listed(sorted(map(shown, unknown)))}" if unknown else f"without {listed(missing)}"
        raise ControlError("bad_request", f"{command} takes {_TAKES[command]}; {problem}")


def check_vector(command: str, given: Any) -> None:
    """Raise ControlError for what is no map with names as its keys."""
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise ControlError("bad_request", f"{command} takes {_TAKES[command]}; not {shown(given)}")


def duration(name: str, value: Any, low_s: float, high_s: float) -> float:
    """A duration in seconds within these bounds. Raises ControlError."""
    try:
        seconds = values.seconds(value)
        if not low_s <= seconds <= high_s:
            raise ValueError(f"must be from {low_s:g} s to {high_s:g} s")
    except ValueError as error:
        raise ControlError("bad_duration", f"{name} {shown(value)} {error}") from error
    return seconds


def listed(names: Iterable[str]) -> str:
    """The names, or the first of them."""
    some = list(names)
    more = len(some) - _MAX_LISTED
    return ", ".join(some[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _text(name: str, value: Any, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise ControlError(
            "bad_request", f"{name} must be text of at most {longest} printable characters, not {shown(value)}"
        )
    return value
