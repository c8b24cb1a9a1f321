"""A ring's packets as records, in bulk: numpy over all packets at once, never a loop over them.

Layouts: linux/if_packet.h (tpacket3_hdr, sockaddr_ll), linux/virtio_net.h (virtio_net_hdr, just before the link
header), RFC 791, RFC 8200, RFC 9293. Whatever the bytes are, nothing raises: what cannot be a TCP packet is left
out and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from listener.capture.filter import IPV6_EXTENSIONS, TCP_BYTES
from listener.capture.ring import Block
from tapfan.batch import Column, Records, is_constant
from tapfan.endpoints import IPV4_MAPPED_PREFIX, Endpoint

# A packet's headers are read as rows of a fixed width, which may reach past the block's end: the buffer has room.
_ROW_BYTES = 1024
TOGETHER_BYTES = 2**20  # of blocks decoded at once: what the processor's cache holds
BUFFER_BYTES = TOGETHER_BYTES + _ROW_BYTES

_SMALLEST_PACKET = 72  # tpacket3_hdr and sockaddr_ll
_HEADERS_AT = 24  # tp_mac and, in the upper half of the same word, tp_net
_ADDRESS_AT = 48  # sockaddr_ll, right after the packet's header
_AF_PACKET = 17
_FAMILY = np.uint64(0xFFFF)  # of a sockaddr_ll's first eight bytes
_FAMILY_AND_INTERFACE = np.uint64(0xFFFFFFFF_0000_FFFF)  # between: the protocol
_VNET_BYTES = 10
_TCP = 6
_MAX_NET = 512  # tp_net: link headers are far shorter; what claims more is left out
_MAX_HEADER = _ROW_BYTES - _MAX_NET - TCP_BYTES  # from the network header to the TCP header
_MAX_EXTENSIONS = 8
_AH, _FRAGMENT, _NO_NEXT = 51, 44, 59
_IPV6_BYTES = 40
# Of an IPv4 header's bytes 6 to 9, read as one little-endian word: no fragment offset, and the protocol TCP.
_IPV4_TCP_MASK, _IPV4_TCP = 0xFF00FF1F, 0x06000000
_MAPPED_WORD = int.from_bytes(IPV4_MAPPED_PREFIX[8:], "little")


@dataclass(frozen=True)
class Decoded:
    """The records of a block, and how many of its packets gave none: not whole, or not TCP behind their headers."""

    records: Records
    undecoded: int


@dataclass(frozen=True)
class _Kind:
    """What decides where the fields are: where link and network header begin, and the latter's first byte."""

    mac: int
    net: int
    first_byte: int

    @property
    def version(self) -> int:
        """4 or 6; 0 for what is no IP packet, or has a link header that cannot be."""
        sound = _SMALLEST_PACKET + _VNET_BYTES <= self.mac <= self.net <= _MAX_NET
        version = self.first_byte >> 4
        return version if sound and (version == 6 or (version == 4 and self.ipv4_header >= 20)) else 0

    @property
    def ipv4_header(self) -> int:
        """The length of an IPv4 header."""
        return (self.first_byte & 0x0F) * 4


