"""Signals as bytes that can be waited for together with everything else."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDS = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_WAITED_FOR = (*ENDS, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)


class Signals:
    """`readable`: the file descriptor to wait for; `writable`: where others may write a 0 to end the wait."""

    def __init__(self) -> None:
        self.readable, self.writable = os.pipe()
        os.set_blocking(self.readable, False)
        os.set_blocking(self.writable, False)

    def received(self) -> set[signal.Signals]:
        """Those that came since the last call."""
        with suppress(BlockingIOError):
            return {signal.Signals(number) for number in os.read(self.readable, 4096) if number}
        return set()


@contextmanager
def caught() -> Iterator[Signals]:
    """Catch those that matter to a screen. A second one that ends the command raises KeyboardInterrupt.

    The latter is for an output that takes nothing more: nobody can wait for it.
    """
    signals = Signals()
    ended = 0

    def note(number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended += number in ENDS
        if ended > 1:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in _WAITED_FOR}
    fd_before = signal.set_wakeup_fd(signals.writable, warn_on_full_buffer=False)
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in before.items():
            signal.signal(number, handler)


def suspend() -> None:
    """Stop, as Ctrl-Z would without a handler; returns when the shell lets it go on."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    try:
        os.kill(os.getpid(), signal.SIGTSTP)
    finally:
        signal.signal(signal.SIGTSTP, handler)
