"""How the commands show things to people: tables that are never cut, and values in few letters."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from tapfan.cli.invocation import printable

_UNLIMITED = 1000  # characters; more than any table of counts has


def plain_table(*columns: str) -> Table:
    """A table without lines, as `docker ps` prints it; columns that begin with ">" are aligned to the right."""
    made = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return made


def print_whole(shown: Table, console: Console) -> None:
    """Print the table as wide as it is: a terminal too narrow breaks its lines, but no count is ever cut."""
    shown.width = console.measure(shown, options=console.options.update_width(_UNLIMITED)).maximum
    console.print(shown, soft_wrap=True)


def say(text: str, console: Console) -> None:
    """One line, however long; it may quote what a Redis or an operator said."""
    console.print(printable(text), soft_wrap=True)


def counted(by_name: Mapping[str, int]) -> str:
    """Counts by what they are of."""
    return ", ".join(f"{what} {count:,}" for what, count in by_name.items())


def weight_text(weight: float) -> str:
    """A weight, with all its digits and no more."""
    return f"{weight:.15g}"


def percent(part: float | None) -> str:
    """A part of 1."""
    return "-" if part is None else f"{part:.1%}"
