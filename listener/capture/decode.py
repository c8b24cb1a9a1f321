"""A ring block's packets as records, in bulk: numpy over all packets at once, never a loop over them.

Layouts: linux/if_packet.h (tpacket_block_desc, tpacket3_hdr, sockaddr_ll), linux/virtio_net.h (virtio_net_hdr,
just before the link header), RFC 791, RFC 8200, RFC 9293. Whatever the bytes are, nothing raises: what cannot be
a TCP packet is left out and counted.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from listener.capture.filter import IPV6_EXTENSIONS, TCP_BYTES
from listener.capture.ring import BLOCK_BYTES
from tapfan.batch import Column, Records
from tapfan.endpoints import IPV4_MAPPED_PREFIX, Endpoint

# A packet's headers are read as rows of a fixed width, which may reach past the block's end: the buffer has room.
_ROW_BYTES = 1024
BUFFER_BYTES = BLOCK_BYTES + _ROW_BYTES

_PACKETS, _FIRST = 12 // 4, 16 // 4  # tpacket_block_desc, in words
_BLOCK_HEADER = 48
_SMALLEST_PACKET = 72  # tpacket3_hdr and sockaddr_ll
_ADDRESS_FAMILY_AT = 48  # sockaddr_ll, right after the packet's header
_AF_PACKET = 17
_FAMILY_AND_INTERFACE = np.uint64(0xFFFFFFFF_0000_FFFF)  # of a sockaddr_ll's first eight bytes; between: the protocol
_VNET_BYTES = 10
_TCP = 6
_ETHERNET_NET = 106  # tp_net of an Ethernet packet, and of whatever else has a link header up to 16 bytes
_MAX_NET = 512  # link headers are far shorter; what claims more is left out
_MAX_EXTENSIONS = 8
_AH, _FRAGMENT = 51, 44
_MAPPED_WORD = int.from_bytes(IPV4_MAPPED_PREFIX[8:], "little")


@dataclass(frozen=True)
class Decoded:
    """The records of a block, and how many of its packets could not be decoded."""

    records: Records
    malformed: int


def decode(buffer: NDArray[np.uint8], used: int, endpoints: tuple[Endpoint, ...]) -> Decoded:
    """The records of the block in the first `used` bytes of a buffer of BUFFER_BYTES, in no particular order."""
    positions, lost = _positions(buffer, used)
    parts = []
    decoded = 0
    if len(positions):
        halfwords = buffer.view(np.uint16)
        net = halfwords[(positions + 26) // 2]
        net = np.where(net <= _MAX_NET, net, 0)
        # What decides where the fields are: the network header's place, the IP version and its header's length.
        kinds = net.astype(np.uint32) << 8 | buffer[positions + net]
        for kind in _unique(kinds):
            chosen = positions if len(positions) == np.count_nonzero(kinds == kind) else positions[kinds == kind]
            records, seen = _decode_kind(buffer, chosen, int(kind) >> 8, int(kind) & 0xFF, endpoints)
            parts.append(records)
            decoded += seen
    records = Records.concatenate(parts) if parts else Records.empty()
    return Decoded(records, len(positions) + lost - decoded)


def _unique(values: Column) -> list[int]:
    """The distinct values; for nearly all blocks there is one."""
    if (values == values[0]).all():
        return [values[0]]
    return list(np.unique(values))


def _positions(buffer: NDArray[np.uint8], used: int) -> tuple[Column, int]:
    """Where the packets' headers are, and how many more there should be.

    Each header names the distance to the next: a chain, to be followed packet by packet. Where the packets were
    cut to one length, the first distance leads to all of them, as theirs then prove. Else all places that look
    like a header (their sockaddr_ll has the family and the interface of the first) are taken at once, and again
    the distances prove that these are the chain. Only where packets imitate headers are the places sorted out,
    by jumping along the chain in doubling steps.
    """
    words = buffer[:_BLOCK_HEADER].view(np.uint32)
    packets, first = min(int(words[_PACKETS]), used // _SMALLEST_PACKET), int(words[_FIRST])
    if not packets or first % 8 or not _BLOCK_HEADER <= first <= used - _ADDRESS_FAMILY_AT - 8:
        return np.empty(0, np.int64), packets
    step = int(buffer[first : first + 4].view(np.uint32)[0])
    if step >= _SMALLEST_PACKET and step % 8 == 0 and first + (packets - 1) * step <= used - _SMALLEST_PACKET:
        distances = np.ndarray(packets - 1, np.uint32, buffer.data, first, (step,))
        if (distances == step).all():
            return np.arange(first, first + packets * step, step), 0
    longs = buffer[: used // 8 * 8].view(np.uint64)
    signature = longs[(first + _ADDRESS_FAMILY_AT) // 8] & _FAMILY_AND_INTERFACE
    if int(signature) & 0xFFFF != _AF_PACKET:
        return np.empty(0, np.int64), packets
    begin = (first + _ADDRESS_FAMILY_AT) // 8
    candidates = np.flatnonzero(longs[begin:] & _FAMILY_AND_INTERFACE == signature) * 8 + first
    distances = buffer.view(np.uint32)[candidates // 4]
    if len(candidates) == packets and (candidates[:-1] + distances[:-1] == candidates[1:]).all():
        return candidates, 0
    chain = _follow(candidates, distances)[:packets]
    return chain, packets - len(chain)


def _follow(candidates: Column, distances: Column) -> Column:
    """Of the candidates, those on the chain that begins at the first."""
    count = len(candidates)
    following = candidates + distances
    jump = np.minimum(np.searchsorted(candidates, following), count - 1)
    jump = np.where((candidates[jump] == following) & (distances > 0), jump, count)  # `count`: the chain ends
    jump = np.append(jump, count)
    on_chain = np.zeros(count + 1, bool)
    on_chain[0] = True
    steps = 1
    while steps < count:
        on_chain[jump[np.flatnonzero(on_chain)]] = True
        jump = jump[jump]
        steps *= 2
    return candidates[on_chain[:-1]]


@lru_cache(maxsize=256)
def _layout(net: int, header: int, version: int) -> np.dtype[np.void]:
    """A packet's fields, from its tpacket3_hdr on, with the TCP header `header` bytes after the network header."""
    tcp = net + header
    fields = {
        "seconds": ("<u4", 4),
        "nanoseconds": ("<u4", 8),
        "kept": ("<u4", 12),  # tp_snaplen
        "length": ("<u4", 16),  # tp_len: before it was cut
        "mac": ("<u2", 24),
        "net": ("<u2", 26),
        "source_port": (">u2", tcp),
        "destination_port": (">u2", tcp + 2),
        "data_offset": ("u1", tcp + 12),
        "flags": ("u1", tcp + 13),
    }
    if version == 4:
        fields |= {"fragment": (">u2", net + 6), "protocol": ("u1", net + 9)}
        fields |= {"source": ("<u4", net + 12), "destination": ("<u4", net + 16)}
    else:
        fields |= {"protocol": ("u1", net + 6), "source": ("V16", net + 8), "destination": ("V16", net + 24)}
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


