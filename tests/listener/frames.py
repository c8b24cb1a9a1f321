"""Frames as they are on a wire, blocks as the kernel lays them out in a TPACKET_V3 ring, and what is read from them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest

from listener.capture.blocks import TOGETHER, alike, copied
from listener.capture.ring import BLOCK_BYTES, Blocks
from listener.decode.decoder import Decoded, decode
from listener.decode.frames import SPARE_BYTES
from listener.decode.packets import Packets
from listener.decode.walk import walk
from tapfan.batch import COLUMNS, Column, Records, widened
from tapfan.endpoints import EVERY_PORT, Endpoint
from tapfan.skips import Skipped

ETH_IPV4, ETH_IPV6, ETH_ARP = 0x0800, 0x86DD, 0x0806
TCP, UDP = 6, 17
HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION = 0, 43, 44, 51, 60
SYN, ACK = 0x02, 0x10
GSO_TCPV4, GSO_TCPV6, GSO_ECN = 1, 4, 0x80

INTERFACE = 1
MOST_EXTENSIONS = 8
NOW_NS = 1_700_000_000_123_456_789
_AF_PACKET = 17
_FIRST_AT = 48  # behind tpacket_block_desc
_USER = 1  # a block's status


@dataclass(frozen=True)
class Frame:
    """A packet with its metadata. `link`: bytes of the link header; `kept`: how many the filter keeps."""

    data: bytes
    link: int
    protocol: int
    timestamp_ns: int = NOW_NS
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
    *,
    length: int | None = None,
) -> bytes:
    """An IPv4 packet; `options`: in multiples of four bytes; `fragment`: the flags and the offset in eights.

    `length`: what it says of itself, if not the truth; that is 0 where it does not fit in (BIG TCP).
    """
    header = 20 + len(options)
    whole = _or_zero(header + len(segment)) if length is None else length
    fixed = struct.pack(">BBHHHBBH", 0x40 | header // 4, 0, whole, 7, fragment, 64, protocol, 0)
    return fixed + IPv4Address(source).packed + IPv4Address(destination).packed + options + segment


def ipv6(
    segment: bytes,
    source: str = "2001:db8::1",
    destination: str = "2001:db8::2",
    extensions: Sequence[tuple[int, bytes]] = (),
    protocol: int = TCP,
    length: int | None = None,
) -> bytes:
    """An IPv6 packet; `extensions`: the kind and the content of each, as `extension` makes it, without its kind.

    `length`: as for `ipv4`.
    """
    kinds = [*(kind for kind, _ in extensions), protocol]
    body = b"".join(bytes([following]) + content for following, (_, content) in zip(kinds[1:], extensions, strict=True))
    body += segment
    fixed = struct.pack(">IHBB", 6 << 28, _or_zero(len(body)) if length is None else length, kinds[0], 64)
    return fixed + IPv6Address(source).packed + IPv6Address(destination).packed + body


def _or_zero(length: int) -> int:
    return length if length < 2**16 else 0


def extension(kind: int, more: int = 0, fragment: int = 0) -> tuple[int, bytes]:
    """An extension header, `more` units longer than the shortest; `fragment`: offset and flag of a fragment's."""
    if kind == FRAGMENT:
        return kind, struct.pack(">BHI", 0, fragment, 9)
    if kind == AH:
        return kind, bytes([more + 1]) + bytes(10 + 4 * more)
    return kind, bytes([more]) + bytes(6 + 8 * more)


def jumbo(length: int) -> tuple[int, bytes]:
    """A hop-by-hop header with the jumbo payload option (RFC 2675)."""
    return HOP_BY_HOP, struct.pack(">BBBI", 0, 0xC2, 4, length)


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
    return [replace(frame, timestamp_ns=NOW_NS + 1_000 * i) for i, frame in enumerate(frames)]


def laid_out(frames: Sequence[Frame], noise: int = 0, stale: Sequence[Frame] = ()) -> Blocks:
    """These packets in as many blocks as they fill, as the kernel writes them.

    Where it writes nothing, there is `noise` and, in each block, what it wrote of the `stale` packets a lap before.
    """
    return in_blocks(_split(frames), noise, stale)


def _split(frames: Sequence[Frame]) -> list[list[Frame]]:
    """As many as fit in a block, for each."""
    parts: list[list[Frame]] = [[]]
    used = _FIRST_AT
    for frame in frames:
        size = entry_bytes(frame)
        if used + size > BLOCK_BYTES:
            parts.append([])
            used = _FIRST_AT
        parts[-1].append(frame)
        used += size
    return parts


def in_blocks(parts: Sequence[Sequence[Frame]], noise: int = 0, stale: Sequence[Frame] = ()) -> Blocks:
    """A block for each part, which must fit in; otherwise as `laid_out`."""
    old = _split(stale)[0]
    blocks = np.full((len(parts), BLOCK_BYTES), noise, np.uint8)
    for block, part in zip(blocks, parts, strict=True):
        _fill(block.data, old)
        _fill(block.data, part)
    return blocks


