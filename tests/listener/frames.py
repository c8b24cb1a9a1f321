"""Frames as they are on a wire, blocks as the kernel lays them out in a TPACKET_V3 ring, and what is in them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numpy.typing import NDArray

from listener.capture.decode import BUFFER_BYTES, Decoded, decode
from listener.capture.ring import Block
from tapfan.batch import COLUMNS, Records
from tapfan.endpoints import Endpoint, packed

ETH_IPV4, ETH_IPV6, ETH_ARP = 0x0800, 0x86DD, 0x0806
TCP, UDP = 6, 17
HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION = 0, 43, 44, 51, 60
SYN, ACK = 0x02, 0x10
GSO_TCPV4, GSO_TCPV6, GSO_ECN = 1, 4, 0x80

INTERFACE = 1
MOST_EXTENSIONS = 8
_NOW_NS = 1_700_000_000_123_456_789
_AF_PACKET = 17
_EXTENSIONS = (HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION, 135, 139, 140)

Buffer = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """A packet with its metadata. `link`: bytes of the link header; `kept`: how many the filter keeps."""

    data: bytes
    link: int
    protocol: int
    timestamp_ns: int = _NOW_NS
    kept: int = 2**16
    gso_type: int = 0
    gso_size: int = 0
    interface: int = INTERFACE

    @property
    def network(self) -> bytes:
        """What is kept from the network header on."""
        return self.data[self.link : self.kept]


@dataclass(frozen=True)
class Record:
    """One record, to be compared."""

    timestamp: int
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    flags: int
    segments: int


def tcp(
    source_port: int = 40_000,
    destination_port: int = 9000,
    flags: int = SYN,
    options: bytes = b"",
    payload: bytes = b"",
) -> bytes:
    """A TCP segment; `options`: in multiples of four bytes."""
    offset = (20 + len(options)) // 4 << 4
    header = struct.pack(">HHIIBBHHH", source_port, destination_port, 1, 2, offset, flags, 512, 0, 0)
    return header + options + payload


def ipv4(
    segment: bytes,
    source: str = "192.0.2.1",
    destination: str = "198.51.100.2",
    options: bytes = b"",
    protocol: int = TCP,
    fragment: int = 0,
) -> bytes:
    """An IPv4 packet; `options`: in multiples of four bytes; `fragment`: the flags and the offset in eights."""
    header = 20 + len(options)
    fixed = struct.pack(
        ">BBHHHBBH", 0x40 | header // 4, 0, (header + len(segment)) & 0xFFFF, 7, fragment, 64, protocol, 0
    )
    return fixed + IPv4Address(source).packed + IPv4Address(destination).packed + options + segment


def ipv6(
    segment: bytes,
    source: str = "2001:db8::1",
    destination: str = "2001:db8::2",
    extensions: Sequence[tuple[int, bytes]] = (),
    protocol: int = TCP,
) -> bytes:
    """An IPv6 packet; `extensions`: the kind and the content of each, as `extension` makes it, without its kind."""
    kinds = [*(kind for kind, _ in extensions), protocol]
    body = b"".join(bytes([following]) + content for following, (_, content) in zip(kinds[1:], extensions, strict=True))
    body += segment
    fixed = struct.pack(">IHBB", 6 << 28, len(body) & 0xFFFF, kinds[0], 64)
    return fixed + IPv6Address(source).packed + IPv6Address(destination).packed + body


def extension(kind: int, more: int = 0, fragment: int = 0) -> tuple[int, bytes]:
    """An extension header, `more` units longer than the shortest; `fragment`: offset and flag of a fragment's."""
    if kind == FRAGMENT:
        return kind, struct.pack(">BHI", 0, fragment, 9)
    if kind == AH:
        return kind, bytes([more + 1]) + bytes(10 + 4 * more)
    return kind, bytes([more]) + bytes(6 + 8 * more)


def ethernet(packet: bytes, protocol: int | None = None, vlan: int | None = None) -> Frame:
    """The packet in an Ethernet frame, with an inline VLAN tag if there is one."""
    if protocol is None:
        protocol = ETH_IPV6 if packet[0] >> 4 == 6 else ETH_IPV4
    tag = b"" if vlan is None else struct.pack(">HH", 0x8100, vlan)
    link = b"\x02" * 6 + b"\x04" * 6 + tag + struct.pack(">H", protocol)
    return Frame(link + packet, len(link), protocol)


def bare(packet: bytes) -> Frame:
    """The packet of an interface without link headers, such as a tunnel's."""
    return replace(ethernet(packet), data=packet, link=0)


def numbered(frames: Sequence[Frame]) -> list[Frame]:
    """The frames, each captured a little later than the one before."""
    return [replace(frame, timestamp_ns=_NOW_NS + 1_000 * i) for i, frame in enumerate(frames)]


def laid_out(frames: Sequence[Frame], noise: int = 0) -> tuple[Buffer, Block]:
    """A buffer, filled up with `noise`, that begins with a block of these packets, as the kernel writes it."""
    data = b"".join(_entry(frame, last=i == len(frames) - 1) for i, frame in enumerate(frames))
    return filled(data, noise), Block(len(frames), len(data))


