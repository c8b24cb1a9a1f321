"""The options of the commands that change something, and what they make of a request."""

import getpass
import os
from typing import Annotated, Any

import typer

from tapfan import durations
from tapfan.control import MAX_BY, MAX_OVER_S, MIN_OVER_S

Over = Annotated[str | None, typer.Option(metavar="DURATION", help="Get there in steps, in 60s, 10m, 1h30m.")]
Cancel = Annotated[bool, typer.Option("--cancel", help="End the ramp that runs, where it is now.")]
IfVersion = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Only if N is the version in force; otherwise exit code 3.")
]
By = Annotated[
    str | None, typer.Option(metavar="NAME", help="Who does it, for the history (default: your login name).")
]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for the history.")]
Force = Annotated[bool, typer.Option("--force", help="Even if no writer is left that gets records.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Return when all that it was given is stored; Ctrl-C ends the waiting only.")
]
Timeout = Annotated[str | None, typer.Option(metavar="DURATION", help="The longest that --wait waits.")]


def given(
    by: str | None = None, reason: str | None = None, if_version: int | None = None, *, force: bool = False
) -> dict[str, Any]:
    """Those of the options that were given, as arguments of a request."""
    options = {"by": by, "reason": reason, "if_version": if_version, "force": force or None}
    return {name: value for name, value in options.items() if value is not None}


def signed(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a change with who makes it."""
    return {"by": login_name()[:MAX_BY]} | arguments


def login_name() -> str:
    """Who sits at the terminal, also behind sudo; without one, whose process this is."""
    try:
        return os.getlogin()
    except OSError:
        pass
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a process of a user whom this host does not know
        return str(os.getuid())


def over_seconds(text: str) -> float:
    """The duration of a ramp. Raises ValueError, saying what is valid."""
    over_s = duration_seconds("--over", text)
    if not MIN_OVER_S <= over_s <= MAX_OVER_S:
        raise ValueError(f"--over {text!r}: must be from 100ms to 1d")
    return over_s


def duration_seconds(option: str, text: str) -> float:
    """A duration in seconds. Raises ValueError, saying what is valid."""
    try:
        return durations.seconds(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{option} {text!r}: must be {durations.VALID}") from error
