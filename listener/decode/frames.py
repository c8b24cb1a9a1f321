"""Packets as they lie in a buffer, before anything in them is looked at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listener.decode.protocols import LinkType
from tapfan.batch import Column

# A packet's headers may be read past its end: so many bytes after the last one belong to the buffer, too.
SPARE_BYTES = 1024


@dataclass(frozen=True, eq=False)
class Frames:
    """Packets of one link type, in the order in which they were captured; all columns have shape (n,).

    `at`: where in the buffer each begins, int64; `kept`: how many of its bytes are there, `length`: how many it had on
    the wire, both int64; `timestamp`: ns since the epoch, uint64.
    """

    buffer: NDArray[np.uint8]
    link: LinkType
    at: Column
    kept: Column
    length: Column
    timestamp: Column

    def __len__(self) -> int:
        return len(self.at)
