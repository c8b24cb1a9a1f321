"""Outputs that are shown anew again and again: on a screen of its own, or in blocks where there is none."""

import sys
from collections.abc import Iterable

from rich.console import Console

from tapfan.cli.invocation import write

PERIOD_S = 2.0  # between two blocks


def console() -> Console:
    """Standard output; what is in brackets or between colons is part of an address, not rich's markup."""
    return Console(markup=False, emoji=False, highlight=False)


def has_screen(shown: Console) -> bool:
    """Whether there is a terminal that can show something anew in its place."""
    return shown.is_terminal and not shown.is_dumb_terminal


def has_keyboard() -> bool:
    """Whether somebody can press keys."""
    return sys.stdin is not None and sys.stdin.isatty()


def write_block(lines: Iterable[str]) -> None:
    """Write them, and an empty line between this block and the next one. Raises OutputClosedError."""
    write("\n".join((*lines, "", "")))
