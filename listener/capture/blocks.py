"""A ring's blocks: those whose packets are all alike as records, and of others where their packets are.

Layouts: linux/if_packet.h (tpacket_block_desc, tpacket3_hdr, sockaddr_ll), linux/virtio_net.h (virtio_net_hdr, just
before the link header).
"""

from collections.abc import Iterator, Mapping
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from listener.capture.ring import BLOCK_BYTES, Blocks
from listener.decode import headers
from listener.decode.frames import SPARE_BYTES
from listener.decode.packets import Packets
from listener.decode.protocols import ETH_IPV4, ETH_IPV6, TCP_BYTES
from tapfan.batch import Column, Records

TOGETHER = 64  # blocks decoded at once: as many as a linger brings at the highest rates
BUFFER_BYTES = TOGETHER * BLOCK_BYTES + SPARE_BYTES

_PACKETS, _FIRST, _LENGTH = 12 // 4, 16 // 4, 20 // 4  # of tpacket_block_desc, in words
_VNET_BYTES = 10
_AF_PACKET = 17
_ADDRESS_AT = 48  # sockaddr_ll, right behind tpacket3_hdr
_FAMILY = np.uint64(0xFFFF)  # of a sockaddr_ll's first eight bytes
_FAMILY_AND_INTERFACE = np.uint64(0xFFFFFFFF_0000_FFFF)  # between: the protocol

# A packet's metadata, of which a packet at the same distance from the next has the same but for its time.
_ALIKE: headers.Pieces = {
    0: headers.piece(16, distance=("<u4", 0), seconds=("<u4", 4), nanoseconds=("<u4", 8), kept=("<u4", 12)),
    24: headers.piece(4, places=("<u4", 0)),
    _ADDRESS_AT: headers.piece(4, address=("<u4", 0)),
}
_GSO_TYPE, _GSO_SIZE = headers.piece(1, gso_type=("u1", 0)), headers.piece(2, gso_size=("<u2", 0))
_WIRE_LENGTH: headers.Pieces = {16: headers.piece(4, length=("<u4", 0))}
_META = np.dtype(
    {
        "names": ["seconds", "nanoseconds", "kept", "length", "mac", "net", "protocol"],
        "formats": ["<u4", "<u4", "<u4", "<u4", "<u2", "<u2", ">u2"],
        "offsets": [4, 8, 12, 16, 24, 26, _ADDRESS_AT + 2],
        "itemsize": _ADDRESS_AT + 4,
    }
)
_CACHED = 8  # blocks that fit into the cache of a core, beside what is made of them
_WORD = np.dtype("<u4")


def alike(blocks: Blocks) -> Records | None:
    """The records of plain TCP packets that all have headers of the same lengths; None where they are not such.

    By far the most frequent case at high rates, and the cheapest: as little is copied as can be.
    """
    grid = _grid(blocks)
    if grid is None:
        return None
    mac, net, first_byte = grid.mac, grid.net, grid.first_byte
    version = first_byte >> 4
    header = (first_byte & 0x0F) * 4 if version == 4 else headers.IPV6_BYTES
    needed = net + header + TCP_BYTES
    if version not in (4, 6) or header < headers.IPV4_BYTES or needed > grid.step:
        return None
    meta = grid.gathered({**_ALIKE, mac - _VNET_BYTES + 1: _GSO_TYPE})
    address = bytes([_AF_PACKET, 0]) + (ETH_IPV4 if version == 4 else ETH_IPV6).to_bytes(2)
    distance = meta["distance"]
    distance[grid.last] = grid.step  # nothing follows there
    if not (
        (distance == grid.step).all()
        and (meta["places"] == mac | net << 16).all()
        and (meta["address"] == int.from_bytes(address, "little")).all()
        and (meta["kept"] >= needed - mac).all()
    ):
        return None
    rows = grid.gathered({net + at: piece for at, piece in headers.pieces(version, header).items()})
    if not ((rows["first_byte"] == first_byte).all() and headers.are_plain(rows, version, header).all()):
        return None
    gso_type = meta["gso_type"]
    segments: Column = np.broadcast_to(np.uint16(1), gso_type.shape)
    if gso_type.any():
        gso = grid.gathered({**_WIRE_LENGTH, mac - _VNET_BYTES + 4: _GSO_SIZE})
        payload = gso["length"].astype(np.int64) - (net - mac + header) - ((rows["data_offset"] & 0xF0) >> 2)
        segments = headers.segments(gso_type, gso["gso_size"], payload)
    return headers.records(rows, _timestamps(meta), segments)


