"""`--wait`: until what writers were given is stored, which is all that they wait for in drain or maint."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from tapfan.cli.invocation import asked_to_stop, fail, printable
from tapfan.control import ControlClient, ControlTimeoutError
from tapfan.program import EXIT_FAILED

_POLL_S = 0.2
_TELL_S = 5.0  # how often the count alone is told anew


def wait(client: ControlClient, names: Sequence[str], timeout_s: float | None) -> None:
    """Return when nothing of the writers is in flight, and say meanwhile what is; not in time ends the command.

    So does Ctrl-C. Neither takes the drain back. A router that does not answer is waited for: it may be restarting.
    """
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    told = _Told()
    waits_for = "the router's answer"
    with asked_to_stop() as stop:
        while True:
            try:
                writers = client.request("status")["writers"]
            except ControlTimeoutError:
                told.tell("the router does not answer; waiting on", "silence")
            else:
                ready = [name for name in names if name in writers and writers[name]["state"] == "ready"]
                if ready:
                    fail(f"{', '.join(ready)} was made ready again meanwhile; see `tapfan history`", EXIT_FAILED)
                left = [name for name in names if name in writers and writers[name]["in_flight"]]
                if not left:
                    return
                waits_for = "; ".join(in_flight(name, writers[name]) for name in left)
                told.tell(f"waiting for {waits_for}", "; ".join(_trouble(name, writers[name]) for name in left))
            if stop or (deadline_s is not None and time.monotonic() >= deadline_s):
                why = "stopped waiting" if stop else f"waited {timeout_s:g} s"
                fail(
                    f"{why} for {waits_for}; it goes on draining, and `tapfan status` shows how far it is", EXIT_FAILED
                )
            time.sleep(_POLL_S)


def in_flight(name: str, writer: Mapping[str, Any]) -> str:
    """How much of a writer is not stored yet, and what holds it up."""
    count = writer["in_flight"]
    trouble = _trouble(name, writer)
    return f"{name}: {count:,} {'record' if count == 1 else 'records'} in flight{trouble and ', ' + trouble}"


def _trouble(name: str, writer: Mapping[str, Any]) -> str:
    if writer["health"] == "up":
        return ""
    return f"{name} is {writer['health']}: {printable(writer['reason'] or 'its process reports no more')}"


class _Told:
    """Says a line when what it is about changes, and otherwise now and then."""

    def __init__(self) -> None:
        self._about: str | None = None
        self._line = ""
        self._next_s = 0.0

    def tell(self, line: str, about: str) -> None:
        """Say the line on standard error, if there is something new in it."""
        now_s = time.monotonic()
        if about != self._about or (line != self._line and now_s >= self._next_s):
            typer.echo(f"tapfan: {line}", err=True)
            self._about, self._line, self._next_s = about, line, now_s + _TELL_S
