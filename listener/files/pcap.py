"""The pcap format: a file header, and packets with headers of 16 bytes.

https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/
"""

import struct
from collections.abc import Iterator
from itertools import repeat

import numpy as np

from listener.decode.frames import Frames
from listener.files.buffer import Buffer
from listener.files.links import SUPPORTED, link_type
from listener.files.rows import repeats, words_at
from tapfan.batch import Column

_HEADER_BYTES = 24
_MOST_BYTES = 1 << 18  # of a packet: libpcap's MAXIMUM_SNAPLEN
_WALKED_AT_ONCE = 256
_RUN = 32  # packets of the same length that are worth a run

# Magic -> bytes of a packet's header, ns in a unit of its time; big-endian.
_FORMS = {
    b"\xa1\xb2\xc3\xd4": (16, 1000),
    b"\xa1\xb2\x3c\x4d": (16, 1),
    b"\xa1\xb2\xcd\x34": (24, 1000),  # Kuznetzov's patch: interface, protocol and direction follow
}


def is_pcap(magic: bytes) -> bool:
    """Whether a file that begins with these four bytes is one."""
    return magic in _FORMS or magic[::-1] in _FORMS


class Pcap:
    """Reads the file header at once. Raises CaptureFileError."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        if not buffer.fill(_HEADER_BYTES):
            buffer.finish()
            raise buffer.error(f"ends within the pcap file header of {_HEADER_BYTES} bytes", buffer.end)
        header = bytes(buffer.array[:_HEADER_BYTES])
        magic = header[:4]
        order = ">" if magic in _FORMS else "<"
        self._head_bytes, self._unit_ns = _FORMS[magic if order == ">" else magic[::-1]]
        self._word = np.dtype(f"{order}u4")
        self._unpack = struct.Struct(f"{order}I").unpack_from
        major, minor, link = struct.unpack(f"{order}4xHH12xI", header)
        if (major, minor) != (2, 4):
            raise buffer.error(f"is pcap of version {major}.{minor}; only 2.4 can be read")
        # The upper half says how long the frame check sequence is.
        number = link & 0xFFFF
        supported = link_type(number)
        if supported is None:
            raise buffer.error(f"has packets of link type {number}; only these can be read: {SUPPORTED}")
        self._link = supported
        buffer.start = _HEADER_BYTES

    def frames(self) -> Iterator[Frames]:
        """All packets; the buffer is used again for the next. Raises CaptureFileError where the file is damaged."""
        buffer = self._buffer
        need = self._head_bytes
        while buffer.fill(need):
            at = self._walk()
            heads = words_at(buffer.array, at, 4, self._word)
            kept = heads[:, 2].astype(np.int64)
            ends = at + self._head_bytes + kept
            too_long = kept > _MOST_BYTES
            unusable = too_long | (ends > buffer.end)
            whole = int(unusable.argmax()) if unusable.any() else len(at)
            if whole:
                buffer.start = int(ends[whole - 1])
                yield self._frames(at[:whole], heads[:whole], kept[:whole])
            if whole < len(at) and too_long[whole]:
                raise buffer.error(f"a packet of {kept[whole]} bytes, more than {_MOST_BYTES},", int(at[whole]))
            need = int(ends[whole] - at[whole]) if whole < len(at) else self._head_bytes
        buffer.finish()

    def _frames(self, at: Column, heads: Column, kept: Column) -> Frames:
        return Frames(
            buffer=self._buffer.array,
            link=self._link,
            at=at + self._head_bytes,
            kept=kept,
            length=heads[:, 3].astype(np.int64),
            timestamp=heads[:, 0] * np.uint64(1_000_000_000) + heads[:, 1] * np.uint64(self._unit_ns),
        )

    def _walk(self) -> Column:
        """Where the headers in the buffer are; the last one's packet may not be whole, or its length be wrong."""
        array, at, head_bytes, unpack = self._buffer.array, self._buffer.start, self._head_bytes, self._unpack
        data = array.data
        last = self._buffer.end - head_bytes
        found: list[Column] = []
        while at <= last:
            step = unpack(data, at + 8)[0] + head_bytes
            run = repeats(array, at + 8, step, (last - at) // step + 1, self._word)
            if run >= _RUN:
                found.append(np.arange(at, at + run * step, step))
                at += run * step
            places: list[int] = []
            append = places.append
            for _ in repeat(None, _WALKED_AT_ONCE):
                if at > last:
                    break
                append(at)
                at += unpack(data, at + 8)[0] + head_bytes
            found.append(np.fromiter(places, np.int64, len(places)))
        return np.concatenate(found)
