"""What the commands have in common: their options, how they fail, warn, and write what may be read by nobody."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from tapfan.program import EXIT_FAILED, EXIT_USAGE
from tapfan.reach import Reach
from tapfan.settings import Settings, SettingsError, load, load_reach
from tapfan.stopping import Stop

Config = Annotated[Path | None, typer.Option(help="The configuration file (default: $TAPFAN_CONFIG, tapfan.toml).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@contextmanager
def handling(
    number: signal.Signals, handler: Callable[[int, FrameType | None], object] | signal.Handlers
) -> Iterator[None]:
    """Have that signal handled so; afterwards it is handled as it was before."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def ctrl_c_kills() -> AbstractContextManager[None]:
    """Let Ctrl-C end the process at once, whatever it waits for, and as shells expect it: by the signal."""
    return handling(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def asked_to_stop() -> Iterator[Stop]:
    """A Stop that Ctrl-C or SIGTERM sets; a second one ends the process, whatever it waits for."""
    stop = Stop()

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.ask()
        signal.signal(number, signal.SIG_DFL)

    with handling(signal.SIGINT, ask), handling(signal.SIGTERM, ask):
        yield stop


class OutputClosedError(Exception):
    """Raised when whoever read the output has gone, as `head` does once it has enough."""


def settings_of(config: Path | None) -> Settings:
    """The configuration; ends the command when it is bad."""
    try:
        return load(config)
    except SettingsError as error:
        fail(str(error), EXIT_USAGE)


def reach_of(config: Path | None) -> Reach:
    """What leads to the router; ends the command when that is bad, and only warns of what else is bad."""
    try:
        reach, problems = load_reach(config)
    except SettingsError as error:
        fail(str(error), EXIT_USAGE)
    if problems:
        more = f" (and {len(problems) - 1} more: see `tapfan check`)" if len(problems) > 1 else ""
        warn(printable(f"{problems[0]}{more}"))
    return reach


def fail(message: str, code: int) -> NoReturn:
    """End the command."""
    typer.echo(f"tapfan: {message}", err=True)
    raise typer.Exit(code)


@contextmanager
def usage() -> Iterator[None]:
    """What ends the command when an option is bad."""
    try:
        yield
    except ValueError as error:
        fail(str(error), EXIT_USAGE)


def remark(message: str) -> None:
    """Say what is no part of the result, which programs read as well."""
    typer.echo(f"tapfan: {message}", err=True)


def warn(message: str) -> None:
    """Say what the user should know though it does not end the command."""
    typer.echo(f"tapfan: warning: {message}", err=True)


def printable(text: str) -> str:
    """The text without what a terminal would obey: it may quote what a Redis said."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def write(text: str) -> None:
    """Write output at once. Raises OutputClosedError; ends the command when there is no room for it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        _discard_output()
        raise OutputClosedError from error
    except OSError as error:
        _discard_output()
        fail(f"cannot write the output: {error.strerror}", EXIT_FAILED)


def _discard_output() -> None:
    """Let what is still buffered go nowhere, as Python would try again, and complain, at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
