"""Packets inside other packets."""

import struct
from collections.abc import Callable

from tests.listener import frames

IPIP, SIX_IN_ANY, GRE = 4, 41, 47
VXLAN_PORT, GENEVE_PORT = 4789, 6081
BRIDGING = 0x6558
CHECKSUM, ROUTING, KEY, SEQUENCE = 0x8000, 0x4000, 0x2000, 0x1000  # of GRE

Outer = Callable[..., bytes]
OUTER: tuple[Outer, ...] = (frames.ipv4, frames.ipv6)


def ether_type(packet: bytes) -> int:
    """The EtherType of an IP packet."""
    return frames.ETH_IPV6 if packet[0] >> 4 == 6 else frames.ETH_IPV4


def in_ip(outer: Outer, packet: bytes) -> bytes:
    """An IP packet at once behind another's header."""
    return outer(packet, protocol=SIX_IN_ANY if packet[0] >> 4 == 6 else IPIP)


def in_gre(outer: Outer, packet: bytes, flags: int = 0, protocol: int | None = None) -> bytes:
    """A packet in GRE; `flags`: also its version."""
    fields = bytes(4 * sum(bool(flags & bit) for bit in (CHECKSUM, KEY, SEQUENCE)))
    header = struct.pack(">HH", flags, ether_type(packet) if protocol is None else protocol)
    return outer(header + fields + packet, protocol=GRE)


def bridged(packet: bytes, *tags: int) -> bytes:
    """An Ethernet frame with a packet, behind VLAN tags of these kinds."""
    tagged = b"".join(struct.pack(">HH", kind, 7) for kind in tags)
    return b"\x02" * 6 + b"\x04" * 6 + tagged + struct.pack(">H", ether_type(packet)) + packet


def udp(payload: bytes, port: int) -> bytes:
    """A UDP datagram to the port."""
    return struct.pack(">HHHH", 50_000, port, 8 + len(payload), 0) + payload


def in_vxlan(outer: Outer, frame: bytes, flags: int = 0x08) -> bytes:
    """An Ethernet frame in VXLAN."""
    return outer(udp(struct.pack(">BxxxI", flags, 5 << 8) + frame, VXLAN_PORT), protocol=frames.UDP)


def in_geneve(outer: Outer, inner: bytes, protocol: int = BRIDGING, options: bytes = b"", version: int = 0) -> bytes:
    """A frame, or a packet of the protocol, in Geneve; `options`: in multiples of four bytes."""
    header = struct.pack(">BBHI", version << 6 | len(options) // 4, 0, protocol, 5 << 8)
    return outer(udp(header + options + inner, GENEVE_PORT), protocol=frames.UDP)
