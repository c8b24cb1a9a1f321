"""The interfaces of a pcapng section: what their packets begin with, and what their timestamps mean."""

import struct
from array import array

import numpy as np

from listener.files.links import link_type
from tapfan.batch import Column

MOST_INTERFACES = 65536
UNSUPPORTED = -1  # instead of a link type
_IF_TSRESOL, _IF_TSOFFSET = 9, 14
_MICROSECONDS = 6
_POWER_OF_2 = 0x80
_MOST_DIGITS, _MOST_BITS = 19, 63  # of a second's fraction, in 64 bits
_SECOND_NS = 1_000_000_000


class Interfaces:
    """`order`: the byte order of the section, as struct has it."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._links = array("q")
        self._resolutions = array("B")
        self._offsets_ns = array("Q")
        self._first_snap_length = 0

    def __len__(self) -> int:
        return len(self._links)

    def add(self, body: bytes) -> None:
        """One more, from what its block has after the lengths. Raises ValueError, which says what is wrong."""
        if len(self) == MOST_INTERFACES:
            raise ValueError(f"more than {MOST_INTERFACES} interfaces in a section")
        number, snap_length = struct.unpack_from(f"{self._order}HxxI", body)
        resolution, offset_s = _MICROSECONDS, 0
        for code, value in self._options(body[8:]):
            if code == _IF_TSRESOL:
                (resolution,) = self._number("B", value)
            elif code == _IF_TSOFFSET:
                (offset_s,) = self._number("q", value)
        bits = resolution & ~_POWER_OF_2
        if bits > (_MOST_BITS if resolution & _POWER_OF_2 else _MOST_DIGITS):
            base = 2 if resolution & _POWER_OF_2 else 10
            raise ValueError(f"if_tsresol {base}^-{bits}, finer than 10^-{_MOST_DIGITS} or 2^-{_MOST_BITS},")
        if not self._links:
            self._first_snap_length = snap_length
        link = link_type(number)
        self._links.append(UNSUPPORTED if link is None else link)
        self._resolutions.append(resolution)
        self._offsets_ns.append(offset_s * _SECOND_NS % 2**64)

    def _options(self, data: bytes) -> list[tuple[int, bytes]]:
        options = []
        at = 0
        while at + 4 <= len(data):
            code, size = struct.unpack_from(f"{self._order}HH", data, at)
            if not code:
                break
            if at + 4 + size > len(data):
                raise ValueError(f"option {code} of {size} bytes, which reaches beyond its interface description,")
            options.append((code, data[at + 4 : at + 4 + size]))
            at += 4 + (size + 3) // 4 * 4
        return options

    def _number(self, form: str, value: bytes) -> tuple[int]:
        try:
            return struct.unpack(f"{self._order}{form}", value)
        except struct.error:
            raise ValueError(f"a timestamp option of {len(value)} bytes instead of {struct.calcsize(form)}") from None

    def links(self, interface: Column) -> Column:
        """The link type of each interface that is named, or UNSUPPORTED."""
        return np.frombuffer(self._links, np.int64)[interface]

    def first_kept(self, length: Column) -> Column:
        """How much the first interface keeps of packets of such lengths."""
        return np.minimum(length, self._first_snap_length) if self._first_snap_length else length

    def timestamps_ns(self, interface: Column, ticks: Column) -> Column:
        """What the ticks of these interfaces mean; modulo 2^64."""
        resolutions = np.frombuffer(self._resolutions, np.uint8)[interface]
        offsets = np.frombuffer(self._offsets_ns, np.uint64)[interface]
        if (resolutions == resolutions[0]).all():
            return _nanoseconds(ticks, int(resolutions[0])) + offsets
        result = np.empty(len(ticks), np.uint64)
        for resolution in np.unique(resolutions):
            those = resolutions == resolution
            result[those] = _nanoseconds(ticks[those], int(resolution))
        return result + offsets


def _nanoseconds(ticks: Column, resolution: int) -> Column:
    """Ticks of 10^-n or 2^-n seconds, rounded down."""
    second = np.uint64(_SECOND_NS)
    if not resolution & _POWER_OF_2:
        finer = resolution - 9
        return ticks // np.uint64(10**finer) if finer > 0 else ticks * np.uint64(10**-finer)
    bits = resolution & ~_POWER_OF_2
    fraction = ticks & np.uint64(2**bits - 1)
    if bits > 32:
        # The product does not fit in 64 bits: in two parts.
        low = (fraction & np.uint64(2**32 - 1)) * second >> np.uint64(32)
        part = (fraction >> np.uint64(32)) * second + low >> np.uint64(bits - 32)
    else:
        part = fraction * second >> np.uint64(bits)
    return (ticks >> np.uint64(bits)) * second + part
