"""Texts and numbers that fit: made printable, cut to a width, or short."""

from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len, set_cell_size

from tapfan.cli.invocation import printable

_MAX_TEXT = 1000  # characters; no line shows more
_THOUSAND_UNITS = ("", "k", "M", "G", "T", "P")
_CUT = "~"


def cleaned(value: Any, *, ascii_only: bool) -> Any:
    """What came from the router, with no text in it that a terminal would obey, or, if asked, could not show."""
    if isinstance(value, str):
        text = printable(value[:_MAX_TEXT])
        return "".join(each if each.isascii() else "?" for each in text) if ascii_only else text
    if isinstance(value, Mapping):
        return {
            cleaned(key, ascii_only=ascii_only): cleaned(entry, ascii_only=ascii_only) for key, entry in value.items()
        }
    return [cleaned(entry, ascii_only=ascii_only) for entry in value] if isinstance(value, list | tuple) else value


def clipped(text: str, width: int) -> str:
    """The text in at most so many cells; what is missing at its end is marked."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + _CUT if width > 0 else ""


def clipped_inside(text: str, width: int) -> str:
    """The same for a name: names of one kind begin alike and differ at the end, so its middle is missing."""
    if len(text) <= width:
        return text
    end = max(0, width - 1) // 2
    return text[: max(0, width - 1 - end)] + _CUT[:width] + text[len(text) - end :]


def weight(value: float) -> str:
    """A weight in at most seven characters, where it is not very large or small."""
    return f"{value:.6g}"


def percent(part: float | None) -> str:
    """A part of one."""
    return "-" if part is None else f"{part:.1%}"


def rate(records_s: float | None) -> str:
    """Records a second, without the unit."""
    if records_s is None:
        return "-"
    return f"{records_s:.1f}" if 0 < records_s < 9.95 else count(round(records_s))


def count(number: int) -> str:
    """A count in full up to 99,999, and in three digits with a unit beyond."""
    return f"{number:,}" if number < 100_000 else _with_unit(number, 1000)


def size(number: int | None) -> str:
    """Bytes as 51.5M; K is 1024 of them."""
    if number is None:
        return "-"
    return f"{number}B" if number < 1024 else _with_unit(number, 1024).upper()


def memory(used: int | None, most: int | None) -> str:
    """Used of at most; without a limit the first alone."""
    return f"{size(used)}/{size(most)}" if most else size(used)


def milliseconds(value: float | None) -> str:
    """A round trip."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 9.995 else f"{value:,.0f}"


def left(duration_s: float) -> str:
    """What is left of a time, to the second."""
    minutes, seconds = divmod(max(0, round(duration_s)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def _with_unit(number: float, base: int) -> str:
    unit = 0
    while number >= base * 0.9995 and unit < len(_THOUSAND_UNITS) - 1:
        number, unit = number / base, unit + 1
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f}{_THOUSAND_UNITS[unit]}"
