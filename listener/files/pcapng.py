"""The pcapng format: blocks, in sections that each have a byte order and interfaces of their own.

https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/
"""

import struct
from collections.abc import Iterator
from itertools import repeat

import numpy as np

from listener.decode.frames import Frames
from listener.files.buffer import Buffer
from listener.files.interfaces import Interfaces
from listener.files.packets import ENHANCED, OBSOLETE, SIMPLE, Packets
from listener.files.rows import repeats
from tapfan.batch import Column
from tapfan.skips import Skipped

MAGIC = b"\x0a\x0d\x0d\x0a"
_SECTION, _INTERFACE = 0x0A0D0D0A, 1
_SECTION_BYTES, _INTERFACE_BYTES = 28, 20  # at least
_LEAST_BYTES = 12
_MOST_BYTES = 1 << 24  # of a block that is looked into: what libpcap takes, too
_BYTE_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_VERSIONS = ((1, 0), (1, 2))
_STOPS = (_SECTION, _INTERFACE)
_LOOKED_INTO = (_SECTION, _INTERFACE, ENHANCED, SIMPLE, OBSOLETE)
_WALKED_AT_ONCE = 256
_RUN = 32  # blocks of the same type and length that are worth a run


class Pcapng:
    """Reads the first section's header at once. Raises CaptureFileError.

    `skipped` counts packets that are left out: "link_type" for one that is not supported, "no_timestamp".
    """

    def __init__(self, buffer: Buffer, skipped: Skipped) -> None:
        self._buffer = buffer
        self._skipped = skipped
        self._last_ns: int | None = None
        if not self._begin_section():
            buffer.finish()
            raise buffer.error("ends within its first section header block", buffer.end)

    def frames(self) -> Iterator[Frames]:
        """All packets; the buffer is used again for the next. Raises CaptureFileError where the file is damaged.

        What is in the buffer together is given for one link type after the other.
        """
        buffer = self._buffer
        cut_at = None
        while buffer.fill(8):
            kind, size = self._pair(buffer.array.data, buffer.start)
            if kind == _SECTION:
                if not self._begin_section():
                    break
                continue
            self._check_size(kind, size)
            if size > _MOST_BYTES:
                cut_at = buffer.offset(buffer.start)
                if not self._skip(size):
                    break
                cut_at = None
            elif not buffer.fill(size):
                break
            elif kind == _INTERFACE:
                self._add_interface(size)
            else:
                yield from self._packets()
        buffer.finish(cut_at)

    def _begin_section(self) -> bool:
        """False when the file ends before."""
        buffer = self._buffer
        if not buffer.fill(_SECTION_BYTES):
            return False
        order = _BYTE_ORDERS.get(bytes(buffer.array[buffer.start + 8 : buffer.start + 12]))
        if order is None:
            raise buffer.error("no byte order in a section header block", buffer.start)
        self._order = order
        self._pair = struct.Struct(f"{order}II").unpack_from
        kind, size = self._pair(buffer.array.data, buffer.start)
        self._check_size(kind, size)
        if not buffer.fill(size):
            return False
        major, minor = struct.unpack_from(f"{order}HH", buffer.array.data, buffer.start + 12)
        if (major, minor) not in _VERSIONS:
            raise buffer.error(f"pcapng of version {major}.{minor}, while only 1.0 can be read,", buffer.start)
        self._take(size, _SECTION_BYTES)
        self._interfaces = Interfaces(order)
        return True

    def _add_interface(self, size: int) -> None:
        buffer = self._buffer
        start = buffer.start
        body = self._take(size, _INTERFACE_BYTES)
        try:
            self._interfaces.add(body)
        except ValueError as error:
            raise buffer.error(str(error), start) from None

    def _take(self, size: int, least: int) -> bytes:
        """What a block has between its lengths."""
        buffer = self._buffer
        start, end = buffer.start, buffer.start + size
        if size < least:
            raise buffer.error(f"a block of {size} bytes, where its type has at least {least},", start)
        self._check_trailer(end, size)
        buffer.start = end
        return bytes(buffer.array[start + 8 : end - 4])

    def _check_size(self, kind: int, size: int) -> None:
        if size < _LEAST_BYTES or size % 4 or (size > _MOST_BYTES and kind in _LOOKED_INTO):
            raise self._buffer.error(
                f"a block of {size} bytes, instead of a multiple of 4 from {_LEAST_BYTES} to {_MOST_BYTES},",
                self._buffer.start,
            )

    def _check_trailer(self, end: int, size: int) -> None:
        (trailer,) = struct.unpack_from(f"{self._order}I", self._buffer.array.data, end - 4)
        if trailer != size:
            raise self._buffer.error(f"a block of {size} bytes that ends with {trailer} as its length", end - 4)

    def _skip(self, size: int) -> bool:
        """Leave a large block out; False when the file ends before."""
        buffer = self._buffer
        if not (buffer.skip(size - 4) and buffer.fill(4)):
            return False
        buffer.start += 4
        self._check_trailer(buffer.start, size)
        return True

    def _packets(self) -> Iterator[Frames]:
        """Those of the whole blocks that are there, up to the next that changes what they mean."""
        buffer = self._buffer
        at = self._walk()
        packets = Packets(buffer.array, at, self._order, self._interfaces)
        if packets.sound:
            buffer.start = int(packets.ends[packets.sound - 1])
        if len(packets):
            timestamps_ns, known = packets.timestamps_ns(self._last_ns)
            if known[-1]:
                self._last_ns = int(timestamps_ns[-1])
            yield from packets.frames(timestamps_ns, known, self._skipped)
        if packets.problem:
            raise buffer.error(packets.problem, int(at[packets.sound]))

    def _walk(self) -> Column:
        """Where the blocks are that are whole, the first of which is known to be."""
        array, at, pair = self._buffer.array, self._buffer.start, self._pair
        data = array.data
        end = self._buffer.end
        last = end - _LEAST_BYTES
        both = np.dtype(f"{self._order}u8")
        found: list[Column] = []
        size = _LEAST_BYTES
        while at <= last:
            kind, size = pair(data, at)
            if kind in _STOPS or size < _LEAST_BYTES:
                break
            run = repeats(array, at, size, (last - at) // size + 1, both)
            if run >= _RUN:
                found.append(np.arange(at, at + run * size, size))
                at += run * size
            places: list[int] = []
            append = places.append
            for _ in repeat(None, _WALKED_AT_ONCE):
                if at > last:
                    break
                kind, size = pair(data, at)
                if (kind != ENHANCED and kind in _STOPS) or size < _LEAST_BYTES:
                    break
                append(at)
                at += size
            found.append(np.fromiter(places, np.int64, len(places)))
        places_found = np.concatenate(found)
        return places_found[:-1] if at > end else places_found
