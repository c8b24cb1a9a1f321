"""Many short texts in one piece of memory, looked at in bulk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tapfan.batch import Column

_PADDING = 64  # so that a window of up to so many bytes can be looked at wherever a text begins
_WORD_BYTES = 8
_WIDEST = 48


def _own_bits(width: int) -> Column:
    """By how long a text is: the bits that are its own in words of so many bytes."""
    return np.where(np.arange(width) < np.arange(width + 1)[:, None], 255, 0).astype(np.uint8).view(np.uint64)


_OWN_BITS = {width: _own_bits(width) for width in range(_WORD_BYTES, _WIDEST + 1, _WORD_BYTES)}


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts in the order in which they lie in `data`; text i is `data[starts[i]:ends[i]]`. What is between is no text.

    `data` has 64 bytes more than the last text.
    """

    data: Column
    starts: Column
    ends: Column

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Self:
        """These texts."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        ends = np.cumsum(lengths)
        return cls(_padded(texts), ends - lengths, ends)

    @classmethod
    def within(cls, parts: Sequence[tuple[bytes, Column, Column]]) -> Self:
        """Texts that lie in several pieces of data: each with where its texts start and end."""
        offsets = np.cumsum([0, *(len(data) for data, _, _ in parts)]).tolist()
        starts = [starts + offset for (_, starts, _), offset in zip(parts, offsets, strict=False)]
        ends = [ends + offset for (_, _, ends), offset in zip(parts, offsets, strict=False)]
        return cls(_padded(data for data, _, _ in parts), np.concatenate(starts), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> Column:
        """How many bytes each has."""
        return self.ends - self.starts

    def chosen(self, rows: Column) -> Self:
        """The texts of a mask, or of ascending places."""
        return type(self)(self.data, self.starts[rows], self.ends[rows])

    def bytes_of(self, rows: Column | slice) -> list[bytes]:
        """These texts, one by one."""
        data = self.data.data
        places = zip(self.starts[rows].tolist(), self.ends[rows].tolist(), strict=True)
        return [bytes(data[start:end]) for start, end in places]

    def begin_with(self, prefix: bytes) -> Column:
        """A mask of those that do; the prefix has at most eight bytes."""
        wanted = np.frombuffer(prefix, np.uint8)
        begin = self.windows(self.starts, _WORD_BYTES)[:, : len(prefix)]
        found: Column = (begin == wanted).all(axis=1)
        return found & (self.lengths >= len(prefix))

    def windows(self, at: Column, width: int) -> Column:
        """The bytes from each of the places on: shape (n, width)."""
        all_of_them: Column = np.ndarray(len(self.data) - width + 1, f"V{width}", self.data, strides=(1,))
        chosen: Column = all_of_them[at]
        return chosen.view(np.uint8).reshape(len(at), width)

    def words(self, starts: Column, ends: Column, width: int) -> Column:
        """What is between the places, with NUL behind it, as words: shape (n, width / 8); none of it is longer."""
        own: Column = _OWN_BITS[width][ends - starts]
        own &= self.windows(starts, width).view(np.uint64)
        return own

    def next(self, character: bytes) -> Column:
        """For each text, the place of the first such character behind its start, which may be behind its end."""
        places = np.append(np.flatnonzero(self.data == character[0]), len(self.data))
        return places[np.searchsorted(places, self.starts)]


def _padded(texts: Iterable[bytes]) -> Column:
    return np.frombuffer(b"".join([*texts, bytes(_PADDING)]), np.uint8)
