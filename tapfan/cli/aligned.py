"""Tables of text that come row by row: without lines, aligned, and never cut."""

from collections.abc import Sequence


class Aligned:
    """Columns under titles, as wide as their widest text so far, so that rows can be shown before all are known.

    Columns whose title begins with ">" are aligned to the right. `widths`: how wide each is at least.
    """

    def __init__(self, *titles: str, widths: Sequence[int] | None = None) -> None:
        self._titles = [title.removeprefix(">") for title in titles]
        self._sides = [">" if title.startswith(">") else "<" for title in titles]
        self._widths = list(map(max, map(len, self._titles), widths or [0] * len(titles)))
        self._begun = False

    def lines(self, *columns: Sequence[str]) -> list[str]:
        """The next rows, of columns of equal length; before the first ones, the titles."""
        longest = (max(map(len, column), default=0) for column in columns)
        self._widths = list(map(max, self._widths, longest))
        row = " ".join(f"{{:{side}{width}}}" for side, width in zip(self._sides, self._widths, strict=True))
        lines = [row.format(*texts).rstrip() for texts in zip(*columns, strict=True)]
        if not self._begun:
            self._begun = True
            lines.insert(0, row.format(*self._titles).rstrip())
        return lines
