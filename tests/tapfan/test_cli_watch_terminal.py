"""The terminal that a watch takes over and gives back."""

import contextlib
import os
import pty
import termios
from collections.abc import Iterator
from dataclasses import dataclass

import pyte
import pytest
from rich.console import Console
from rich.text import Text

from tapfan.cli.watch.terminal import Terminal

_END = b"\0the end"
ENTERS, LEAVES = "\x1b[?1049h", "\x1b[?1049l"


@dataclass(frozen=True)
class Pair:
    """Both ends of a terminal."""

    person: int
    command: int

    def output(self) -> str:
        """What was written since the last call, however many reads it takes."""
        os.write(self.command, _END)
        written = b""
        while not written.endswith(_END):
            written += os.read(self.person, 65_536)
        return written.removesuffix(_END).decode()

    def terminal(self) -> Terminal:
        """Not yet taken over; with all colours."""
        console = Console(force_terminal=True, color_system="truecolor", markup=False, emoji=False, highlight=False)
        return Terminal(self.command, self.command, console)


@pytest.fixture
def pair() -> Iterator[Pair]:
    person, command = pty.openpty()
    yield Pair(person, command)
    for end in (person, command):
        with contextlib.suppress(OSError):
            os.close(end)


def test_it_is_given_back_as_it_was_whatever_happens(pair: Pair) -> None:
    before = termios.tcgetattr(pair.command)
    during: list[int] = []

    def fail_inside() -> None:
        with pair.terminal():
            during.append(termios.tcgetattr(pair.command)[3])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert not during[0] & (termios.ECHO | termios.ICANON)
    assert during[0] & termios.ISIG, "Ctrl-C and Ctrl-Z stay signals"
    assert termios.tcgetattr(pair.command) == before
    output = pair.output()
    assert output.startswith(ENTERS)
    assert output.endswith(LEAVES)
    assert output.index("\x1b[?25l") < output.index("\x1b[?25h")


def test_what_was_typed_for_the_screen_does_not_get_to_the_shell(pair: Pair) -> None:
    with pair.terminal() as terminal:
        os.write(pair.person, b"j")
        assert terminal.typed() == b"j"
        os.write(pair.person, b"ddd")
    os.write(pair.person, b"ls\n")
    assert os.read(pair.command, 100) == b"ls\n"


def test_only_lines_that_changed_are_sent(pair: Pair) -> None:
    with pair.terminal() as terminal:
        terminal.draw([Text("first"), Text("second"), Text("third", "bold red")])
        pair.output()
        terminal.draw([Text("first"), Text("other"), Text("third", "bold red")])
        output = pair.output()
        assert "other" in output
        assert "first" not in output
        assert "third" not in output
        terminal.forget()
        terminal.draw([Text("first"), Text("other"), Text("third", "bold red")])
        assert "first" in pair.output()


def test_lines_as_wide_as_the_screen_stand_where_they_belong(pair: Pair) -> None:
    screen = pyte.Screen(10, 3)
    stream = pyte.Stream(screen)
    with pair.terminal() as terminal:
        terminal.draw([Text("0123456789"), Text("[b]:smile:"), Text("abcdefghij", "reverse")])
        stream.feed(pair.output())
        assert screen.display == ["0123456789", "[b]:smile:", "abcdefghij"]
        terminal.draw([Text("short"), Text("[b]:smile:"), Text("")])
        stream.feed(pair.output())
        assert screen.display == ["short     ", "[b]:smile:", " " * 10]


def test_a_terminal_that_is_gone_ends_the_input_and_is_no_error_at_the_end(pair: Pair) -> None:
    with pair.terminal() as terminal:
        os.close(pair.person)
        assert terminal.typed() == b""


def test_a_terminal_without_a_size_has_a_usual_one(pair: Pair) -> None:
    assert pair.terminal().size == (80, 24)
