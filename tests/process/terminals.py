"""A command on a terminal of its own: a pty whose Ctrl-C is a real one."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

import pyte

from tests.process.running import DEADLINE_S, ROOT

_PAUSE_S = 0.1
CTRL_C = "\x03"


class Terminal:
    """Runs a command on a terminal; `output`: all that it has shown so far."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], columns: int, lines: int = 24) -> None:
        self.output = ""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self._screen)
        self._fed = 0  # characters of the output that the screen has got
        self._master, slave = pty.openpty()
        self._set_size(columns, lines)
        size = {"COLUMNS", "LINES"}
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *command],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if name not in size} | dict(environment),
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    @property
    def screen(self) -> list[str]:
        """What a person sees now, line by line."""
        self._stream.feed(self.output[self._fed :])
        self._fed = len(self.output)
        return [line.rstrip() for line in self._screen.display]

    @property
    def attributes(self) -> list[object]:
        """How the terminal treats what is typed."""
        return list(termios.tcgetattr(self._master))

    def resize(self, columns: int, lines: int) -> None:
        """Make the window as large; the command gets SIGWINCH."""
        self._set_size(columns, lines)
        self._screen.resize(lines, columns)

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def pid(self) -> int:
        """The command's process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the command has ended."""
        return self._process.poll() is not None

    def show_until(self, condition: Callable[[], object]) -> None:
        """Read on until the condition is true. Raises AssertionError at the deadline, or when the command has ended."""
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end, self.output
            assert self._read(), self.output

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    def signal(self, number: int) -> None:
        """Send a signal to the command."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait until the command has ended by itself, and give its exit code."""
        while self._read():
            pass
        return self._process.wait(DEADLINE_S)

    def close(self) -> None:
        """End it, if it has not."""
        self._process.kill()
        self._process.wait(DEADLINE_S)
        os.close(self._master)

    def _read(self) -> bool:
        """Whether there may be more."""
        if select.select([self._master], [], [], _PAUSE_S)[0]:
            with contextlib.suppress(OSError):  # EIO: nobody has it open any more
                self.output += os.read(self._master, 65_536).decode()
                return True
            return False
        return True