class _Grid:
    """Packets that follow each other at the same distance in all blocks, as far as the fullest one tells.

    `step`: that distance; `mac`, `net`, `first_byte`: of one packet, where its link and its network header begin,
    and the first byte of the latter; `last`: the last packet of each block.
    """

    def __init__(self, blocks: Blocks, packets: Column, first: int) -> None:
        self._blocks, self._first = blocks, first
        self._counts: list[int] = packets.tolist()
        self._most = max(self._counts)
        self.last = np.cumsum(packets, dtype=np.int64) - 1
        head = blocks[self._counts.index(self._most), first:]
        self.step = int(head[:4].view(_WORD)[0])
        self.mac, self.net = (int(place) for place in head[24:28].view("<u2"))
        self.first_byte = int(head[self.net])

    @property
    def is_possible(self) -> bool:
        """Whether the packets can lie so."""
        return self.step % 8 == 0 and self.net < self.step <= (BLOCK_BYTES - self._first) // self._most

    def gathered(self, pieces: headers.Pieces) -> dict[str, Column]:
        """Of each packet, the fields of pieces that lie so far behind the beginning of its metadata: copies.

        A few blocks at a time, which a core's cache then holds while piece after piece is copied.
        """
        total = sum(self._counts)
        # What a block that is not full holds behind its packets is copied, too, and overwritten by the next ones.
        columns = [np.empty(total + self._most, f"V{piece.itemsize}") for piece in pieces.values()]
        at = 0
        for start, stop, packets in self._runs():
            shape, strides = (stop - start, self._most), (BLOCK_BYTES, self.step)
            cells = shape[0] * shape[1]
            first = start * BLOCK_BYTES + self._first
            for column, offset in zip(columns, pieces, strict=True):
                source = np.ndarray(shape, column.dtype, self._blocks.data, first + offset, strides)
                column[at : at + cells].reshape(shape)[...] = source
            at += packets
        return {
            name: column[:total].view(piece)[name]
            for column, piece in zip(columns, pieces.values(), strict=True)
            for name in piece.names or ()
        }

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        """Blocks that are full but for the last one, and few: the first, the one behind them, packets."""
        start = packets = 0
        for block, count in enumerate(self._counts, 1):
            packets += count
            if count < self._most or block - start == _CACHED or block == len(self._counts):
                yield start, block, packets
                start, packets = block, 0


def _grid(blocks: Blocks) -> _Grid | None:
    """Where the packets lie, if they may lie as those of a grid do."""
    words = blocks.view(_WORD)
    packets = words[:, _PACKETS]
    first = words[:, _FIRST]
    if packets.max() < 2 or not (first == first[0]).all():
        return None
    grid = _Grid(blocks, packets, int(first[0]))
    return grid if grid.is_possible else None


def copied(blocks: Blocks, buffer: NDArray[np.uint8]) -> Packets:
    """The packets of at most TOGETHER blocks, which are copied into the buffer, of BUFFER_BYTES."""
    size = blocks.size
    buffer[:size] = blocks.reshape(-1)
    at = _positions(buffer[:size], blocks.view(_WORD)[:, [_PACKETS, _FIRST, _LENGTH]].astype(np.int64))
    windows = np.ndarray((size - _META.itemsize) // 8 + 1, f"V{_META.itemsize}", buffer.data, strides=(8,))
    meta: NDArray[np.void] = windows[at >> 3].view(_META)
    mac = at + meta["mac"]
    packets = Packets(
        buffer,
        meta["protocol"].astype(np.uint16),
        at + meta["net"],
        mac + meta["kept"],
        mac + meta["length"],
        _timestamps(meta),
    )
    gso_type = buffer[mac - (_VNET_BYTES - 1)]
    if not gso_type.any():
        return packets
    sizes = np.ndarray(size - 1, "<u2", buffer.data, strides=(1,))
    return packets.with_gso(gso_type, sizes[mac - (_VNET_BYTES - 4)])


def _timestamps(meta: NDArray[np.void] | Mapping[str, Column]) -> Column:
    timestamp: Column = np.multiply(meta["seconds"], 1_000_000_000, dtype=np.uint64)
    timestamp += meta["nanoseconds"]
    return timestamp


def _positions(content: NDArray[np.uint8], heads: Column) -> Column:
    """Where the packets of all blocks begin; of each block, `heads` has a row: packets, place of the first, bytes used.

    Each packet names the distance to the next: a chain, to be followed packet by packet. Instead all places that look
    like a packet's metadata (their sockaddr_ll has the family and the interface of the first, or at least the family)
    are taken at once, and the distances then prove that these are the chains. Only where packets imitate metadata
    are the chains followed.
    """
    filled = np.flatnonzero(heads[:, 0])
    count = heads[filled, 0]
    start = filled * BLOCK_BYTES + heads[filled, 1]
    last = np.cumsum(count) - 1
    for mask in (_FAMILY_AND_INTERFACE, _FAMILY):
        found: Column = _look_alikes(content, start, mask)
        inside = found % BLOCK_BYTES
        found = found[(inside >= heads[found // BLOCK_BYTES, 1]) & (inside < heads[found // BLOCK_BYTES, 2])]
        if len(found) == count.sum():
            distance = content.view(_WORD)[found >> 2]
            distance[last] = 0
            distance[last[:-1]] = start[1:] - found[last[:-1]]
            if (found[last - count + 1] == start).all() and (np.diff(found) == distance[:-1]).all():
                return found
    chains = [_chain(content, int(at), int(packets)) for at, packets in zip(start, count, strict=True)]
    return np.array(list(chain.from_iterable(chains)), np.int64)


def _look_alikes(content: NDArray[np.uint8], start: Column, mask: np.uint64) -> Column:
    """Places with the same of a sockaddr_ll's first eight bytes, under the mask, as the first packet."""
    if not len(start):
        return start
    longs = content.view("<u8")[_ADDRESS_AT // 8 :]
    return np.flatnonzero(longs & mask == longs[start[0] >> 3] & mask) << 3


def _chain(content: NDArray[np.uint8], at: int, packets: int) -> list[int]:
    """Where the packets of one block begin."""
    words = content.view(_WORD)
    places = [at]
    for _ in range(packets - 1):
        at += int(words[at >> 2])
        places.append(at)
    return places