def in_blocks(parts: Sequence[Sequence[Frame]], noise: int = 0) -> tuple[Buffer, list[Block]]:
    """A buffer with a block for each part, one after the other, as they are copied from the ring."""
    buffer = filled(b"", noise)
    blocks: list[Block] = []
    end = 0
    for part in parts:
        content, block = laid_out(part)
        buffer[end : end + block.size] = content[: block.size]
        blocks.append(replace(block, start=end))
        end += block.size
    return buffer, blocks


def filled(data: bytes, noise: int = 0) -> Buffer:
    """A buffer that begins with the data."""
    buffer = np.full(BUFFER_BYTES, noise, np.uint8)
    buffer[: len(data)] = np.frombuffer(data, np.uint8)
    return buffer


def _entry(frame: Frame, last: bool) -> bytes:
    """tpacket3_hdr, sockaddr_ll, virtio_net_hdr and the frame, as tpacket_rcv() of net/packet/af_packet.c puts them."""
    net = -(-(48 + 20 + max(frame.link, 16)) // 16) * 16 + 10
    mac = net - frame.link
    kept = frame.data[: frame.kept]
    length = -(-(mac + len(kept)) // 8) * 8
    seconds, nanoseconds = divmod(frame.timestamp_ns, 10**9)
    entry = bytearray(length)
    sizes = (len(kept), len(frame.data))
    struct.pack_into("<6IHH", entry, 0, 0 if last else length, seconds, nanoseconds, *sizes, 1, mac, net)
    entry[48:68] = address(frame.protocol, frame.interface)
    struct.pack_into("<BBHHHH", entry, mac - 10, 0, frame.gso_type, 54, frame.gso_size, 34, 16)
    entry[mac : mac + len(kept)] = kept
    return bytes(entry)


def address(protocol: int = ETH_IPV4, interface: int = INTERFACE) -> bytes:
    """A packet's sockaddr_ll, by which its header can be found, and imitated."""
    return struct.pack("<H", _AF_PACKET) + struct.pack(">H", protocol) + struct.pack("<IHBB8x", interface, 1, 0, 6)


def decoded(buffer: Buffer, block: Block, endpoints: Sequence[Endpoint] = ()) -> Decoded:
    """What the listener makes of a block."""
    return decode(buffer, [block], tuple(endpoints))


def rows(records: Records) -> list[Record]:
    """The records one by one."""
    columns = [getattr(records, name) for name in COLUMNS]
    assert [(column.dtype.kind, column.dtype.itemsize, column.shape) for column in columns] == [
        (dtype.kind, dtype.itemsize, (len(records),) if width == 1 else (len(records), width))
        for dtype, width in COLUMNS.values()
    ]
    return [
        Record(int(timestamp), source.tobytes(), destination.tobytes(), int(sport), int(dport), int(flags), int(merged))
        for timestamp, source, destination, sport, dport, flags, merged in zip(*columns, strict=True)
    ]


def reference(frame: Frame) -> Record | None:
    """The record of a frame, read step by step; None when what is kept is no whole TCP packet's headers."""
    at = tcp_at(frame)
    if at is None or len(frame.network) < at + 14:
        return None
    network = frame.network
    source_port, destination_port = struct.unpack_from(">HH", network, at)
    tcp_bytes = (network[at + 12] >> 4) * 4
    if tcp_bytes < 20:
        return None
    if network[0] >> 4 == 4:
        source, destination = (packed(str(IPv4Address(network[start : start + 4]))) for start in (12, 16))
    else:
        source, destination = network[8:24], network[24:40]
    payload = len(frame.data) - frame.link - at - tcp_bytes
    merged = frame.gso_type and frame.gso_size
    segments = min(max(-(-payload // frame.gso_size), 1), 65_535) if merged else 1
    return Record(frame.timestamp_ns, source, destination, source_port, destination_port, network[at + 13], segments)


def tcp_at(frame: Frame) -> int | None:
    """Where the TCP header is, from the network header on; None when there is none."""
    network = frame.network
    if len(network) >= 20 and network[0] >> 4 == 4:
        offset = struct.unpack_from(">H", network, 6)[0] & 0x1FFF
        header = (network[0] & 15) * 4
        return header if header >= 20 and not offset and network[9] == TCP else None
    if len(network) < 40 or network[0] >> 4 != 6:
        return None
    following, at = network[6], 40
    for _ in range(MOST_EXTENSIONS):
        if following not in _EXTENSIONS or len(network) < at + 8:
            break
        if following == FRAGMENT and struct.unpack_from(">H", network, at + 2)[0] & 0xFFF8:
            return None
        size = {FRAGMENT: 8, AH: (network[at + 1] + 2) * 4}.get(following, (network[at + 1] + 1) * 8)
        following, at = network[at], at + size
    return at if following == TCP else None


def is_extended(frame: Frame) -> bool:
    """Whether the packet has IPv6 extension headers: the kernel's filter does not see its port."""
    return frame.network[:1] >= b"\x60" and tcp_at(frame) not in (None, 40)


def sent_to(record: Record, endpoints: Sequence[Endpoint]) -> bool:
    """Whether the record's packet was sent to one of the endpoints."""
    version = 4 if record.destination.startswith(bytes(10) + b"\xff\xff") else 6
    return any(
        endpoint.address.version == version
        and endpoint.port == record.destination_port
        and (endpoint.address.is_unspecified or endpoint.packed == record.destination)
        for endpoint in endpoints
    )
