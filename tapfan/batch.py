"""The one type that flows through the house: a batch of records as numpy columns of equal length."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tapfan.endpoints import IPV4_MAPPED_PREFIX

Column = NDArray[Any]

# A record's columns: dtype and how many of it a record has. On the wire each is little-endian.
COLUMNS: Mapping[str, tuple[np.dtype[Any], int]] = MappingProxyType(
    {
        "timestamp": (np.dtype("<u8"), 1),  # ns since the epoch, the kernel's capture time
        "source": (np.dtype("u1"), 16),  # IPv6, or IPv4 mapped into it
        "destination": (np.dtype("u1"), 16),
        "source_port": (np.dtype("<u2"), 1),
        "destination_port": (np.dtype("<u2"), 1),
        "flags": (np.dtype("u1"), 1),  # the TCP flags
        "segments": (np.dtype("<u2"), 1),  # wire segments that the kernel had merged into this packet
    }
)
_MAPPED_WORD = int.from_bytes(IPV4_MAPPED_PREFIX[8:], "little")
RECORD_BYTES = sum(dtype.itemsize * width for dtype, width in COLUMNS.values())


def is_constant(column: Column) -> bool:
    """Whether all records have the same value; quick for columns that were read as such."""
    if column.strides[0] == 0:
        return True
    if column.ndim == 1:
        return bool((column == column[0]).all())
    # Addresses: seen at the ends and then, word by word, everywhere.
    if not (column[0] == column[-1]).all() or not column.flags.c_contiguous:
        return False
    words = column.view(f"u{min(column.shape[1], 8)}")
    return bool((words == words[0]).all())


def widened(addresses: Column) -> Column:
    """Addresses of shape (n, 16), from those or from IPv4 ones of shape (n, 4)."""
    if addresses.shape[1] == 16:
        return addresses
    if addresses.strides[0] == 0 and len(addresses):
        return np.broadcast_to(widened(addresses[:1].copy()), (len(addresses), 16))
    words = np.empty((len(addresses), 4), "<u4")
    words[:, :2] = 0
    words[:, 2] = _MAPPED_WORD
    words[:, 3] = np.ascontiguousarray(addresses).view("<u4")[:, 0]
    return words.view(np.uint8)


def _concatenated(columns: list[Column]) -> Column:
    """The columns as one; as one value for all records where that is what they have in common."""
    if len({column.shape[1:] for column in columns}) > 1:
        columns = [widened(column) for column in columns]
    first = columns[0][:1]
    if all(column.strides[0] == 0 and (column[:1] == first).all() for column in columns):
        return np.broadcast_to(first[0], (sum(map(len, columns)), *first.shape[1:]))
    return np.concatenate(columns)


@dataclass(frozen=True, eq=False)
class Records:
    """Columns of equal length n: addresses are uint8 of shape (n, 16), all others have shape (n,).

    A column of addresses that are all IPv4 may have shape (n, 4): so it comes from their packets, and so it travels.
    """

    timestamp: Column
    source: Column
    destination: Column
    source_port: Column
    destination_port: Column
    flags: Column
    segments: Column

    def __len__(self) -> int:
        return len(self.timestamp)

    def __getitem__(self, rows: slice | Column) -> Self:
        """The records of a slice (views) or of a mask or index (copies)."""
        return type(self)(*(getattr(self, name)[rows] for name in COLUMNS))

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All the parts' records, in order; where only one has any, it is given back as it is."""
        filled = [part for part in parts if len(part)] or parts[:1]
        if len(filled) == 1:
            return filled[0]
        return cls(*(_concatenated([getattr(part, name) for part in filled]) for name in COLUMNS))

    @classmethod
    def empty(cls, count: int = 0) -> Self:
        """Columns for `count` records, with whatever the memory held."""
        return cls(*(np.empty(count if width == 1 else (count, width), dtype) for dtype, width in COLUMNS.values()))


@dataclass(frozen=True, eq=False)
class Batch:
    """Records of a stream; record i has the identity (stream, first + i) for ever."""

    stream: str
    first: int
    records: Records

    def __len__(self) -> int:
        return len(self.records)

    @property
    def end(self) -> int:
        """The sequence number after the batch's last record."""
        return self.first + len(self.records)

    def __getitem__(self, rows: slice) -> "Batch":
        """The batch of a contiguous slice (views), each record with the identity that it had."""
        start, _, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("a batch's records are contiguous")
        return Batch(self.stream, self.first + start, self.records[rows])
