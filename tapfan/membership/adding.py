"""`tapfan add`: one more writer."""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis

from tapfan import redis_connection, redis_urls
from tapfan.control import ControlTimeoutError
from tapfan.membership import configuration, files, programs
from tapfan.membership.configuration import Section
from tapfan.membership.site import (
    NotDoneError,
    RefusedError,
    Site,
    Supervised,
    check_writable,
    checked,
    edit,
    variables_in,
)
from tapfan.membership.steps import Step
from tapfan.sections import WriterSettings
from tapfan.settings import Settings
from tapfan.welcome import telling_line

_UP_TIMEOUT_S = 15.0
_KNOWN_TIMEOUT_S = 4.0  # where it has started, and tells why it is not up, or ends again and again
_REDIS_TIMEOUT_S = 1.0
_PAUSE_S = 0.1


def check_environment(name: str) -> None:
    """See that no variable is meant for a writer that is not there yet. Raises RefusedError."""
    variables = variables_in(os.environ, name)
    if variables:
        raise RefusedError(
            f"{variables[0]} is set here, but supervisord and its programs do not have it, and no program starts with "
            f"it while there is no writer {name}: unset it, and give options (a password with --password-file)"
        )


def add(site: Site, section: Section) -> str | None:
    """Have a writer with that section in the configuration, in supervisord's file, with the router, and running.

    What is there already, of a try that was killed, is kept. Gives why the writer is not up yet, None if it is, or if
    it is not for us to start. Raises RefusedError, NotDoneError and `site.TROUBLES`: what was done is taken back then.
    """
    name = str(section["name"])
    with files.alone_in(site.config.resolve().parent):
        text = files.read(site.config)
        there = configuration.writer_in(text, name)
        if there is not None and there != dict(section):
            others = ", ".join(_differences(there, section))
            raise RefusedError(f"{site.config} has a writer {name} already, with other values than those: {others}")
        wanted = text if there else configuration.with_writer(text, section)
        settings = checked(site.config, wanted)
        _check_database(settings, name)
        _check_secrecy(site.config, str(section["redis"]))
        steps = [] if there else [edit(site.config, text, wanted)]
        members = site.members()
        if there is None and name in members:
            raise RefusedError(f"the router has a writer {name} that is not in {site.config}; remove it first")
        if site.supervised is not None:
            steps += _program_steps(site.supervised, name, [writer.name for writer in settings.writers])
        if name not in members:
            steps.append(_router_step(site, section))
        if not steps:
            site.tell(f"{name} is in all of it already")
        site.check_version()
        _see_redis(site, settings.writer(name))
        start = None if site.supervised is None else _Start(site, site.supervised, name)
        site.take([*steps, Step(start.do, start.undo)] if start else steps)
        if site.members()[name]["state"] != "ready":
            site.tell(f"{name} gets no records, as it is not ready: `tapfan ready {name}` gives it its part")
        return start.trouble if start else None


def _differences(there: Mapping[str, Any], section: Section) -> Iterator[str]:
    """What the configuration says otherwise than the section: "weight = 20 (not 30)", without passwords."""
    for key in dict.fromkeys([*section, *there]):
        here, asked = there.get(key), section.get(key)
        if here == asked:
            continue
        if key == "redis":
            here, asked = redis_urls.shown(str(here)), redis_urls.shown(str(asked))
        if key == "password" or here == asked:
            yield f"{key} (its value is not shown)"
        else:
            yield f"no {key} (not {asked!r})" if here is None else f"{key} = {here!r} (not {_or_none(asked)})"


def _or_none(value: str | float | None) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else repr(value)


def _check_database(settings: Settings, name: str) -> None:
    """See that no other writer stores where that one is to."""
    for pair in settings.shared_databases:
        others = [writer for writer in pair if writer.name != name]
        if len(others) < len(pair):
            (other,) = others
            what = f"the writer {other.name} has that Redis database, {other.redacted}, already"
            raise RefusedError(f"{what}: give {name} one of its own")


def _check_secrecy(config: Path, url: str) -> None:
    mode = stat.S_IMODE(config.stat().st_mode)
    if redis_urls.redacted(url) != url and mode & 0o077:
        raise RefusedError(
            f"the URL has a password, and others may read {config} (mode {mode:04o}): give it with --password-file, or "
            f"`chmod 600 {config}` first"
        )


