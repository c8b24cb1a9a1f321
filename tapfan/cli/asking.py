"""Asking the router, for the commands: what it refuses becomes an exit code, and what to do next."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

from tapfan.cli.invocation import OutputClosedError, fail, printable, write
from tapfan.control import ControlClient, ControlError, ControlTimeoutError
from tapfan.program import EXIT_FAILED, EXIT_USAGE, CannotRunError
from tapfan.reach import Reach

EXIT_CONFLICT = 3
EXIT_CODES = "Exit codes: 0 done, 1 no answer from the router, or it failed, 2 a bad argument, value or configuration."
CHANGE_EXIT_CODES = (
    "Exit codes: 0 done, 1 no answer from the router, or it failed, 2 a bad argument or configuration, or refused, "
    "3 --if-version is not the version in force; nothing changed."
)
WAIT_EXIT_CODES = CHANGE_EXIT_CODES.replace("it failed,", "it failed, or --wait ended too soon,", 1)
_CAN_BE_FORCED = "it can be forced"  # as the router says it to all clients
FAILURES = {"internal", "not_saved", "rate_limited"}  # refusals that are no fault of the request
NEXT = {  # what the router does not say itself, as other clients have other ways
    "forbidden": "use a key of the role admin",
    "not_saved": "see the router's log, and whether its disk is full",
    "rate_limited": "try again in a second",
    "unknown_version": "see `tapfan history`",
    "version_conflict": "see `tapfan history`, and ask again with the version in force",
}

Render = Callable[[dict[str, Any], Console], None]


@contextmanager
def asking(reach: Reach) -> Iterator[ControlClient]:
    """A client of the router that is configured; what the router refuses, or its silence, ends the command."""
    try:
        with ControlClient.of(reach) as client:
            yield client
    except CannotRunError as error:
        fail(str(error), EXIT_USAGE)
    except ControlTimeoutError as error:
        fail(str(error), EXIT_FAILED)
    except ControlError as error:
        fail(refusal(error), exit_code(error.code))


def change(client: ControlClient, command: str, **arguments: Any) -> dict[str, Any]:
    """The result of a change, which is asked for once more when there is no reply: it is made once.

    Raises ControlError, ControlTimeoutError.
    """
    try:
        return client.change(command, **arguments)
    except ControlTimeoutError as error:
        hint = "before you try again, see in `tapfan history` whether it was made after all"
        raise ControlTimeoutError(f"{error}; {hint}") from error


def refusal(error: ControlError) -> str:
    """What was refused, why, and what to do next."""
    message = printable(error.message).replace(_CAN_BE_FORCED, "`--force` does it even so")
    return f"{message}; {NEXT[error.code]}" if error.code in NEXT else message


def exit_code(code: str) -> int:
    """That of the command which was refused so."""
    if code == "version_conflict":
        return EXIT_CONFLICT
    return EXIT_FAILED if code in FAILURES else EXIT_USAGE


def show(result: dict[str, Any], as_json: bool, render: Render) -> None:
    """Print a result: as JSON for programs, or as a table for people."""
    if as_json:
        with suppress(OutputClosedError):
            write(f"{json.dumps(result)}\n")
    else:
        # What is in brackets or between colons is part of an address, not rich's markup.
        render(result, Console(markup=False, emoji=False, highlight=False))
