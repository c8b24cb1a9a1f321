"""Tables that fit: the columns that matter most, as far as there is room."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from tapfan.cli.watch.words import clipped, clipped_inside

_MARK = 2  # cells, before each row
_MIN_NAME = 8


@dataclass(frozen=True)
class Column:
    """`rank`: columns of higher numbers are the first to be left out. The first column is the name, always there.

    `least`: how wide it is at least, so that columns do not move whenever a number gets longer.
    """

    title: str
    rank: int
    is_right: bool = True
    least: int = 0  # cells


@dataclass(frozen=True)
class Row:
    """The cells' texts, in the order of the columns; `styles`: of some of them, by their column's number."""

    cells: Sequence[str]
    styles: dict[int, str]
    is_chosen: bool = False


def table(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[Text]:
    """The titles and the rows, none of them wider than that."""
    widths = [
        max(column.least, cell_len(column.title), *(cell_len(row.cells[number]) for row in rows))
        for number, column in enumerate(columns)
    ]
    name = min(widths[0], max(_MIN_NAME, cell_len(columns[0].title)))
    room = width - _MARK - name
    shown = {0}
    for number in sorted(range(1, len(columns)), key=lambda number: columns[number].rank):
        if widths[number] + 1 > room:
            break
        shown.add(number)
        room -= widths[number] + 1
    widths[0] = min(widths[0], name + max(0, room))
    numbers = [number for number in range(len(columns)) if number in shown]
    titles = Text("  ", "underline")
    for number in numbers:
        titles.append(_aligned(columns[number], columns[number].title, widths[number], number == numbers[-1]))
    return [_fit(titles, width)] + [_fit(_line(columns, row, widths, numbers), width) for row in rows]


def _line(columns: Sequence[Column], row: Row, widths: Sequence[int], numbers: Sequence[int]) -> Text:
    line = Text("> " if row.is_chosen else "  ", "bold reverse" if row.is_chosen else "")
    for number in numbers:
        cell = row.cells[number]
        cell = clipped_inside(cell, widths[number]) if number == 0 else cell
        line.append(
            _aligned(columns[number], cell, widths[number], number == numbers[-1]), row.styles.get(number) or None
        )
    return line


def _aligned(column: Column, text: str, width: int, is_last: bool) -> str:
    padding = " " * (width - cell_len(text))
    text = padding + text if column.is_right else text + padding
    return text if is_last else f"{text} "


def _fit(line: Text, width: int) -> Text:
    """No wider than that, whatever the terminal."""
    if line.cell_len > width:
        return Text(clipped(line.plain, width), line.style)
    return line