def _fill(block: memoryview, frames: Sequence[Frame]) -> None:
    """A tpacket_block_desc, and the packets."""
    at = places(frames)
    length = at[-1] + entry_bytes(frames[-1]) if frames else _FIRST_AT
    struct.pack_into("<IIIIII24x", block, 0, 3, _FIRST_AT, _USER, len(frames), _FIRST_AT, length)
    for place, frame in zip(at, frames, strict=True):
        _put(block, place, frame, last=place == at[-1])


def places(frames: Sequence[Frame]) -> list[int]:
    """Where each packet begins in a block of these."""
    at, found = _FIRST_AT, []
    for frame in frames:
        found.append(at)
        at += entry_bytes(frame)
    return found


def entry_bytes(frame: Frame) -> int:
    """How far the next packet is behind this one."""
    return -(-(_net(frame) - frame.link + len(frame.data[: frame.kept])) // 8) * 8


def _net(frame: Frame) -> int:
    return -(-(48 + 20 + max(frame.link, 16)) // 16) * 16 + 10


def _put(block: memoryview, at: int, frame: Frame, last: bool) -> None:
    """tpacket3_hdr, sockaddr_ll, virtio_net_hdr and the frame, as tpacket_rcv() of net/packet/af_packet.c puts them."""
    net = _net(frame)
    mac = net - frame.link
    kept = frame.data[: frame.kept]
    seconds, nanoseconds = divmod(frame.timestamp_ns, 10**9)
    sizes = (len(kept), len(frame.data))
    following = 0 if last else entry_bytes(frame)
    struct.pack_into("<6IHH20x", block, at, following, seconds, nanoseconds, *sizes, 1, mac, net)
    block[at + 48 : at + 66] = address(frame.protocol, frame.interface)
    struct.pack_into("<BBHHHH", block, at + mac - 10, 0, frame.gso_type, 54, frame.gso_size, 34, 16)
    block[at + mac : at + mac + len(kept)] = kept


def address(protocol: int = ETH_IPV4, interface: int = INTERFACE) -> bytes:
    """A packet's sockaddr_ll, by which its header can be found, and imitated."""
    return struct.pack("<H", _AF_PACKET) + struct.pack(">H", protocol) + struct.pack("<IHBB6x", interface, 1, 0, 6)


def decoded(blocks: Blocks, tunnels: bool = False) -> Decoded:
    """What the listener makes of blocks, of which it takes so many at once. All ways to read them must agree."""
    parts = [_decoded(blocks[at : at + TOGETHER], tunnels) for at in range(0, len(blocks), TOGETHER)]
    return Decoded(
        Records.concatenate([part.records for part in parts]), sum((part.skipped for part in parts), Skipped())
    )


def _decoded(blocks: Blocks, tunnels: bool) -> Decoded:
    at_once = alike(blocks)
    packets = copied(blocks, np.full(blocks.size + SPARE_BYTES, 0xA5, np.uint8))
    by_kind = decoded_packets(packets, tunnels)
    if at_once is None:
        return by_kind
    assert not by_kind.skipped
    assert _in_any_order(at_once) == _in_any_order(by_kind.records)
    return Decoded(at_once)


def decoded_packets(packets: Packets, tunnels: bool = False) -> Decoded:
    """What the decoder makes of packets: the same in bulk, in bulk however few are of a kind, and step by step."""
    by_kind = decode(packets, tunnels)
    stepwise = Decoded(*walk(packets, tunnels))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("listener.decode.decoder._FEWEST", 1)
        of_few = decode(packets, tunnels)
    for other in (stepwise, of_few):
        assert other.skipped == by_kind.skipped
        assert _in_any_order(other.records) == _in_any_order(by_kind.records)
    assert len(by_kind.records) + by_kind.skipped.total() == len(packets)
    return by_kind


def _columns(records: Records) -> list[Column]:
    """The columns, addresses at their full width."""
    columns = ((getattr(records, name), width) for name, (_, width) in COLUMNS.items())
    return [column if width == 1 else widened(column) for column, width in columns]


def _in_any_order(records: Records) -> list[bytes]:
    columns = _columns(records)
    parts = [np.ascontiguousarray(column).view(np.uint8) for column in columns]
    widths = [dtype.itemsize * width for dtype, width in COLUMNS.values()]
    table = [part.reshape(len(records), width) for part, width in zip(parts, widths, strict=True)]
    return sorted(row.tobytes() for row in np.concatenate(table, axis=1))


def rows(records: Records) -> list[Record]:
    """The records one by one."""
    columns = _columns(records)
    assert [(column.dtype.kind, column.dtype.itemsize, column.shape) for column in columns] == [
        (dtype.kind, dtype.itemsize, (len(records),) if width == 1 else (len(records), width))
        for dtype, width in COLUMNS.values()
    ]
    return [
        Record(int(timestamp), source.tobytes(), destination.tobytes(), int(sport), int(dport), int(flags), int(merged))
        for timestamp, source, destination, sport, dport, flags, merged in zip(*columns, strict=True)
    ]


def sent_to(record: Record, endpoints: Sequence[Endpoint]) -> bool:
    """Whether the record's packet was sent to one of the endpoints."""
    version = 4 if record.destination.startswith(bytes(10) + b"\xff\xff") else 6
    return any(
        endpoint.address.version == version
        and endpoint.port in (EVERY_PORT, record.destination_port)
        and (endpoint.address.is_unspecified or endpoint.packed == record.destination)
        for endpoint in endpoints
    )
