"""What operators ask for, applied to what they want: a whole request or nothing, and never in place. No clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from router import membership, ramp, undo
from router.history import Change, Entry, History, Kind
from router.intent import STATES, Intent, Ramp
from router.receivers import check_somebody
from router.terms import Terms, check, check_vector, duration, listed, terms_of
from router.vectors import member_of, weight_of, with_weights
from tapfan import values
from tapfan.control import AUTOMATIC, MAX_OVER_S, MIN_OVER_S, ControlError
from tapfan.messages import WriterReport
from tapfan.values import shown

_MIN_REMEMBERED_BYTES = 8  # a shorter id may be the same by accident
_TOLD = {"redis": "redis", "configured": "configured", "weight": "weight", "state": "state", "rampup": "rampup_s"}

InFlight = Callable[[str], int | None]


@dataclass(frozen=True)
class Request:
    """A request for a change: `by`, `reason`, `if_version` and `force` are still among its arguments."""

    command: str
    arguments: Mapping[str, Any]  # without id and command
    id: str | int | None
    digest: str  # of all but the id, in hex
    by: str  # whose it is where the arguments do not say
    key: str | None  # the name of the client's key
    now_s: float  # since the epoch


def _none(_: str) -> int:
    return 0


@dataclass(frozen=True)
class _Asked:
    """A request with its terms read, and all that it goes by."""

    intent: Intent
    history: History
    arguments: dict[str, Any]
    terms: Terms
    now_s: float
    in_flight: InFlight

    def checked(self, wanted: Intent) -> Intent:
        """What comes of it, which leaves somebody who gets records, unless that is forced. Raises ControlError."""
        check_somebody(self.intent, wanted, self.now_s, self.terms.force)
        return wanted


def is_change(command: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a request may change something, and so is for those who may."""
    if command in ("status", "history"):
        return False
    vector = {"weights": "weights", "state": "states"}.get(command)
    if vector is not None:
        return bool(arguments.keys() - {vector}) or arguments.get(vector, {}) != {}
    return command != "ttl" or bool(arguments)


def is_repeated(history: History, request: Request) -> bool:
    """Whether the request was applied before. Raises ControlError for another one under its id."""
    request_id = _remembered(request)
    applied = history.find(request_id) if request_id is not None else None
    if applied is None:
        return False
    if not applied.is_same(request.digest):
        raise ControlError(
            "id_reused", f"the id {shown(request_id)} is that of another request, version {applied.version}"
        )
    return True


def apply(
    intent: Intent, history: History, request: Request, in_flight: InFlight = _none
) -> tuple[Intent, Entry | None]:
    """What the request makes of it, and the entry for the history: None when it changes nothing, or did so before.

    `in_flight`: how many records a writer has; None: it gets more. Raises ControlError.
    """
    if is_repeated(history, request):
        return intent, None
    make = _COMMANDS.get(request.command)
    if make is None:
        raise ControlError("unknown_command", f"no change is {shown(request.command)}; there are: {listed(_COMMANDS)}")
    terms, arguments = terms_of(request.command, request.arguments, request.by)
    if terms.if_version is not None and terms.if_version != intent.version:
        raise _conflict(intent, history, terms.if_version)
    wanted, kind = make(_Asked(intent, history, arguments, terms, request.now_s, in_flight))
    if wanted == intent:
        return intent, None
    begun = wanted.ramp if kind == "ramp" else None
    # What a ramp is broken off at was in force, not what it was to lead to: that is what an undo goes back to.
    is_broken_off = intent.ramp is not None and (begun is not None or wanted.ramp is None)
    here = ramp.stopped(intent, request.now_s) if is_broken_off else intent
    request_id = _remembered(request)
    entry = Entry(
        intent.version + 1,
        request.now_s,
        kind,
        terms.by,
        request.key,
        terms.reason,
        begun.over_s if begun else None,
        differences(here, wanted) + ((Change(None, "ramp", None, begun.over_s),) if begun else ()),
        request_id,
        request.digest if request_id is not None else None,
    )
    return replace(wanted, version=entry.version), entry


def join(intent: Intent, report: WriterReport, now_s: float) -> tuple[Intent, Entry | None]:
    """A writer that reports by itself becomes a member. Raises ControlError."""
    if report.name in intent.members:
        return intent, None
    wanted = membership.joined(intent, report)
    version = intent.version + 1
    entry = Entry(version, now_s, "join", AUTOMATIC, None, "", None, differences(intent, wanted))
    return replace(wanted, version=version), entry


def edited(intent: Intent, report: WriterReport, now_s: float) -> tuple[Intent, Entry | None]:
    """A writer that joined says other things of itself than before. Raises ControlError."""
    member = intent.members.get(report.name)
    wanted = membership.edited(intent, report) if member is not None and member.came == "joined" else intent
    if wanted is intent:
        return intent, None
    check_somebody(intent, wanted, now_s, force=True)
    version = intent.version + 1
    reason = f"the configuration of {report.name} was edited"
    changes = differences(intent, wanted)
    return replace(wanted, version=version), Entry(
        version, now_s, "configuration", AUTOMATIC, None, reason, None, changes
    )