def decode(buffer: NDArray[np.uint8], blocks: Sequence[Block], endpoints: tuple[Endpoint, ...]) -> Decoded:
    """The records of blocks that lie one after the other in a buffer of BUFFER_BYTES, grouped by kind of packet."""
    sound = (replace(block, packets=min(block.packets, block.size // _SMALLEST_PACKET)) for block in blocks)
    blocks = [block for block in sound if block.packets]
    packets = sum(block.packets for block in blocks)
    if not packets:
        return Decoded(Records.empty(), 0)
    if step := _even_step(buffer, blocks, packets):
        kind = _common_kind(buffer, packets, step)
        if kind and kind.version == 4:
            rows = np.ndarray(packets, _layout(kind, kind.ipv4_header), buffer.data, strides=(step,))
            records = _decode(rows, kind, kind.ipv4_header)
            return Decoded(records, packets - len(records))
        positions = np.arange(0, packets * step, step)
    else:
        positions = _positions(buffer, blocks, packets)
    parts = []
    undecoded = packets - len(positions)
    for kind, chosen in _by_kind(buffer, positions):
        if kind.version == 4:
            records = _decode(_rows(buffer, chosen, _layout(kind, kind.ipv4_header)), kind, kind.ipv4_header)
            good = len(records)
        elif kind.version == 6:
            records, good = _decode_ipv6(buffer, chosen, kind, endpoints)
        else:
            records, good = Records.empty(), 0
        undecoded += len(chosen) - good
        parts.append(records)
    return Decoded(Records.concatenate(parts) if parts else Records.empty(), undecoded)


def _even_step(buffer: NDArray[np.uint8], blocks: Sequence[Block], packets: int) -> int:
    """The distance from each packet to the next where it is the same for all, as when all were cut; else 0."""
    step = int(buffer[:4].view(np.uint32)[0])
    ends = np.cumsum([block.packets for block in blocks])
    starts = (ends - [block.packets for block in blocks]) * step
    if step < _SMALLEST_PACKET or step % 8 or starts.tolist() != [block.start for block in blocks]:
        return 0
    if (packets - 1) * step + _SMALLEST_PACKET > blocks[-1].start + blocks[-1].size:
        return 0
    wanted = np.full(packets, step, np.uint32)
    wanted[ends[:-1] - 1] = 0  # a block's last packet has none after it
    distances = np.ndarray(packets, np.uint32, buffer.data, strides=(step,))
    return step if (distances[:-1] == wanted[:-1]).all() else 0


def _common_kind(buffer: NDArray[np.uint8], packets: int, step: int) -> _Kind | None:
    """The kind of evenly spaced packets; None where they are of several."""
    headers = np.ndarray(packets, np.uint32, buffer.data, _HEADERS_AT, (step,))
    mac, net = int(headers[0]) & 0xFFFF, int(headers[0]) >> 16
    if net > _MAX_NET or not (headers == headers[0]).all():
        return None
    first_bytes = np.ndarray(packets, np.uint8, buffer.data, net, (step,))
    return _Kind(mac, net, int(first_bytes[0])) if (first_bytes == first_bytes[0]).all() else None


def _positions(buffer: NDArray[np.uint8], blocks: Sequence[Block], packets: int) -> Column:
    """Where the packets of all the blocks begin.

    Each header names the distance to the next: a chain, to be followed packet by packet. Instead all places that
    look like a header (their sockaddr_ll has the family and the interface of the first, or at least the family) are
    taken at once, and the distances then prove that these are the chains. Only where packets imitate headers are
    the places of each block sorted out, by jumping along its chain in doubling steps.
    """
    starts = np.array([block.start for block in blocks[1:]], np.int64)
    for mask in (_FAMILY_AND_INTERFACE, _FAMILY):
        candidates, following = _candidates(buffer[: blocks[-1].start + blocks[-1].size], mask)
        if len(candidates) == packets:
            last = np.searchsorted(candidates, starts) - 1
            following[last] = np.where(following[last] == candidates[last], starts, -1)
            if (following[:-1] == candidates[1:]).all():
                return candidates
    parts = []
    for block in blocks:
        candidates, following = _candidates(buffer[block.start : block.start + block.size], _FAMILY)
        parts.append(_follow(candidates, following)[: block.packets] + block.start)
    return np.concatenate(parts)


def _candidates(packets: NDArray[np.uint8], mask: np.uint64) -> tuple[Column, Column]:
    """Places that look like a header, as the first does, and where each says that the next packet is."""
    longs = packets[: len(packets) // 8 * 8].view(np.uint64)[_ADDRESS_AT // 8 :]
    if not len(longs) or int(longs[0]) & 0xFFFF != _AF_PACKET:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    candidates = np.flatnonzero(longs & mask == longs[0] & mask) * 8
    return candidates, candidates + packets[: len(packets) // 4 * 4].view(np.uint32)[candidates // 4]


def _follow(candidates: Column, following: Column) -> Column:
    """Of the candidates, those on the chain that begins at the first."""
    count = len(candidates)
    if not count:
        return candidates
    jump = np.minimum(np.searchsorted(candidates, following), count - 1)
    jump = np.where((candidates[jump] == following) & (following > candidates), jump, count)  # `count`: the end
    jump = np.append(jump, count)
    on_chain = np.zeros(count + 1, bool)
    on_chain[0] = True
    steps = 1
    while steps < count:
        on_chain[jump[np.flatnonzero(on_chain)]] = True
        jump = jump[jump]
        steps *= 2
    return candidates[on_chain[:-1]]


def _by_kind(buffer: NDArray[np.uint8], positions: Column) -> list[tuple[_Kind, Column]]:
    """The packets' positions by kind; nearly all blocks hold one kind."""
    if not len(positions):
        return []
    headers = buffer.view(np.uint32)[(positions + _HEADERS_AT) // 4]
    net = np.minimum(headers >> 16, _MAX_NET + 1)
    kinds = headers.astype(np.uint64) << np.uint64(8) | buffer[positions + net]
    groups = [(kinds[0], positions)]
    if not is_constant(kinds):
        groups = [(kind, positions[kinds == kind]) for kind in np.unique(kinds)]
    return [(_Kind(int(kind) >> 8 & 0xFFFF, int(kind) >> 24, int(kind) & 0xFF), chosen) for kind, chosen in groups]


@lru_cache(maxsize=256)
def _layout(kind: _Kind, header: int) -> np.dtype[np.void]:
    """A packet's fields from its tpacket3_hdr on, with the TCP header `header` bytes after the network header."""
    net, tcp, virtio = kind.net, kind.net + header, kind.mac - _VNET_BYTES
    fields = {
        "seconds": ("<u4", 4),
        "nanoseconds": ("<u4", 8),
        "kept": ("<u4", 12),  # tp_snaplen
        "length": ("<u4", 16),  # tp_len: before it was cut
        "gso_type": ("u1", virtio + 1),
        "gso_size": ("<u2", virtio + 4),
        "source_port": (">u2", tcp),
        "destination_port": (">u2", tcp + 2),
        "data_offset": ("u1", tcp + 12),
        "flags": ("u1", tcp + 13),
    }
    if kind.version == 4:
        fields |= {"fragment_to_protocol": ("<u4", net + 6)}
        fields |= {"source": ("<u4", net + 12), "destination": ("<u4", net + 16)}
    else:
        fields |= {"source": ("V16", net + 8), "destination": ("V16", net + 24)}
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for form, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": tcp + TCP_BYTES,
        }
    )


def _rows(buffer: NDArray[np.uint8], positions: Column, layout: np.dtype[np.void]) -> NDArray[np.void]:
    """The packets' headers in that layout: a view where they are evenly spaced, else copies."""
    step = int(positions[1] - positions[0]) if len(positions) > 1 else 8
    if (np.diff(positions) == step).all():
        return np.ndarray(len(positions), layout, buffer.data, int(positions[0]), (step,))
    windows = np.ndarray((len(buffer) - layout.itemsize) // 8 + 1, f"V{layout.itemsize}", buffer.data, strides=(8,))
    rows: NDArray[np.void] = windows[positions // 8].view(layout)
    return rows


def _decode(rows: NDArray[np.void], kind: _Kind, header: int) -> Records:
    """The records of packets of one kind, those that are no whole TCP packets left out."""
    good = (rows["kept"] >= kind.net + header + TCP_BYTES - kind.mac) & (rows["data_offset"] >= 0x50)
    if kind.version == 4:
        good &= rows["fragment_to_protocol"] & _IPV4_TCP_MASK == _IPV4_TCP
    return _records(rows if good.all() else rows[good], kind.net - kind.mac + header)


def _decode_ipv6(
    buffer: NDArray[np.uint8], positions: Column, kind: _Kind, endpoints: tuple[Endpoint, ...]
) -> tuple[Records, int]:
    """Plain packets, and those with extension headers by where their TCP header is."""
    headers = _ipv6_headers(buffer, positions, kind.net)
    if is_constant(headers) and headers[0] == _IPV6_BYTES:
        records = _decode(_rows(buffer, positions, _layout(kind, _IPV6_BYTES)), kind, _IPV6_BYTES)
        return records, len(records)
    parts, good = [], 0
    for header in np.unique(headers[headers > 0]).tolist():
        records = _decode(_rows(buffer, positions[headers == header], _layout(kind, header)), kind, header)
        good += len(records)
        # The kernel's filter does not look for the port behind extension headers.
        parts.append(records if header == _IPV6_BYTES else records[_wanted(records, endpoints)])
    return (Records.concatenate(parts) if parts else Records.empty()), good


def _ipv6_headers(buffer: NDArray[np.uint8], positions: Column, net: int) -> Column:
    """From the network header to the TCP header, for each packet; 0 where there is none to be found."""
    lengths = np.full(len(positions), _IPV6_BYTES)
    following = buffer[positions + (net + 6)]
    for _ in range(_MAX_EXTENSIONS):
        inside = np.isin(following, IPV6_EXTENSIONS) & (lengths <= _MAX_HEADER - 8)
        if not inside.any():
            break
        at = positions + net + np.where(inside, lengths, 0)
        words = buffer[at + 1].astype(np.int64)
        size = np.where(following == _AH, (words + 2) * 4, (words + 1) * 8)
        size = np.where(following == _FRAGMENT, 8, size)
        offset = buffer[at + 2].astype(np.int64) << 8 | buffer[at + 3]
        later = (following == _FRAGMENT) & (offset & 0xFFF8 != 0)  # a later fragment has no TCP header
        following = np.where(inside, np.where(later, _NO_NEXT, buffer[at]), following)
        lengths = np.where(inside, lengths + size, lengths)
    return np.where((following == _TCP) & (lengths <= _MAX_HEADER), lengths, 0)


def _wanted(records: Records, endpoints: tuple[Endpoint, ...]) -> NDArray[np.bool_]:
    """Which records were sent to one of the endpoints."""
    wanted = np.zeros(len(records), bool)
    for endpoint in endpoints:
        if endpoint.address.version == 6:
            match = records.destination_port == endpoint.port
            if not endpoint.address.is_unspecified:
                match &= (records.destination == np.frombuffer(endpoint.packed, np.uint8)).all(axis=1)
            wanted |= match
    return wanted


def _records(rows: NDArray[np.void], link_and_ip: int) -> Records:
    """The rows' records; `link_and_ip`: the length of all headers before the TCP header."""
    timestamp = rows["seconds"] * np.uint64(1_000_000_000)
    timestamp += rows["nanoseconds"]
    return Records(
        timestamp,
        _addresses(rows["source"]),
        _addresses(rows["destination"]),
        rows["source_port"].astype(np.uint16),
        rows["destination_port"].astype(np.uint16),
        rows["flags"].copy(),
        _segments(rows, link_and_ip),
    )


def _addresses(field: Column) -> Column:
    """Addresses in a record's form: shape (n, 16), IPv4 mapped into IPv6; one for all where all are the same."""
    if len(field) and (field == field[0]).all():
        return np.broadcast_to(_addresses_of(field[:1]), (len(field), 16))
    return _addresses_of(field)


def _addresses_of(field: Column) -> Column:
    if field.dtype.itemsize == 16:
        return field.copy().view(np.uint8).reshape(-1, 16)
    words = np.empty((len(field), 4), "<u4")
    words[:, :2] = 0
    words[:, 2] = _MAPPED_WORD
    words[:, 3] = field
    return words.view(np.uint8)


def _segments(rows: NDArray[np.void], link_and_ip: int) -> Column:
    """How many wire segments the kernel had merged into each packet: its payload by the segments' size."""
    merged = np.flatnonzero(rows["gso_type"])
    if not len(merged):
        return np.broadcast_to(np.uint16(1), (len(rows),))
    some = rows[merged]
    size = np.maximum(some["gso_size"].astype(np.int64), 1)
    payload = some["length"].astype(np.int64) - link_and_ip - (some["data_offset"] >> 4).astype(np.int64) * 4
    segments = np.ones(len(rows), np.uint16)
    segments[merged] = np.where(some["gso_size"] > 0, np.clip(-(-payload // size), 1, 65_535), 1)
    return segments
