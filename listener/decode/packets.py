"""Packets from their network header on: what all link types, and the kernel's ring, are brought to."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tapfan.batch import Column


@dataclass(frozen=True, eq=False)
class Packets:
    """All columns have shape (n,).

    `protocol`: the EtherType of what begins `at` that place in the buffer; it is there up to `end`, and went on up to
    `wire_end` on the wire (all int64). `timestamp`: ns since the epoch, uint64. `gso_type`, `gso_size`: of a
    virtio_net_hdr, where the kernel gave one. The buffer has frames.SPARE_BYTES of room behind the last packet.
    """

    buffer: NDArray[np.uint8]
    protocol: Column
    at: Column
    end: Column
    wire_end: Column
    timestamp: Column
    gso_type: Column | None = None
    gso_size: Column | None = None

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: Column) -> "Packets":
        """Those of a mask or an index."""
        columns = (self.protocol, self.at, self.end, self.wire_end, self.timestamp, self.gso_type, self.gso_size)
        return Packets(self.buffer, *(None if column is None else column[rows] for column in columns))  # type: ignore[arg-type]

    def with_gso(self, gso_type: Column, gso_size: Column) -> "Packets":
        """The same, some of which were merged."""
        return replace(self, gso_type=gso_type, gso_size=gso_size)
