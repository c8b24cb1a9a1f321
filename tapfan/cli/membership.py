"""`tapfan add` and `tapfan remove`: a writer comes or goes while everything runs."""

import json
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from tapfan import explaining, redis_urls
from tapfan.cli import change_options as options
from tapfan.cli.asking import asking, exit_code, refusal
from tapfan.cli.change_options import given, signed
from tapfan.cli.invocation import (
    Config,
    Json,
    OutputClosedError,
    fail,
    handling,
    printable,
    settings_of,
    usage,
    write,
)
from tapfan.control import ControlError
from tapfan.membership import adding, configuration, files, programs, removing
from tapfan.membership.passages import EditError
from tapfan.membership.site import TROUBLES, NotDoneError, RefusedError, Site, Supervised
from tapfan.membership.supervision import SupervisionError, Supervisor
from tapfan.program import EXIT_FAILED, EXIT_USAGE
from tapfan.sections import WriterSettings
from tapfan.settings import file_of
from tapfan.values import weight as read_weight

_EXIT_CODES = (
    "Exit codes: 0 done, 1 {failed}, 2 a bad argument or configuration, or refused, 3 --if-version is not the version "
    "in force. Unless it is done, what was changed is taken back, and it says what is in force; after a kill, the same "
    "command again goes on where it was."
)
_ADD_EPILOG = (
    "\b\nExamples:\n  tapfan add c redis://10.0.0.3:6379/0 --weight 20\n"
    "  tapfan add c redis://10.0.0.3:6379/0 --weight 20 --rampup 30s\n\n"
    + _EXIT_CODES.format(failed="it failed, or it is done but the writer is not up yet")
)
_REMOVE_EPILOG = (
    "\b\nExamples:\n  tapfan remove c    # once it has stored what it has\n  tapfan remove c --timeout 5m\n\n"
    + _EXIT_CODES.format(failed="it failed, or took too long")
)

_ARGUMENTS = {"name": "NAME", "redis": "URL", "rampup": "--rampup", "password_file": "--password-file"}  # by key

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The writer, such as c.", show_default=False)]
SupervisorFile = Annotated[
    Path | None,
    typer.Option(
        "--supervisor", metavar="FILE", help="supervisord's file (default: supervisord.conf beside --config)."
    ),
]
NoSupervisor = Annotated[
    bool, typer.Option("--no-supervisor", help="Only tapfan.toml and the router; the process is yours.")
]


@app.command(epilog=_ADD_EPILOG)
def add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="Its Redis, such as redis://10.0.0.3:6379/0.")],
    *,
    weight: Annotated[str, typer.Option(metavar="N", help="Its weight.", show_default=False)],
    layout: Annotated[Literal["record", "block"] | None, typer.Option(help="How its Redis holds records.")] = None,
    confirm: Annotated[Literal["none", "replica"] | None, typer.Option(help="When a record counts as stored.")] = None,
    rampup: Annotated[str | None, typer.Option(metavar="DURATION", help="How long up to its weight, when up.")] = None,
    password_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Has its Redis's password.")] = None,
    supervisor: SupervisorFile = None,
    no_supervisor: NoSupervisor = False,
    if_version: options.IfVersion = None,
    by: options.By = None,
    reason: options.Reason = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let there be one more writer, at once and for good.

    It is put into tapfan.toml and supervisord.conf, gets its part from the router, and runs; nothing else is restarted.
    """
    with usage():
        try:
            section: dict[str, str | float] = {"name": name, "redis": url, "weight": read_weight(weight)}
        except ValueError as error:
            raise ValueError(f"--weight {weight!r}: {error}") from error
    more = {"layout": layout, "confirm": confirm, "rampup": rampup}
    section |= {key: value for key, value in more.items() if value is not None}
    if password_file is not None:
        section["password_file"] = str(password_file.absolute())
    with usage():
        _check_arguments(section)
    try:
        adding.check_environment(name)
    except RefusedError as error:
        fail(str(error), EXIT_USAGE)
    place = _Place(file_of(config), supervisor, no_supervisor)
    with place.site(signed(given(by, reason)), if_version) as site, _reporting(site, name):
        trouble = adding.add(site, section)
        view = site.router.weights() if as_json else {}
    command = [sys.executable, "-m", "writers", name, "--config", str(site.config.absolute())]
    to_start = command if site.supervised is None else None
    if as_json:
        _print_json(view, {"writer": name, "done": "added", "trouble": trouble, "to_start": to_start})
    if trouble:
        fail(f"{name} is added, and gets its part once it is up; it is not yet: {_printable(trouble)}", EXIT_FAILED)
    if as_json:
        return
    typer.echo(f"{name} is added")
    if to_start:
        typer.echo(f"it gets its part once it runs: {shlex.join(to_start)}")


@app.command(epilog=_REMOVE_EPILOG)
def remove(
    name: Name,
    *,
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="The longest wait until all that it has is stored.")
    ] = "60s",
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if nobody else gets records; what it has not stored by then, others get."),
    ] = False,
    supervisor: SupervisorFile = None,
    no_supervisor: NoSupervisor = False,
    if_version: options.IfVersion = None,
    by: options.By = None,
    reason: options.Reason = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let there be a writer no more, once it has stored all that it was given.

    Its process ends, and tapfan.toml, supervisord.conf and the router know it no more; nothing else is restarted.
    """
    with usage():
        leaving = removing.Leaving(name, options.duration_seconds("--timeout", timeout), force)
    place = _Place(file_of(config), supervisor, no_supervisor, leaving=name)
    with place.site(signed(given(by, reason)), if_version) as site, _reporting(site, name):
        redis = site.members().get(name, {}).get("redis")
        removing.remove(site, leaving)
        view = site.router.weights() if as_json else {}
    to_end = programs.program_name(name) if site.supervised is None else None
    if as_json:
        _print_json(view, {"writer": name, "done": "removed", "redis": redis, "to_end": to_end})
        return
    typer.echo(f"{name} is removed")
    if redis:
        typer.echo(f"what it stored stays in {printable(redis)} until it expires; `tapfan query` reads it no more")
    if to_end:
        typer.echo(f"end its process, {to_end}, if it still runs")


