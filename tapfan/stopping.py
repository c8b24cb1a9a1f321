"""SIGTERM and SIGINT as a flag that the loops read."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """True once a signal has asked the process to stop."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        """Ask for the stop."""
        self._asked = True

    def __bool__(self) -> bool:
        return self._asked


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A Stop that SIGTERM or SIGINT sets; the handlers that were there come back at the end."""
    stop = Stop()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        stop.ask()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
