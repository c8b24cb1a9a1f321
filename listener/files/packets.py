"""The packets in blocks of a pcapng section, and whether the blocks are sound; all at once."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from listener.decode.frames import Frames
from listener.decode.protocols import LinkType
from listener.files.interfaces import UNSUPPORTED, Interfaces
from listener.files.rows import words_at
from tapfan.batch import Column
from tapfan.skips import Skipped

ENHANCED, SIMPLE, OBSOLETE = 6, 3, 2  # types of blocks that have a packet
_HEAD_WORDS = 7  # type, size, interface, timestamp (high, low), kept, length: of ENHANCED and OBSOLETE


class Packets:
    """`at`: where blocks are, which are whole, and of any type but those that change what others mean.

    `sound`: how many are, from the first one on; `problem`: what is wrong with the next, or "" when there is none;
    `ends`: of the blocks. The length is the number of packets in those that are sound.
    """

    def __init__(self, buffer: NDArray[np.uint8], at: Column, order: str, interfaces: Interfaces) -> None:
        self._buffer = buffer
        self._interfaces = interfaces
        word = np.dtype(f"{order}u4")
        heads = words_at(buffer, at, _HEAD_WORDS, word)
        self._kind = heads[:, 0]
        self._size = heads[:, 1].astype(np.int64)
        self.ends = at + self._size
        self._begin = at + 4 * _HEAD_WORDS
        self._interface = heads[:, 2].astype(np.int64)
        self._ticks = heads[:, 3].astype(np.uint64) << np.uint64(32) | heads[:, 4]
        self._kept = heads[:, 5].astype(np.int64)
        self._length = heads[:, 6].astype(np.int64)
        self._room = self._size - 4 * (_HEAD_WORDS + 1)
        self._is_packet = self._kind == ENHANCED
        self._is_simple = np.zeros(len(at), np.bool_)
        if not self._is_packet.all():
            self._read_others(at, heads[:, 2].astype(np.int64), order)
        self.sound, self.problem = self._check(words_at(buffer, self.ends - 4, 1, word)[:, 0])
        self._packets = np.flatnonzero(self._is_packet[: self.sound])

    def __len__(self) -> int:
        return len(self._packets)

    def _read_others(self, at: Column, third: Column, order: str) -> None:
        """What is elsewhere in the other types. `third`: their third word."""
        obsolete = self._kind == OBSOLETE
        upper, lower = third >> 16, third & 0xFFFF
        self._interface = np.where(obsolete, lower if order == "<" else upper, self._interface)
        self._is_simple = simple = self._kind == SIMPLE
        self._is_packet = self._is_packet | obsolete | simple
        if simple.any():
            self._begin = np.where(simple, at + 12, self._begin)
            self._interface = np.where(simple, 0, self._interface)
            self._kept = np.where(simple, self._interfaces.first_kept(third), self._kept)
            self._length = np.where(simple, third, self._length)
            self._room = np.where(simple, self._size - 16, self._room)

    def _check(self, trailer: Column) -> tuple[int, str]:
        """How many blocks are sound, and what is wrong with the next."""
        uneven = self._size % 4 != 0
        unequal = trailer != self._size
        unnamed = self._is_packet & (self._interface >= len(self._interfaces))
        misfit = self._is_packet & (self._kept > self._room)
        unsound = uneven | unequal | unnamed | misfit
        if not unsound.any():
            return len(unsound), ""
        first = int(unsound.argmax())
        size = self._size[first]
        if uneven[first]:
            return first, f"a block of {size} bytes, which is no multiple of 4,"
        if unequal[first]:
            return first, f"a block of {size} bytes that ends with {trailer[first]} as its length"
        if misfit[first]:
            return first, f"a packet of {self._kept[first]} bytes in a block of {size}"
        interface, described = self._interface[first], len(self._interfaces)
        return first, f"a packet of interface {interface}, while {described} are described,"

    def timestamps_ns(self, before_ns: int | None) -> tuple[Column, Column]:
        """Of the sound packets, and whether each is known. One that has none gets the last one before it."""
        packets = self._packets
        timestamps = self._interfaces.timestamps_ns(self._interface[packets], self._ticks[packets])
        simple = self._is_simple[packets]
        if not simple.any():
            return timestamps, ~simple
        last = np.maximum.accumulate(np.where(simple, -1, np.arange(len(simple))))
        early = np.array([before_ns or 0], np.uint64)
        return np.where(last >= 0, timestamps[last], early), (last >= 0) | (before_ns is not None)

    def frames(self, timestamps_ns: Column, known: Column, skipped: Skipped) -> Iterator[Frames]:
        """The sound packets, for one link type after the other; counts those that are left out."""
        packets = self._packets
        links = self._interfaces.links(self._interface[packets])
        supported = links != UNSUPPORTED
        usable = supported & known
        if not supported.all():
            skipped["link_type"] += int((~supported).sum())
        if not known.all() and (untimed := int((supported & ~known).sum())):
            skipped["no_timestamp"] += untimed
        for link in np.unique(links[usable]):
            those = usable & (links == link)
            chosen = packets[those]
            yield Frames(
                buffer=self._buffer,
                link=LinkType(link),
                at=self._begin[chosen],
                kept=self._kept[chosen],
                length=self._length[chosen],
                timestamp=timestamps_ns[those],
            )