def _decode_kind(
    buffer: NDArray[np.uint8], positions: Column, net: int, first_byte: int, endpoints: tuple[Endpoint, ...]
) -> tuple[Records, int]:
    """The records of packets of one kind, and how many of them were good TCP packets, recorded or not."""
    version, words = first_byte >> 4, first_byte & 0x0F
    if not net or version not in (4, 6) or (version == 4 and words < 5):
        return Records.empty(), 0
    if version == 4:
        header = words * 4
        rows = _rows(buffer, positions, _layout(net, header, 4))
        good = _whole(rows, net, header) & (rows["protocol"] == _TCP) & (rows["fragment"] & 0x1FFF == 0)
        records = _records(buffer, positions, rows, header)
        return (records, len(records)) if good.all() else (records[good], int(np.count_nonzero(good)))
    return _decode_ipv6(buffer, positions, net, endpoints)


def _decode_ipv6(
    buffer: NDArray[np.uint8], positions: Column, net: int, endpoints: tuple[Endpoint, ...]
) -> tuple[Records, int]:
    """Plain packets, and those with extension headers by where their TCP header is."""
    headers = _ipv6_header_lengths(buffer, positions, net)
    parts, seen = [], 0
    for header in _unique(headers):
        chosen = positions if len(positions) == np.count_nonzero(headers == header) else positions[headers == header]
        if not header:
            continue
        rows = _rows(buffer, chosen, _layout(net, int(header), 6))
        good = _whole(rows, net, int(header))
        records = _records(buffer, chosen, rows, int(header))
        records = records if good.all() else records[good]
        seen += len(records)
        # The kernel's filter does not look for the port behind extension headers.
        parts.append(records if header == 40 else records[_wanted(records, endpoints)])
    return (Records.concatenate(parts) if parts else Records.empty()), seen


