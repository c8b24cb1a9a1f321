"""A ring's blocks: those whose packets are all alike as records, and of others where their packets are.

Layouts: linux/if_packet.h (tpacket_block_desc, tpacket3_hdr, sockaddr_ll), linux/virtio_net.h (virtio_net_hdr, just
before the link header).
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any

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

_META = np.dtype(
    {
        "names": ["seconds", "nanoseconds", "kept", "length", "places", "mac", "net", "address", "protocol"],
        "formats": ["<u4", "<u4", "<u4", "<u4", "<u4", "<u2", "<u2", "<u4", ">u2"],
        "offsets": [4, 8, 12, 16, 24, 24, 26, _ADDRESS_AT, _ADDRESS_AT + 2],
        "itemsize": _ADDRESS_AT + 4,
    }
)
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
    meta, rows = grid.fields(_META, 0), grid.fields(headers.layout(version, header), net)
    address = bytes([_AF_PACKET, 0]) + (ETH_IPV4 if version == 4 else ETH_IPV6).to_bytes(2)
    if not (
        (meta["places"] == mac | net << 16).all()
        and (meta["address"] == int.from_bytes(address, "little")).all()
        and (meta["kept"] >= needed - mac).all()
        and (rows["first_byte"] == first_byte).all()
        and headers.are_plain(rows, version, header).all()
    ):
        return None
    gso_type = grid.fields(np.dtype("u1"), mac - _VNET_BYTES + 1)
    segments: Column = np.broadcast_to(np.uint16(1), (rows.size,))
    if gso_type.any():
        gso_size = grid.fields(np.dtype("<u2"), mac - _VNET_BYTES + 4)
        payload = meta["length"].astype(np.int64) - (net - mac + header) - ((rows["data_offset"] & 0xF0) >> 2)
        segments = headers.segments(gso_type, gso_size, payload).reshape(-1)
    return headers.records(rows, _timestamps(meta), segments)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Packets at equal distances in the blocks, or in a copy without the gaps between these.

    `step`: that distance; `mac`, `net`, `first_byte`: of the first packet, where its link and its network header
    begin, and the first byte of the latter.
    """

    content: NDArray[np.uint8]
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    step: int
    mac: int
    net: int
    first_byte: int

    def fields(self, form: np.dtype[Any], offset: int) -> NDArray[Any]:
        """Of each packet, what is so far behind the beginning of its metadata: a view."""
        return np.ndarray(self.shape, form, self.content.data, self.first + offset, self.strides)


def _grid(blocks: Blocks) -> _Grid | None:
    """The packets where they follow each other at equal distances, which is proved; else None."""
    words = blocks.view(_WORD)
    packets = words[:, _PACKETS]
    fullest = int(packets.argmax())
    most, first = int(packets[fullest]), int(words[fullest, _FIRST])
    if most < 2:
        return None
    head = blocks[fullest, first:]
    step = int(head[:4].view(_WORD)[0])
    mac, net = (int(place) for place in head[24:28].view("<u2"))
    if step % 8 or step <= net or first + most * step > BLOCK_BYTES or not (words[:, _FIRST] == first).all():
        return None
    shape, strides = (len(blocks), most), (BLOCK_BYTES, step)
    linked = np.ndarray(shape, _WORD, blocks.data, first, strides)[:, :-1] == step
    first_byte = int(head[net])
    if (packets == most).all():
        return _Grid(blocks, first, shape, strides, step, mac, net, first_byte) if linked.all() else None
    filled = np.arange(most) < packets[:, None]
    linked |= ~filled[:, 1:]
    if not linked.all():
        return None
    content = np.ndarray(shape, f"V{step}", blocks.data, first, strides)[filled]
    return _Grid(content.view(np.uint8), 0, content.shape, (step,), step, mac, net, first_byte)


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


def _timestamps(meta: NDArray[np.void]) -> Column:
    timestamp: Column = np.multiply(meta["seconds"].reshape(-1), 1_000_000_000, dtype=np.uint64)
    timestamp += meta["nanoseconds"].reshape(-1)
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
