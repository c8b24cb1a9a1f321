"""Many places of a buffer at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapfan.batch import Column

_FIRST_LOOK = 64


def words_at(buffer: NDArray[np.uint8], at: Column, count: int, word: np.dtype[Any]) -> Column:
    """`count` words from each place on, of shape (n, count)."""
    size = count * word.itemsize
    windows = np.ndarray((len(buffer) - size + 1,), f"V{size}", buffer, strides=(1,))
    return windows[at].view(word).reshape(-1, count)


def repeats(buffer: NDArray[np.uint8], at: int, step: int, most: int, word: np.dtype[Any]) -> int:
    """How many words, of the `most` that are `step` bytes apart from `at` on, are the same as the first."""
    count = min(most, _FIRST_LOOK)
    while True:
        words = np.ndarray((count,), word, buffer, at, (step,))
        other = words != words[0]
        if other.any():
            return int(other.argmax())
        if count == most:
            return count
        count = min(most, 8 * count)
