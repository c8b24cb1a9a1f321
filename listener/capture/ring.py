"""A TPACKET_V3 receive ring on one interface: blocks of captured packets, filled by the kernel.

See https://docs.kernel.org/networking/packet_mmap.html and linux/if_packet.h.
"""

import ctypes
import mmap
import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from listener.capture.filter import Instruction
from tapfan.values import ALL_INTERFACES

# Small ones: a block is handed over after a while even if it is nearly empty, and is not filled while it waits to be
# read. Many of them let a reader that is held up be late by seconds, however few packets come.
BLOCK_BYTES = 2**16

_SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION = 5, 6, 10
_PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 15, 23
_PACKET_FANOUT = 18
# By connection; to another member when a ring is full; of the whole group, as the sockets' own option is not heeded.
_FANOUT_HASH, _FANOUT_ROLLOVER, _FANOUT_IGNORE_OUTGOING = 0, 0x1000, 0x4000
_SO_ATTACH_FILTER = 26
_TPACKET_V3 = 2
_ETH_P_ALL = 3
_FRAME_BYTES = 2048  # only a check of the kernel's for V3: packets of a block have their own lengths
_STATUS, _NUMBER = 8, 24  # in a block's header, tpacket_block_desc; blocks are numbered from 1 on as they are opened
_KERNEL, _USER = 0, 1
_NO_PACKETS: Sequence[Instruction] = [(0x06, 0, 0, 0)]  # ret #0

Blocks = NDArray[np.uint8]  # of shape (n, BLOCK_BYTES), as they lie one after the other in a ring


class Statistics(NamedTuple):
    """Of packets that passed the filter: all, those that found no free block, and how often no block was free."""

    seen: int = 0
    drops: int = 0
    freezes: int = 0


class Ring:
    """The ring of one interface, or of ALL_INTERFACES. Raises OSError, PermissionError without CAP_NET_RAW.

    Packets that pass the filter are held in `ring_bytes` of memory, which cannot be swapped; a block is handed
    over when it is full or `retire_ms` after its first packet. With `fanout`, the interface's packets are shared out
    among all rings with that number, each connection's to the same one while they stay the same.

    The kernel drops a packet that comes while neither the block that it fills nor the one a quarter of the ring
    further on is its own (`__packet_rcv_has_room`). With fewer than four blocks that is so whenever a block is handed
    over.
    """

    def __init__(
        self,
        interface: str,
        program: Sequence[Instruction],
        ring_bytes: int,
        retire_ms: int,
        fanout: int | None = None,
    ) -> None:
        self.interface = interface
        self._blocks = max(2, ring_bytes // BLOCK_BYTES)
        self._next = 0
        self._taken = 0  # blocks that were given back
        self._has_stopped = False
        self.is_drained = False
        self._counted = Statistics()
        # Protocol 0 receives nothing: no packet may come in before the filter is there.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self._attach(program if fanout is None else _NO_PACKETS)
            self._option(_PACKET_VERSION, _TPACKET_V3)
            self._option(_PACKET_IGNORE_OUTGOING, 1)
            self._option(_PACKET_VNET_HDR, 1)
            request = (BLOCK_BYTES, self._blocks, _FRAME_BYTES, self.size // _FRAME_BYTES, retire_ms, 0, 0)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, struct.pack("7I", *request))
            self._map = mmap.mmap(self._socket.fileno(), self.size)
            self._content = np.frombuffer(self._map, np.uint8).reshape(self._blocks, BLOCK_BYTES)
            self._status = self._content.view(np.uint32)[:, _STATUS // 4]
            self._number = self._content.view(np.uint64)[:, _NUMBER // 8]
            self._index = self._bind()
            if fanout is not None:
                self._join(fanout, program)
        except BaseException:
            self._socket.close()
            raise

    @property
    def size(self) -> int:
        """Its memory in bytes."""
        return self._blocks * BLOCK_BYTES

    def fileno(self) -> int:
        """Readable when a block is handed over."""
        return self._socket.fileno()

    def take(self, most: int) -> Blocks | None:
        """The next blocks that are handed over, as many as lie one after the other, up to `most`; None: none yet.

        They stay ours until they are given back. `is_drained` tells whether there were no more.
        """
        # No barrier, here or there: x86-64 needs none, and Python has none for others.
        ready = self._status[self._next : self._next + most] & _USER
        if self._has_stopped:
            ready[int(self._number.max()) - self._taken :] = 0  # not opened any more, though ours
        self.is_drained = not ready.all()
        count = int(ready.argmin()) if self.is_drained else len(ready)
        return self._content[self._next : self._next + count] if count else None

    def give_back(self, count: int) -> None:
        """Give the first so many blocks back to the kernel; whatever was made of them must be copies."""
        if not self._has_stopped:
            self._status[self._next : self._next + count] = _KERNEL
        self._next = (self._next + count) % self._blocks
        self._taken += count

    def stop(self) -> None:
        """Take no more packets; those of a fanout go to its other members from now on.

        What has come in is still to be taken, also of the block that is not full: a moment later, when it is complete.
        """
        self.statistics()
        self._status[:] = _USER  # no room for more: also the block that is being filled stays as it is
        self._has_stopped = True

    def is_lost(self) -> bool:
        """Whether the interface is gone for good: there is none, or another one, of its name."""
        try:
            return self._index != 0 and socket.if_nametoindex(self.interface) != self._index
        except OSError:
            return True

    def take_error(self) -> int:
        """What happened to the interface, as an error number; 0 when nothing did. Until taken, we count as readable."""
        error: int = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return error

    def statistics(self) -> Statistics:
        """What the kernel has counted since the start. One reader: reading clears it."""
        seen, drops, freezes = struct.unpack("3I", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12))
        had = self._counted
        if self._has_stopped:
            seen, drops, freezes = seen - drops, 0, 0  # what finds no room any more is not for us
        self._counted = Statistics(had.seen + seen, had.drops + drops, had.freezes + freezes)
        return self._counted

    def close(self) -> None:
        """Stop capturing; what is still in the ring is gone."""
        self._socket.close()
        del self._content, self._status, self._number
        self._map.close()

    def _bind(self) -> int:
        """Begin to capture; gives the interface's index, 0 for ALL, which Python's own bind has no name for."""
        if self.interface != ALL_INTERFACES:
            self._socket.bind((self.interface, _ETH_P_ALL))
            return socket.if_nametoindex(self.interface)
        address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, b"")
        if ctypes.CDLL(None, use_errno=True).bind(self._socket.fileno(), address, len(address)):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return 0

    def _join(self, fanout: int, program: Sequence[Instruction]) -> None:
        """Share the interface's packets with others, so that none is seen twice or not at all.

        A ring must be bound before it can join, and gets all packets in between: its filter lets none through. When
        it has joined, the others still get its part, as it has no room, until its filter is the right one.
        """
        self._status[:] = _USER
        group = fanout << 8 | self._index & 0xFF  # numbers are of the whole host, and each group of one interface
        self._option(_PACKET_FANOUT, group | (_FANOUT_HASH | _FANOUT_ROLLOVER | _FANOUT_IGNORE_OUTGOING) << 16)
        self._attach(program)
        self._status[:] = _KERNEL
        self.statistics()
        self._counted = Statistics()  # where there are no others, what came before this is none of ours

    def _option(self, name: int, value: int) -> None:
        self._socket.setsockopt(_SOL_PACKET, name, value)

    def _attach(self, program: Sequence[Instruction]) -> None:
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
        fprog = struct.pack("HL", len(program), ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
