"""Rows sorted and joined, however many: what exceeds memory is spilled to a file as sorted runs, which are merged."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Self

import numpy as np

from tapfan.batch import Column
from tapfan.reader.query import ReaderError

_LEAST_PIECE = 256  # rows of a run that are read at once

Key = tuple[int, ...]


class Runs:
    """Takes structured rows in any order, and gives them back sorted; a context manager.

    `settle`: sorts rows by their key and makes those of one key to one. `key`: the columns of the rows' key, the
    most significant first, in whose order `settle` sorts. `held`: how many rows are held in memory, about. `last`: how
    many are wanted, of the end; None: all.
    Raises ReaderError where the disk does not take what is spilled.
    """

    def __init__(
        self,
        settle: Callable[[Column], Column],
        key: Callable[[Column], list[Column]],
        held: int,
        last: int | None = None,
    ) -> None:
        self._settle = settle
        self._key = key
        self._held = held
        self._last = last
        self._waiting: list[Column] = []
        self._count = 0
        self._file: IO[bytes] | None = None
        self._runs: list[tuple[int, int]] = []  # where each begins in the file, and where it ends

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # of what could not be written, which nobody wants any more
                self._file.close()

    def add(self, rows: Column) -> None:
        """Take rows."""
        self._waiting.append(rows)
        self._count += len(rows)
        if self._count >= self._held:
            settled = self._settled()
            if len(settled) > self._held // 2:
                self._spill(settled)
            else:
                self._waiting, self._count = [settled], len(settled)

    def merged(self) -> Iterator[Column]:
        """The rows that are wanted, sorted, each key once, in pieces that are not empty; nothing can be added then."""
        if self._file is None:
            if self._count:
                yield self._settled()
            return
        if self._count:
            self._spill(self._settled())
        beyond = 0 if self._last is None else sum(map(len, self._merged_runs(self._file))) - self._last
        for rows in self._merged_runs(self._file):
            if beyond < len(rows):
                yield rows[max(0, beyond) :]
            beyond -= len(rows)

    def _merged_runs(self, file: IO[bytes]) -> Iterator[Column]:
        """All rows of the runs, sorted, each key once."""
        piece = max(_LEAST_PIECE, self._held // len(self._runs))
        windows = [_Window(file, place, self._dtype, piece) for place in self._runs]
        while windows := [window for window in windows if window.fill()]:
            # Above the least of their ends, a window may lack rows that are in the file still.
            bound = min((self._last_key(window.rows) for window in windows if not window.is_last), default=None)
            taken = [
                window.take(len(window.rows) if bound is None else self._reach(window.rows, bound))
                for window in windows
            ]
            yield self._settle(np.concatenate(taken))

    def _settled(self) -> Column:
        rows = self._settle(np.concatenate(self._waiting))
        if self._last is not None and self._last < len(rows):
            rows = rows[len(rows) - self._last :].copy()
        self._waiting, self._count = [], 0
        return rows

    def _spill(self, rows: Column) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="tapfan-")  # noqa: SIM115 # closed at the exit
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(np.ascontiguousarray(rows).data)
            self._file.flush()
        except OSError as error:
            raise ReaderError(f"cannot spill what exceeds memory: {error}; TMPDIR can name another folder") from error
        self._dtype = rows.dtype
        self._runs.append((start, start + rows.nbytes))

    def _last_key(self, rows: Column) -> Key:
        return tuple(int(column[0]) for column in self._key(rows[-1:]))

    def _reach(self, rows: Column, bound: Key) -> int:
        """How many of sorted rows have keys up to the bound."""
        low, high = 0, len(rows)
        for column, value in zip(self._key(rows), bound, strict=True):
            part = column[low:high]
            number = part.dtype.type(value)
            high = low + int(np.searchsorted(part, number, "right"))
            low += int(np.searchsorted(part, number))
        return high


class _Window:
    """The next rows of one run."""

    def __init__(self, file: IO[bytes], place: tuple[int, int], dtype: np.dtype[np.void], piece: int) -> None:
        self._file = file
        self._at, self._end = place
        self._piece_bytes = piece * dtype.itemsize
        self.rows: Column = np.empty(0, dtype)

    @property
    def is_last(self) -> bool:
        """Whether all rows of the run that are not taken are here."""
        return self._at == self._end

    def fill(self) -> bool:
        """Read on where none is left; gives whether there are any."""
        if not len(self.rows) and not self.is_last:
            self._file.seek(self._at)
            data = self._file.read(min(self._piece_bytes, self._end - self._at))
            self._at += len(data)
            self.rows = np.frombuffer(data, self.rows.dtype)
        return bool(len(self.rows))

    def take(self, count: int) -> Column:
        """The next rows, which are then gone."""
        taken, self.rows = self.rows[:count], self.rows[count:]
        return taken
