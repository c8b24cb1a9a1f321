"""Writers that come and go: added and removed by operators, or joined by their own report."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from router.intent import Intent, Member
from router.ramp import kept
from router.terms import duration
from router.vectors import member_of, weight_of
from tapfan import redis_urls, values
from tapfan.control import ControlError
from tapfan.messages import MAX_TEXT, WriterReport
from tapfan.names import NAME_FORM
from tapfan.sections import MAX_RAMPUP_S
from tapfan.settings import MAX_WRITERS
from tapfan.values import shown


def added(intent: Intent, name: Any, redis: Any, weight: Any, rampup: Any = 0) -> Intent:
    """With one more writer, which the configuration need not have. Raises ControlError."""
    if not isinstance(name, str) or not NAME_FORM.fullmatch(name):
        raise ControlError("bad_name", f"the name {shown(name)} must be 1 to 32 letters, digits, _ and -")
    if name in intent.members:
        raise ControlError("writer_exists", f"there is a writer named {name} already")
    rampup_s = duration("rampup", rampup, 0, MAX_RAMPUP_S)
    number = weight_of(name, weight)
    return _with(intent, name, Member(_url(name, redis), number, number, rampup_s=rampup_s, came="added"))


def joined(intent: Intent, report: WriterReport) -> Intent:
    """With the writer that reports, and what it says of itself. Raises ControlError."""
    return _with(intent, report.name, _reported(report))


def edited(intent: Intent, report: WriterReport) -> Intent:
    """With what a member that joined says of itself now: its weight stays unless the configured one is another.

    The same where nothing changes. Raises ControlError.
    """
    had, said = intent.members[report.name], _reported(report)
    if said.configured == had.configured:
        said = replace(said, weight=had.weight)
    member = replace(said, state=had.state)
    if member == had:
        return intent
    ramp = intent.ramp
    if ramp is not None and member.weight != had.weight:
        ramp = replace(ramp, origin={**ramp.origin, report.name: member.weight})
    return replace(intent, members={**intent.members, report.name: member}, ramp=ramp)


def removed(intent: Intent, name: Any, in_flight: Callable[[str], int | None], force: bool) -> Intent:
    """Without this writer. Raises ControlError; unless that is forced, also while it gets records or has some."""
    member_of(intent, name)
    if len(intent.members) == 1:
        raise ControlError("nobody_left", f"{name} is the only writer, and cannot be removed")
    count = in_flight(name)
    if count != 0 and not force:
        does = "gets records" if count is None else f"has {count} records in flight"
        raise ControlError("not_drained", f"{name} {does}: drain it first, and wait until it has none, or force it")
    return _with_members(intent, {known: member for known, member in intent.members.items() if known != name})


def _reported(report: WriterReport) -> Member:
    """The member that a writer says it is. Raises ControlError."""
    number = weight_of(report.name, report.weight)
    if not report.redis.isprintable():
        raise ControlError("bad_redis", f"the URL of {report.name}, {shown(report.redis)}, must be printable")
    return Member(report.redis, number, number, rampup_s=min(report.rampup_s, MAX_RAMPUP_S), came="joined")


def _with(intent: Intent, name: str, member: Member) -> Intent:
    if len(intent.members) >= MAX_WRITERS:
        raise ControlError("too_many_writers", f"there are {MAX_WRITERS} writers already, as many as there may be")
    return _with_members(intent, {**intent.members, name: member})


def _with_members(intent: Intent, members: dict[str, Member]) -> Intent:
    return replace(intent, members=members, ramp=kept(intent.ramp, members))


def _url(name: str, redis: Any) -> str:
    """The URL of a Redis, without secrets. Raises ControlError, whose text does not show what may hold one."""
    try:
        if redis_urls.redacted(values.redis_url(redis)) != redis:
            raise ValueError("must not hold a password: that is for the writer's own configuration")
        if len(redis) > MAX_TEXT or not redis.isprintable():
            raise ValueError(f"must have at most {MAX_TEXT} characters, all of them printable")
    except ValueError as error:
        raise ControlError("bad_redis", f"the URL of {name} {error}"[:MAX_TEXT]) from error
    return str(redis)
