"""Many short texts in one piece of memory, looked at in bulk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tapfan.batch import Column

_PADDING = b" " * 64  # so that a window of up to so many bytes can be looked at wherever a text begins
_WORD_BYTES = 8
_WIDEST = 48


def _own_bits(width: int) -> Column:
    """By how long a text is: the bits that are its own in words of so many bytes."""
    return np.where(np.arange(width) < np.arange(width + 1)[:, None], 255, 0).astype(np.uint8).view(np.uint64)


_OWN_BITS = {width: _own_bits(width) for width in range(_WORD_BYTES, _WIDEST + 1, _WORD_BYTES)}


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts one after the other in `data`, and some bytes more: text i is `data[starts[i]:ends[i]]`."""

    data: Column
    starts: Column
    ends: Column

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Self:
        """These texts."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        ends = np.cumsum(lengths)
        return cls(np.frombuffer(b"".join([*texts, _PADDING]), np.uint8), ends - lengths, ends)

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
        """A mask of those that do; the prefix has at most 16 bytes."""
        return self.have(self.starts, prefix) & (self.lengths >= len(prefix))

    def have(self, at: Column, text: bytes) -> Column:
        """A mask of those places from which on there is this text, of at most 16 bytes."""
        found = np.ones(len(at), bool)
        for start in {0, max(0, len(text) - _WORD_BYTES)}:
            part = text[start : start + _WORD_BYTES]
            own = np.uint64(256 ** len(part) - 1)
            words: Column = self.windows(at + start, _WORD_BYTES).view(np.uint64)[:, 0]
            found &= words & own == int.from_bytes(part, "little")
        return found

    def windows(self, at: Column, width: int) -> Column:
        """The bytes from each of the places on: shape (n, width)."""
        all_of_them: Column = np.ndarray(len(self.data) - width + 1, f"V{width}", self.data, strides=(1,))
        chosen: Column = all_of_them[at]
        return chosen.view(np.uint8).reshape(len(at), width)

    def words(self, starts: Column, ends: Column, width: int) -> Column:
        """What is between the places, with NUL behind it, as words: shape (n, width / 8); none of it is longer."""
        lengths = ends - starts
        words: Column = self.windows(starts, width).view(np.uint64)
        words &= _OWN_BITS[width][lengths[:1] if (lengths == lengths[:1]).all() else lengths]
        return words

    def next(self, character: bytes) -> Column:
        """For each text, the place of the first such character behind its start, which may be behind its end."""
        is_there = self.data == character[0]
        if not is_there.any():
            return np.full(len(self.starts), len(self.data))
        places = np.append(np.flatnonzero(is_there), len(self.data))
        return places[np.searchsorted(places, self.starts)]