def differences(before: Intent, after: Intent) -> tuple[Change, ...]:
    """Every value that is another; not whether a ramp goes on."""
    changes: list[Change] = []
    for name, member in after.members.items():
        had = before.members.get(name)
        if had is member:
            continue
        if had is None:
            changes += [Change(name, "redis", None, member.redis), Change(name, "weight", None, member.weight)]
            continue
        changes += [
            Change(name, what, getattr(had, attribute), getattr(member, attribute))
            for what, attribute in _TOLD.items()
            if getattr(had, attribute) != getattr(member, attribute)
        ]
    for name, member in before.members.items():
        if name not in after.members:
            changes += [Change(name, "redis", member.redis, None), Change(name, "weight", member.weight, None)]
            changes += [Change(name, "state", member.state, None)] if member.state != "ready" else []
    if before.ttl_ms != after.ttl_ms:
        changes.append(Change(None, "ttl", before.ttl_ms / 1000, after.ttl_ms / 1000))
    return tuple(changes)


def _remembered(request: Request) -> str | None:
    """The id, if another request with it can only be the same one."""
    given = request.id
    is_long = isinstance(given, str) and len(given.encode(errors="replace")) >= _MIN_REMEMBERED_BYTES
    return given if isinstance(given, str) and is_long else None


def _conflict(intent: Intent, history: History, expected: int) -> ControlError:
    last = next((entry for entry in reversed(history) if not entry.is_note), None)
    by = f", by {last.by or 'somebody'}" if last else ""
    return ControlError("version_conflict", f"version {intent.version} is in force{by}; not {shown(expected)}")


def _weights(asked: _Asked) -> tuple[Intent, Kind]:
    check("weights", asked.arguments, ("weights", "over", "cancel"))
    given, cancel = asked.arguments.get("weights", {}), asked.arguments.get("cancel", False)
    has_over = "over" in asked.arguments
    check_vector("weights", given)
    if not isinstance(cancel, bool):
        raise ControlError("bad_request", f"cancel must be true or false, not {shown(cancel)}")
    if cancel and (given or has_over):
        raise ControlError("bad_request", "cancel ends a ramp where it is, and goes with neither weights nor over")
    if has_over and not given:
        raise ControlError("bad_request", "over goes with weights")
    if cancel:
        return _ramp_cancelled(asked), "ramp"
    if not given:
        return asked.intent, "weights"
    here = ramp.stopped(asked.intent, asked.now_s)
    weights = {name: weight_of(name, value, member_of(here, name)) for name, value in given.items()}
    wanted = with_weights(here, weights)
    if has_over:
        over_s = duration("over", asked.arguments["over"], MIN_OVER_S, MAX_OVER_S)
        if wanted is not here:
            return _ramp_begun(asked, here, wanted, over_s), "ramp"
    return asked.checked(wanted), "weights"


def _ramp_cancelled(asked: _Asked) -> Intent:
    going = asked.intent.ramp
    if going is None or ramp.is_over(going, asked.now_s):
        return asked.intent
    return asked.checked(ramp.stopped(asked.intent, asked.now_s))


def _ramp_begun(asked: _Asked, here: Intent, wanted: Intent, over_s: float) -> Intent:
    origin = {name: member.weight for name, member in here.members.items()}
    return asked.checked(replace(wanted, ramp=Ramp(origin, asked.now_s, over_s)))


def _state(asked: _Asked) -> tuple[Intent, Kind]:
    check("state", asked.arguments, ("states",))
    given = asked.arguments.get("states", {})
    check_vector("state", given)
    changed = {}
    for name, state in given.items():
        member = member_of(asked.intent, name)
        if not isinstance(state, str) or state not in STATES:
            raise ControlError(
                "bad_state", f"the state of {name:.40}, {shown(state)}, must be one of: {', '.join(STATES)}"
            )
        if member.state != state:
            changed[name] = replace(member, state=state)
    if not changed:
        return asked.intent, "state"
    return asked.checked(replace(asked.intent, members={**asked.intent.members, **changed})), "state"


def _ttl(asked: _Asked) -> tuple[Intent, Kind]:
    check("ttl", asked.arguments, ("ttl",))
    if "ttl" not in asked.arguments:
        return asked.intent, "ttl"
    given = asked.arguments["ttl"]
    try:
        return replace(asked.intent, ttl_ms=round(values.ttl(given) * 1000)), "ttl"
    except ValueError as error:
        raise ControlError("bad_ttl", f"ttl {shown(given)} {error}") from error


def _undo(asked: _Asked) -> tuple[Intent, Kind]:
    check("undo", asked.arguments, ("version",))
    version = asked.arguments.get("version")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise ControlError("bad_request", f"version must be a whole number, not {shown(version)}")
    wanted = undo.undone(asked.intent, asked.history, version)
    gives_as_before = (wanted.members, wanted.ramp) == (asked.intent.members, asked.intent.ramp)
    return wanted if gives_as_before else asked.checked(wanted), "undo"


def _add(asked: _Asked) -> tuple[Intent, Kind]:
    check("add", asked.arguments, ("name", "redis", "weight", "rampup"), needed=("name", "redis", "weight"))
    return membership.added(asked.intent, **asked.arguments), "add"


def _remove(asked: _Asked) -> tuple[Intent, Kind]:
    check("remove", asked.arguments, ("name",), needed=("name",))
    wanted = membership.removed(asked.intent, asked.arguments["name"], asked.in_flight, asked.terms.force)
    return asked.checked(wanted), "remove"


_COMMANDS: dict[str, Callable[[_Asked], tuple[Intent, Kind]]] = {
    "weights": _weights,
    "state": _state,
    "ttl": _ttl,
    "undo": _undo,
    "add": _add,
    "remove": _remove,
}
