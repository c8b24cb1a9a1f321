"""`tapfan remove`: one writer less, once it has stored all that it was given."""

import os
import time
from dataclasses import dataclass
from typing import Any

from tapfan.control import ControlTimeoutError
from tapfan.membership import configuration, files, programs
from tapfan.membership.site import (
    NotDoneError,
    RefusedError,
    Site,
    Supervised,
    check_writable,
    checked,
    edit,
    environment_of,
    variables_in,
)
from tapfan.membership.steps import Step

_POLL_S = 0.1
_TELL_S = 2.0  # how often what is waited for is told


@dataclass(frozen=True)
class Leaving:
    """Which writer goes, and how. `force`: though no writer is left that gets records, and though it does not drain."""

    name: str
    timeout_s: float
    force: bool = False


def remove(site: Site, leaving: Leaving) -> None:
    """Have the writer nowhere any more: drained, its process ended, its sections cut out, the router without it.

    What is gone already, of a try that was killed, is no matter. Raises RefusedError, NotDoneError and `site.TROUBLES`:
    what was done is taken back then.
    """
    name = leaving.name
    with files.alone_in(site.config.resolve().parent):
        members = site.members()
        text = files.read(site.config)
        is_configured = configuration.writer_in(text, name) is not None
        program_steps = _program_steps(site.supervised, name) if site.supervised else []
        if not is_configured and not program_steps and name not in members:
            raise RefusedError(f"no writer is named {name}; there are: {', '.join(members)}")
        if len(members) == 1 and name in members:
            raise RefusedError(f"{name} is the only writer, and cannot be removed")
        site.check_version()
        steps = []
        if is_configured:
            _check_variables(site.supervised, name)
            wanted = _without_writer(site, text, name)
            steps.append(edit(site.config, text, wanted))
        steps += program_steps
        if site.supervised is not None:
            steps.insert(0, _stop(site.supervised, name))
        if name in members:
            drain = _Drain(site, leaving, members[name])
            steps.insert(0, Step(drain.do, drain.undo))
            steps.append(_leave(site, leaving))
        site.take(steps)


def _without_writer(site: Site, text: str, name: str) -> str:
    wanted = configuration.without_writer(text, name)
    if not configuration.names_in(wanted):
        raise RefusedError(f"{name} is the only writer in {site.config}, and cannot be removed")
    checked(site.config, wanted)
    return wanted


def _check_variables(supervised: Supervised | None, name: str) -> None:
    """See that every program would still start, which it does not while a variable is for a writer that is gone."""
    places: dict[str, Any] = {"here": os.environ}
    if supervised is not None:
        places["for supervisord"] = environment_of(supervised.supervisor.pid)
    for place, environment in places.items():
        if variables := variables_in(environment, name):
            raise RefusedError(
                f"{variables[0]} is set {place}; without a writer {name}, no program starts with it: unset it first, "
                f"and give its value in the configuration or in the section of {programs.program_name(name)}"
            )


def _program_steps(supervised: Supervised, name: str) -> list[Step]:
    """What is left to do in supervisord's file."""
    text = files.read(supervised.file)
    if programs.program_in(text, name) is None:
        return []
    supervised.supervisor.check_own_group(programs.program_name(name))
    wanted = programs.without_program(text, name)
    if programs.variables_of(name) in wanted.upper():
        raise RefusedError(
            f"{supervised.file} sets {programs.variables_of(name)}… outside the section of "
            f"{programs.program_name(name)}; without a writer {name}, no program starts with it: take it out first"
        )
    check_writable(supervised.file, wanted)
    return [edit(supervised.file, text, wanted, supervised.supervisor.reread)]


def _stop(supervised: Supervised, name: str) -> Step:
    program, supervisor = programs.program_name(name), supervised.supervisor
    ran = supervisor.process(program)

    def undo() -> None:
        if ran is not None and not ran.ended:
            supervisor.start(program)

    return Step(lambda: supervisor.stop(program), undo)


def _leave(site: Site, leaving: Leaving) -> Step:
    def do() -> None:
        site.change("remove", name=leaving.name, **({"force": True} if leaving.force else {}))

    return Step(do, lambda: None)


class _Drain:
    """The step that gives the writer no new records, and waits until it has stored what it has."""

    def __init__(self, site: Site, leaving: Leaving, member: dict[str, Any]) -> None:
        self._site = site
        self._leaving = leaving
        self._before: str = member["state"]

    def do(self) -> None:
        """Drain. Raises NotDoneError when that takes too long."""
        name = self._leaving.name
        if self._before == "ready":
            force = {"force": True} if self._leaving.force else {}
            self._site.change("state", states={name: "drain"}, **force)
        deadline_s = time.monotonic() + self._leaving.timeout_s
        next_told_s = time.monotonic()
        while waits_for := self._waits_for():
            now_s = time.monotonic()
            if now_s >= deadline_s and self._leaving.force:
                self._site.tell(f"not waiting any longer for {waits_for}: the others get it")
                return
            if now_s >= deadline_s:
                raise NotDoneError(
                    f"still waiting for {waits_for}, after {self._leaving.timeout_s:g} s; "
                    "wait longer with --timeout, or with --force the others get it"
                )
            if now_s >= next_told_s:
                self._site.tell(f"waiting for {waits_for}")
                next_told_s = now_s + _TELL_S
            time.sleep(_POLL_S)

    def undo(self) -> None:
        """Let it get records again, if it did before."""
        if self._before == "ready" and self._site.members()[self._leaving.name]["state"] != "ready":
            self._site.change("state", states={self._leaving.name: self._before})

    def _waits_for(self) -> str:
        """What is still in flight, and what holds it up; nothing: ""."""
        name = self._leaving.name
        try:
            member = self._site.members().get(name)
        except ControlTimeoutError as error:
            return f"the router: {error}"
        if member is None or not member["in_flight"]:
            return ""
        count = member["in_flight"]
        trouble = f" ({member['health']}: {member['reason'] or 'no report'})" if member["health"] != "up" else ""
        return f"{count:,} record{'s' if count > 1 else ''} of {name} in flight{trouble}"