def _see_redis(site: Site, writer: WriterSettings) -> None:
    """Say whether the writer's Redis does not answer, which may be well so for now. Raises RefusedError."""
    try:
        redis_connection.client(writer, _REDIS_TIMEOUT_S, _REDIS_TIMEOUT_S).ping()
    except redis.RedisError as error:
        if redis_connection.lacks_database(error):
            raise RefusedError(
                f"{writer.redacted} is no database that this Redis has: {redis_connection.reason(error)}"
            ) from error
        site.tell(f"warning: {writer.redacted} does not answer yet: {redis_connection.reason(error)}")
    except (OSError, ValueError) as error:
        raise RefusedError(f"{writer.redacted} cannot be used: {error}") from error


def _program_steps(supervised: Supervised, name: str, known: list[str]) -> list[Step]:
    text = files.read(supervised.file)
    if programs.program_in(text, name) is not None:
        return []
    wanted = programs.with_program(text, name, known)
    check_writable(supervised.file, wanted)
    return [edit(supervised.file, text, wanted, supervised.supervisor.reread)]


def _router_step(site: Site, section: Section) -> Step:
    name = section["name"]
    rampup = {"rampup": section["rampup"]} if "rampup" in section else {}
    url = redis_urls.redacted(str(section["redis"]))

    def do() -> None:
        site.change("add", name=name, redis=url, weight=section["weight"], **rampup)

    def undo() -> None:
        if name in site.members():
            site.change("remove", name=name, force=True)

    return Step(do, undo)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


class _Start:
    """The step that has the writer's process run, and waits until it is up."""

    def __init__(self, site: Site, supervised: Supervised, name: str) -> None:
        self.trouble: str | None = None  # why it is not up though it runs
        self._site = site
        self._supervisor = supervised.supervisor
        self._name = name
        self._program = programs.program_name(name)
        self._is_ours = False
        self._log_begin = 0  # where in its log what it says begins: before that is what an earlier one said
        self._runs = False  # whether it did when that was last looked at
        self._is_known = False  # whether what keeps it from being up will not change by waiting for its start

    def do(self) -> None:
        """Start it. Raises NotDoneError when it cannot run."""
        before = self._supervisor.process(self._program)
        self._is_ours = before is None or before.ended
        self._supervisor.start(self._program)
        process = self._supervisor.process(self._program)
        if process is not None and process.log is not None and self._is_ours:
            self._log_begin = _size(process.log)
        if self._not_up():
            self._site.tell(f"waiting until {self._name} is up")
        begun_s = time.monotonic()
        while trouble := self._not_up():
            patience_s = _KNOWN_TIMEOUT_S if self._is_known else _UP_TIMEOUT_S
            if time.monotonic() - begun_s > patience_s:
                break
            time.sleep(_PAUSE_S)
        if trouble and not self._runs:
            raise NotDoneError(trouble)
        self.trouble = trouble

    def undo(self) -> None:
        """Stop it again, if it did not run before."""
        if self._is_ours:
            self._supervisor.stop(self._program)

    def _not_up(self) -> str | None:
        """Why it is not up; None if it is. Raises NotDoneError once it cannot become so."""
        process = self._supervisor.process(self._program)
        self._runs = process is not None and process.state != "BACKOFF"
        self._is_known = process is not None and not self._runs
        if process is None:
            return f"supervisord has no {self._program}"
        says = f"; {process.log} says:\n  {telling_line(process.log, self._log_begin)}" if process.log else ""
        fails = f"{self._program} does not run ({process.state}, {process.trouble}){says}"
        if process.ended:
            raise NotDoneError(fails)
        if process.state == "BACKOFF":
            return fails
        try:
            member = self._site.members().get(self._name)
        except ControlTimeoutError as error:
            return str(error)
        if member is not None and member["health"] == "up":
            return None
        if member is not None and member["health"] == "down":
            self._is_known = True
            return f"{self._name} is not up: {member['reason']}"
        return f"{self._name} has not reported yet{says}"
