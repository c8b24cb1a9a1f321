"""Columns of records as few bytes: what all values have in common once, and the rest of each in the width it needs.

A packed column is (base, width, data). Of a column of numbers, `base` is an integer to which each record's
little-endian unsigned number of `width` bytes is added (0, 1, 2, 4 or 8; 0: all have the base's value). Of a column of
addresses, `base` is the 16 - `width` bytes that all begin with (`width` 0, 4, 8 or 16: 4 for IPv4, as its mapped
prefix is common), followed by each record's own `width` bytes.
"""

from dataclasses import dataclass

import numpy as np

from tapfan.batch import Column, is_constant, widened
from tapfan.endpoints import IPV4_MAPPED_PREFIX
from tapfan.values import shown

NUMBER_WIDTHS = (0, 1, 2, 4, 8)
ADDRESS_BYTES = 16
ADDRESS_WIDTHS = (0, 4, 8, 16)


@dataclass(frozen=True)
class PackedColumn:
    """See the module; `data` has `width` bytes for each record."""

    base: int | bytes
    width: int
    data: bytes | memoryview

    def __getitem__(self, rows: slice) -> "PackedColumn":
        """The column of a contiguous slice of the records, both ends given; nothing is copied."""
        if not self.width:
            return self
        return PackedColumn(
            self.base, self.width, memoryview(self.data)[rows.start * self.width : rows.stop * self.width]
        )


def pack_numbers(column: Column) -> PackedColumn:
    """Unsigned integers of shape (n,), n > 0."""
    if column.strides[0] == 0:
        return PackedColumn(int(column[0]), 0, b"")
    low = int(column.min())
    span = int(column.max()) - low
    if not span:
        return PackedColumn(low, 0, b"")
    width = next(width for width in NUMBER_WIDTHS[1:] if span < 256**width)
    if width == column.dtype.itemsize:
        return PackedColumn(0, width, np.ascontiguousarray(column).data.cast("B"))
    return PackedColumn(low, width, (column - column.dtype.type(low)).astype(f"<u{width}").data.cast("B"))


def unpack_numbers(packed: PackedColumn, dtype: np.dtype[np.unsignedinteger], count: int) -> Column:
    """The column that was packed, and checked where it came in."""
    base = dtype.type(packed.base)
    if not packed.width:
        return np.broadcast_to(base, (count,))
    column: Column = np.frombuffer(packed.data, f"<u{packed.width}").astype(dtype)
    column += base
    return column


def number_range(packed: PackedColumn) -> tuple[int, int]:
    """The smallest and the largest number of a column that was checked."""
    if not packed.width:
        return int(packed.base), int(packed.base)
    numbers = np.frombuffer(packed.data, f"<u{packed.width}")
    return int(packed.base) + int(numbers.min()), int(packed.base) + int(numbers.max())


def check_numbers(packed: PackedColumn, limit: int, count: int) -> None:
    """See that the column can be unpacked to numbers below the limit. Raises ValueError."""
    base, width = packed.base, packed.width
    if type(base) is not int or base < 0 or type(width) is not int or width not in NUMBER_WIDTHS:
        raise ValueError(f"base {shown(base)} and width {shown(width)} are not those of numbers")
    _check_length(packed, count)
    largest = 256**width - 1 if width else 0
    if base + largest >= limit:
        numbers = np.frombuffer(packed.data, f"<u{width}") if width else np.zeros(1, np.uint8)
        if base + int(numbers.max()) >= limit:
            raise ValueError(f"a number of {limit} or more")


def pack_addresses(column: Column) -> PackedColumn:
    """Addresses of shape (n, 16), or (n, 4) for IPv4 ones, n > 0."""
    if column.shape[1] == 4 and not is_constant(column):
        return PackedColumn(IPV4_MAPPED_PREFIX, 4, np.ascontiguousarray(column).data.cast("B"))
    column = widened(column)
    width = 0 if column.strides[0] == 0 else _address_width(np.ascontiguousarray(column))
    base = column[0, : ADDRESS_BYTES - width].tobytes()
    if not width:
        return PackedColumn(base, 0, b"")
    # Copied by words: numpy takes several times as long for the same bytes one by one.
    words = np.ascontiguousarray(column).view(f"u{min(width, 8)}")
    return PackedColumn(base, width, np.ascontiguousarray(words[:, -max(1, width // 8) :]).data.cast("B"))


def _address_width(column: Column) -> int:
    """How many bytes at the end differ, by words of four bytes."""
    words = column.view(np.uint32)
    if not is_constant(column.view(np.uint64)[:, 0]):
        return 16
    if not is_constant(words[:, 2]):
        return 8
    return 0 if is_constant(words[:, 3]) else 4


def unpack_addresses(packed: PackedColumn, count: int) -> Column:
    """The column that was packed, and checked where it came in."""
    base = np.frombuffer(packed.base, np.uint8)  # type: ignore[arg-type] # bytes, for addresses
    if not packed.width:
        return np.broadcast_to(base, (count, ADDRESS_BYTES))
    column = np.empty((count, ADDRESS_BYTES), np.uint8)
    column[:, : len(base)] = base
    column[:, len(base) :] = np.frombuffer(packed.data, np.uint8).reshape(count, packed.width)
    return column


def check_addresses(packed: PackedColumn, count: int) -> None:
    """See that the column can be unpacked to addresses. Raises ValueError."""
    base, width = packed.base, packed.width
    widths = type(width) is int and width in ADDRESS_WIDTHS
    if not widths or not isinstance(base, bytes) or len(base) != ADDRESS_BYTES - width:
        raise ValueError(f"base {shown(base)} and width {shown(width)} are not those of addresses")
    _check_length(packed, count)


def _check_length(packed: PackedColumn, count: int) -> None:
    if len(packed.data) != count * packed.width:
        raise ValueError(f"{len(packed.data)} bytes for {count} records of {packed.width} each")
