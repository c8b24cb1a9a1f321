"""The part of a capture file that is in memory, for numpy to look at."""

import numpy as np

from listener.decode.frames import SPARE_BYTES
from listener.files.errors import CaptureFileError
from listener.files.source import Source

CHUNK_BYTES = 1 << 22


class Buffer:
    """Bytes from `start` to `end` of `array` are there and not yet used; behind them are SPARE_BYTES more.

    `name`: the file's, for messages; `cut_at`: where in the file that begins whose end is missing, once that is known.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name = name
        self._source = source
        self.array = np.zeros(CHUNK_BYTES + SPARE_BYTES, np.uint8)
        self.start = self.end = 0
        self._gone = 0  # bytes of the file before the array's first
        self.cut_at: int | None = None

    def fill(self, need: int) -> bool:
        """Have `need` bytes, or else return False: the file ends before.

        What was there may move. As much is read as there is without waiting for more than is needed.
        """
        if self.end - self.start >= need:
            return True
        limit = max(need, CHUNK_BYTES)
        self._move(limit + SPARE_BYTES)
        room = self.array.data
        source = self._source
        while not source.ended and self.end < limit and (self.end < need or source.is_ready()):
            self.end += source.read_into(room[self.end : limit])
        return self.end >= need

    def _move(self, size: int) -> None:
        """Begin the array with what is not yet used, in at least `size` bytes."""
        rest = self.array[self.start : self.end]
        if size > len(self.array):
            self.array = np.zeros(size, np.uint8)
        self.array[: len(rest)] = rest
        self._gone += self.start
        self.start, self.end = 0, len(rest)

    def skip(self, count: int) -> bool:
        """Leave out `count` bytes; False when the file ends before."""
        while count > self.end - self.start:
            count -= self.end - self.start
            self.start = self.end
            if not self.fill(1):
                return False
        self.start += count
        return True

    def offset(self, at: int) -> int:
        """Where in the file, unpacked if it is packed, a place in the array is."""
        return self._gone + at

    def finish(self, cut_at: int | None = None) -> None:
        """Note that the file has ended, and whether it is cut. Raises CaptureFileError if it is damage that ended it.

        `cut_at`: where in the file that begins whose end is missing, if a part of it is skipped already.
        """
        if self._source.damage:
            raise self.error(self._source.damage, self.end)
        if cut_at is None and (self.start < self.end or self._source.cut):
            cut_at = self.offset(self.start)
        self.cut_at = cut_at

    def error(self, problem: str, at: int | None = None) -> CaptureFileError:
        """To be raised. `at`: the place in the array."""
        place = "" if at is None else f" at byte {self.offset(at)}"
        return CaptureFileError(f"{self.name}: {problem}{place}")