def _whole(rows: NDArray[np.void], net: int, header: int) -> NDArray[np.bool_]:
    """Whether the headers were captured as far as the TCP flags, and are what they say."""
    mac = rows["mac"].astype(np.int64)
    kept = rows["kept"].astype(np.int64)
    return (
        (mac >= 68 + _VNET_BYTES)
        & (mac <= net)
        & (mac + kept >= net + header + TCP_BYTES)
        & (rows["data_offset"] >= 0x50)
    )


def _ipv6_header_lengths(buffer: NDArray[np.uint8], positions: Column, net: int) -> Column:
    """From the network header to the TCP header, for each packet; 0 where there is none to be found."""
    count = len(positions)
    lengths = np.full(count, 40)
    following = buffer[positions + (net + 6)]
    if (following == _TCP).all():
        return lengths
    for _ in range(_MAX_EXTENSIONS):
        inside = np.isin(following, IPV6_EXTENSIONS) & (lengths <= _ROW_BYTES - _MAX_NET - TCP_BYTES - 8)
        if not inside.any():
            break
        at = positions + net + np.where(inside, lengths, 0)
        size = (buffer[at + 1].astype(np.int64) + 1) * 8
        size = np.where(following == _AH, (buffer[at + 1].astype(np.int64) + 2) * 4, size)
        size = np.where(following == _FRAGMENT, 8, size)
        # A later fragment has no TCP header.
        later = (following == _FRAGMENT) & ((buffer[at + 2].astype(np.int64) << 8 | buffer[at + 3]) & 0xFFF8 != 0)
        following = np.where(inside, np.where(later, 59, buffer[at]), following)
        lengths = np.where(inside, lengths + size, lengths)
    fits = lengths <= _ROW_BYTES - _MAX_NET - TCP_BYTES
    return np.where((following == _TCP) & fits, lengths, 0)


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


def _records(buffer: NDArray[np.uint8], positions: Column, rows: NDArray[np.void], header: int) -> Records:
    count = len(rows)
    records = Records.empty(count)
    np.multiply(rows["seconds"], np.uint64(1_000_000_000), out=records.timestamp)
    np.add(records.timestamp, rows["nanoseconds"], out=records.timestamp)
    for name in ("source", "destination"):
        column = getattr(records, name)
        if rows[name].dtype.itemsize == 4:
            words = column.view("<u4")
            words[:, :2] = 0
            words[:, 2] = _MAPPED_WORD
            words[:, 3] = rows[name]
        else:
            column.view("V16")[:, 0] = rows[name]
    records.source_port[:] = rows["source_port"]
    records.destination_port[:] = rows["destination_port"]
    records.flags[:] = rows["flags"]
    records.segments[:] = _segments(buffer, positions, rows, header)
    return records


def _segments(buffer: NDArray[np.uint8], positions: Column, rows: NDArray[np.void], header: int) -> Column | int:
    """How many wire segments the kernel had merged into each packet: its payload by the segments' size."""
    virtio = positions + np.clip(rows["mac"].astype(np.int64) - _VNET_BYTES, 0, _MAX_NET)
    merged = np.flatnonzero(buffer[virtio + 1])  # gso_type
    if not len(merged):
        return 1
    segments = np.ones(len(rows), np.int64)
    some = rows[merged]
    at = virtio[merged] + 4
    size = buffer[at].astype(np.int64) | buffer[at + 1].astype(np.int64) << 8  # gso_size, in the host's order
    link_and_ip = some["net"].astype(np.int64) - some["mac"] + header
    payload = some["length"].astype(np.int64) - link_and_ip - (some["data_offset"] >> 4).astype(np.int64) * 4
    whole = np.where(size > 0, -(-payload // np.maximum(size, 1)), 1)
    segments[merged] = np.clip(whole, 1, 65_535)
    return segments