def _check_arguments(section: Mapping[str, str | float]) -> None:
    """Raises ValueError, naming the argument of `add` that is bad, and what is valid."""
    try:
        WriterSettings.model_validate(section)
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0])
        given = redis_urls.shown(str(problem["input"])) if key == "redis" else problem["input"]
        raise ValueError(f"{_ARGUMENTS[key]} {given!r}: {explaining.problem(WriterSettings, dict(problem))}") from None


@dataclass(frozen=True)
class _Place:
    """Which files are meant. `leaving`: who goes, for which no supervisord is needed where that does not know it."""

    config: Path
    supervisor: Path | None
    no_supervisor: bool
    leaving: str | None = None

    @contextmanager
    def site(self, terms: dict[str, Any], if_version: int | None) -> Iterator[Site]:
        """All that is to know; ends the command when something of it is not to be reached."""
        with asking(settings_of(self.config)) as client, ExitStack() as stack:
            supervised = self._supervised()
            if supervised is not None:
                stack.enter_context(supervised.supervisor)
            yield Site(self.config, client, supervised, terms, _tell, if_version)

    @staticmethod
    def _file_of(file: Path, known: list[str]) -> Path | None:
        """The file that has the section of one of these writers: supervisord's own, or one that it includes."""
        for each in (file, *programs.included_in(files.read(file), file.absolute().parent)):
            text = files.read(each)
            if any(programs.program_in(text, name) is not None for name in known):
                return each
        return None

    def _supervised(self) -> Supervised | None:
        if self.no_supervisor:
            with usage():
                if self.supervisor:
                    raise ValueError("--supervisor and --no-supervisor exclude each other")
            return None
        file = self.supervisor or self.config.absolute().parent / "supervisord.conf"
        if not file.exists() and self.leaving is not None and self.supervisor is None:
            return None
        otherwise = "or, where something else runs the writers, use --no-supervisor"
        try:
            known = configuration.names_in(files.read(self.config)) if self.leaving is None else [self.leaving]
            own = self._file_of(file, known)
            is_needed = self.leaving is None or own is not None
            return Supervised(own or file, Supervisor(file))
        except EditError as error:
            fail(f"{error}: name supervisord's file with --supervisor, {otherwise}", EXIT_USAGE)
        except SupervisionError as error:
            if not is_needed:
                return None
            fail(f"{error}; start it (`supervisord -c {file}`), {otherwise}", EXIT_FAILED)


@contextmanager
def _reporting(site: Site, name: str) -> Iterator[None]:
    """What ends the command when it could not be done, with what has that writer now; SIGTERM is as Ctrl-C."""
    try:
        with handling(signal.SIGTERM, signal.default_int_handler):
            yield
    except RefusedError as error:
        fail(printable(str(error)), EXIT_USAGE)
    except (*TROUBLES, NotDoneError, KeyboardInterrupt) as error:
        lines = [refusal(error) if isinstance(error, ControlError) else str(error) or "stopped"]
        lines += [f"not taken back: {note}" for note in getattr(error, "__notes__", [])]
        if site.has_begun:
            where = ", ".join(site.where(name))
            lines.append(f"now {name} is in {where}" if where else f"now nothing has {name}")
        code = exit_code(error.code) if isinstance(error, ControlError) else EXIT_FAILED
        fail(_printable("\n".join(lines)), code)


def _print_json(view: dict[str, Any], done: dict[str, Any]) -> None:
    with suppress(OutputClosedError):
        write(f"{json.dumps(view | done)}\n")


def _printable(text: str) -> str:
    return "\n".join(map(printable, text.splitlines()))


def _tell(line: str) -> None:
    typer.echo(f"tapfan: {printable(line)}", err=True)
