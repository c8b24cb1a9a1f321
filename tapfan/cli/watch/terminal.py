"""The terminal: keys without Enter and without echo, a screen of its own, and all as it was afterwards."""

import os
import termios
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

# The alternate screen, without a cursor, and pastes in brackets (xterm's control sequences).
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?2004h"
_LEAVE = "\x1b[0m\x1b[?2004l\x1b[?25h\x1b[?1049l"
_CLEAR = "\x1b[0m\x1b[2J"
_MAX_READ = 4096
_SMALLEST = 2  # columns and lines; some terminals say that they have none


class TerminalGoneError(Exception):
    """Raised when the terminal is closed, as its window was, or the connection to it."""


class Terminal:
    """A keyboard and an output, as file descriptors; `console`: what knows its colours."""

    def __init__(self, keyboard: int, output: int, console: Console) -> None:
        self.keyboard = keyboard
        self._output = output
        self._console = console
        self._before = termios.tcgetattr(keyboard)
        self._shown: list[Text] = []

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def enter(self) -> None:
        """Take the terminal over. Ctrl-C and Ctrl-Z stay signals; Ctrl-S stops no output."""
        attributes = termios.tcgetattr(self.keyboard)
        attributes[0] &= ~(termios.IXON | termios.ICRNL)
        attributes[3] &= ~(termios.ICANON | termios.ECHO)
        attributes[6][termios.VMIN], attributes[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self.keyboard, termios.TCSANOW, attributes)
        self._write(_ENTER)
        self.forget()

    def leave(self) -> None:
        """Give it back as it was; what was typed meanwhile is dropped, as it was meant for the screen."""
        with suppress(OSError, termios.error):  # it may be gone
            termios.tcsetattr(self.keyboard, termios.TCSANOW, self._before)
            termios.tcflush(self.keyboard, termios.TCIFLUSH)
        with suppress(TerminalGoneError):
            self._write(_LEAVE)

    def forget(self) -> None:
        """Draw everything anew the next time: nobody knows what is on the screen."""
        self._shown = []

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as of now. Raises TerminalGoneError."""
        try:
            size = os.get_terminal_size(self._output)
        except OSError as error:
            raise TerminalGoneError from error
        return max(size.columns or 80, _SMALLEST), max(size.lines or 24, _SMALLEST)

    def typed(self) -> bytes:
        """What was typed, once there is something; nothing when the terminal is gone."""
        with suppress(OSError):
            return os.read(self.keyboard, _MAX_READ)
        return b""

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines; only those that differ from what is shown are sent. Raises TerminalGoneError."""
        is_new = len(lines) != len(self._shown)
        changed = [
            f"\x1b[{number};1H\x1b[0m\x1b[2K{self._rendered(line)}"
            for number, line in enumerate(lines, start=1)
            if is_new or line != self._shown[number - 1]
        ]
        if changed:
            self._write((_CLEAR if is_new else "") + "".join(changed))
        self._shown = list(lines)

    def _rendered(self, line: Text) -> str:
        with self._console.capture() as captured:
            self._console.print(line, end="", soft_wrap=True)
        return captured.get()

    def _write(self, text: str) -> None:
        data = memoryview(text.encode(errors="replace"))
        try:
            while data:
                data = data[os.write(self._output, data) :]
        except OSError as error:
            raise TerminalGoneError from error
