"""What operators want, on disk: control.json in the run directory, and what of it holds when a router starts."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from router import files
from router.history import MAX_ENTRIES, Change, Entry, History, Kind
from router.intent import Came, Intent, Member, Ramp, State
from router.remembered import MAX_REMOVED, Remembered
from router.repeats import MAX_CHARACTERS, PATTERN, Repeats
from tapfan.control import AUTOMATIC, MAX_OVER_S, MIN_OVER_S
from tapfan.logs import Logger
from tapfan.messages import Amount, cut
from tapfan.names import Name
from tapfan.settings import MAX_WRITERS
from tapfan.values import MAX_TTL_S, MAX_WEIGHT

_MAX_MEMBERS = 2 * MAX_WRITERS  # those of the configuration, and as many others
_MAX_CHANGES = 4 * _MAX_MEMBERS  # of one entry

_Text = Annotated[str, Field(max_length=2**16)]  # the URL of a cluster may be long
_Short = Annotated[str, Field(max_length=64)]
_Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT)]
_Version = Annotated[int, Field(ge=1, lt=2**63)]
_TtlMs = Annotated[int, Field(ge=1000, le=MAX_TTL_S * 1000)]
_Process = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{2}){1,255}$")]  # a routing id, in hex


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Member(_Model):
    redis: _Text
    configured: _Weight
    weight: _Weight
    state: State
    rampup_s: Annotated[float, Field(ge=0, le=MAX_OVER_S)]
    came: Came


class _Ramp(_Model):
    origin: dict[Name, _Weight]
    begun_s: Amount
    over_s: Annotated[float, Field(ge=MIN_OVER_S, le=MAX_OVER_S)]


class _Intent(_Model):
    version: _Version
    ttl_ms: _TtlMs
    members: Annotated[dict[Name, _Member], Field(min_length=1, max_length=_MAX_MEMBERS)]
    ramp: _Ramp | None

    @model_validator(mode="after")
    def _some_weigh(self) -> Self:
        if not any(member.weight for member in self.members.values()):
            raise ValueError("all weights are 0")
        return self

    def intent(self) -> Intent:
        members = {name: Member(**vars(member)) for name, member in self.members.items()}
        ramp = Ramp(**vars(self.ramp)) if self.ramp else None
        return Intent(self.version, self.ttl_ms, members, ramp)


class _Change(_Model):
    writer: Name | None
    what: _Short
    before: float | _Text | None
    after: float | _Text | None


class _Entry(_Model):
    version: _Version
    at_s: Amount
    kind: Kind
    by: _Short
    key: _Short | None
    reason: _Text
    over_s: Amount | None
    changes: Annotated[list[_Change], Field(max_length=_MAX_CHANGES)]

    def entry(self) -> Entry:
        return Entry(**vars(self) | {"changes": tuple(Change(**vars(change)) for change in self.changes)})


class _Remembered(_Model):
    rampups: Annotated[dict[Name, Amount], Field(max_length=_MAX_MEMBERS)] = {}
    processes: Annotated[dict[Name, _Process], Field(max_length=_MAX_MEMBERS)] = {}
    removed: Annotated[dict[_Process, Name], Field(max_length=MAX_REMOVED)] = {}
    away: Annotated[list[Name], Field(max_length=_MAX_MEMBERS)] = []

    def remembered(self) -> Remembered:
        return Remembered(
            self.rampups,
            {name: bytes.fromhex(process) for name, process in self.processes.items()},
            {bytes.fromhex(process): name for process, name in self.removed.items()},
            frozenset(self.away),
        )


class _Control(_Model):
    kind: Literal["tapfan-control"]
    format: Literal[1]
    configured_ttl_ms: _TtlMs
    intent: _Intent
    history: Annotated[list[_Entry], Field(max_length=MAX_ENTRIES)]
    repeats: Annotated[str, Field(max_length=MAX_CHARACTERS, pattern=PATTERN)]
    remembered: _Remembered = _Remembered()  # files from before it have none


class ControlFile:
    """Gives a router that starts what the one before had, and saves it with each change.

    `configured`: what the configuration says.
    """

    def __init__(self, path: Path, configured: Intent, log: Logger) -> None:
        self._path = path
        self._configured = configured
        self._log = log

    def load(self, now_s: float) -> tuple[Intent, History, Remembered]:
        """What holds now, in seconds since the epoch. A file that cannot be read is set aside."""
        then = "starts with what is configured"
        was_there = os.path.lexists(self._path)
        control = files.read(self._path, _Control, self._log, "control_damaged", then)
        if control is None:
            past = History().add(*([_damaged(self._path, now_s)] if was_there else []))
            return self._configured, past, Remembered()
        history = History((entry.entry() for entry in control.history), Repeats(control.repeats))
        saved = control.intent.intent()
        intent, changes = merged(saved, control.configured_ttl_ms, self._configured)
        if changes:
            told = cut("; ".join(map(str, changes)))
            self._log.info("configuration_edited", version=intent.version, changes=told)
            reason = "the configuration was edited"
            history = history.add(Entry(intent.version, now_s, "configuration", AUTOMATIC, None, reason, None, changes))
        return intent, history, _as_of(intent, saved, control.remembered.remembered())

    def save(self, intent: Intent, history: History, remembered: Remembered) -> None:
        """Have it on the disk. Raises OSError."""
        told_intent = vars(intent) | {
            "members": {name: vars(member) for name, member in intent.members.items()},
            "ramp": intent.ramp and vars(intent.ramp),
        }
        removed = [(process.hex(), name) for process, name in remembered.removed.items()]
        told = {
            "kind": "tapfan-control",
            "format": 1,
            "configured_ttl_ms": self._configured.ttl_ms,
            "intent": told_intent,
            "remembered": {
                "rampups": remembered.rampups,
                "processes": {name: process.hex() for name, process in remembered.processes.items()},
                "removed": dict(removed[-MAX_REMOVED:]),
                "away": sorted(remembered.away),
            },
        }
        head = json.dumps(told, separators=(",", ":"))
        content = "".join([head[:-1], ',"history":', history.text, ',"repeats":"', history.repeats.text, '"}'])
        files.write(self._path, content.encode(), durable=True)


def _damaged(path: Path, now_s: float) -> Entry:
    """What the history begins with where the one before is lost, so that nobody wonders."""
    reason = f"{path.name} was damaged and is set aside: all is as configured"
    return Entry(1, now_s, "configuration", AUTOMATIC, None, reason, None, ())


def _as_of(intent: Intent, saved: Intent, remembered: Remembered) -> Remembered:
    """What is known with the intent that a router starts with.

    Writers that the configuration has no more are removed; one that it has anew is heard again, whatever was before.
    """
    processes, gone = {}, {}
    for name, process in remembered.processes.items():
        if name in intent.members:
            processes[name] = process
        else:
            gone[process] = name
    anew = intent.members.keys() - saved.members.keys()
    removed = {process: name for process, name in remembered.removed.items() if name not in anew}
    return Remembered(remembered.rampups, processes, removed | gone, remembered.away & processes.keys())


def merged(saved: Intent, saved_ttl_ms: int, configured: Intent) -> tuple[Intent, tuple[Change, ...]]:
    """What holds at a start: what was saved, but for what was edited in the configuration since; and what that was.

    `saved_ttl_ms`: the one that was configured then. States hold; writers that the configuration never had stay.
    """
    members: dict[str, Member] = {}
    changes: list[Change] = []
    for name, given in configured.members.items():
        kept = saved.members.get(name)
        if kept is None:
            changes += [Change(name, "redis", None, given.redis), Change(name, "weight", None, given.weight)]
            members[name] = given
        elif kept.configured != given.configured:
            changes += _edited(name, kept, given)
            members[name] = replace(given, state=kept.state)
        else:
            members[name] = replace(given, weight=kept.weight, state=kept.state)
    for name, kept in saved.members.items():
        if name in members:
            continue
        if kept.came != "configured":
            members[name] = kept
        else:
            changes += [Change(name, "redis", kept.redis, None), Change(name, "weight", kept.weight, None)]
            changes += [Change(name, "state", kept.state, None)] if kept.state != "ready" else []
    if not any(member.weight for member in members.values()):
        changes += [
            Change(name, "weight", 0.0, member.configured) for name, member in members.items() if member.configured
        ]
        members = {name: replace(member, weight=member.configured) for name, member in members.items()}
    ttl_ms = saved.ttl_ms
    if saved_ttl_ms != configured.ttl_ms:
        ttl_ms = configured.ttl_ms
        changes.append(Change(None, "ttl", saved.ttl_ms / 1000, ttl_ms / 1000))
    ramp = saved.ramp
    if ramp is not None:
        edited = {change.writer for change in changes}
        origin = {
            name: member.weight if name in edited else ramp.origin.get(name, member.weight)
            for name, member in members.items()
        }
        ramp = replace(ramp, origin=origin)
    return Intent(saved.version + bool(changes), ttl_ms, members, ramp), tuple(changes)


def _edited(name: str, kept: Member, given: Member) -> list[Change]:
    changes = [Change(name, "configured", kept.configured, given.configured)]
    if kept.weight != given.weight:
        changes.append(Change(name, "weight", kept.weight, given.weight))
    return changes
