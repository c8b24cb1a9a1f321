"""A packet read step by step, as its layout says: its record, or why it gives none."""

import struct
from dataclasses import dataclass

from listener.decode.protocols import LinkType
from tapfan.endpoints import IPV4_MAPPED_PREFIX
from tapfan.skips import SkipReason
from tests.listener import frames
from tests.listener.frames import Frame, Record

MOST_TUNNELS = 4
_VLAN = (0x8100, 0x88A8, 0x9100)
_MOST_TAGS = 3
_BRIDGING = 0x6558
_IPIP, _SIX_IN_ANY, _GRE = 4, 41, 47
_VXLAN_PORT, _GENEVE_PORT = 4789, 6081
_EXTENSIONS = (frames.HOP_BY_HOP, frames.ROUTING, frames.FRAGMENT, frames.AH, frames.DESTINATION, 135, 139, 140)
_FAMILIES = {2: frames.ETH_IPV4} | dict.fromkeys((10, 23, 24, 28, 30), frames.ETH_IPV6)


class _Skip(Exception):  # noqa: N818 (it is no error)
    def __init__(self, reason: SkipReason) -> None:
        self.reason: SkipReason = reason


@dataclass
class _Reader:
    """`content`: what is kept, and belongs to the packet, from the network header on; `stop`: where its packet ends."""

    content: bytes
    protocol: int
    stop: int
    at: int = 0
    version: int = 0
    source: bytes = b""
    destination: bytes = b""
    first: bool = False

    def number(self, offset: int, size: int = 2) -> int:
        """The number there; all up to it must be there."""
        self.need(offset + size)
        return int.from_bytes(self.content[self.at + offset : self.at + offset + size])

    def need(self, count: int) -> None:
        if self.at + count > len(self.content):
            raise _Skip("truncated")

    def read_tags(self) -> None:
        for _ in range(_MOST_TAGS):
            if self.protocol in _VLAN:
                self.need(4)
                self.protocol = self.number(2)
                self.at += 4

    def read_ip(self) -> None:
        self.first = False
        if self.protocol == frames.ETH_IPV4:
            self._read_ipv4()
        elif self.protocol == frames.ETH_IPV6:
            self._read_ipv6()
        else:
            raise _Skip("not_tcp")

    def _ends(self, length: int) -> None:
        """Leave out what is behind the packet."""
        self.stop = self.at + length
        self.content = self.content[: self.stop]

    def _read_ipv4(self) -> None:
        self.need(20)
        version, header, length = self.number(0, 1) >> 4, self.number(0, 1) % 16 * 4, self.number(2)
        if version != 4 or header < 20 or 0 < length < header:
            raise _Skip("bad_ip")
        fragment = self.number(6)
        self.version, self.protocol = 4, self.number(9, 1)
        self.source, self.destination = (
            IPV4_MAPPED_PREFIX + self.content[self.at + start : self.at + start + 4] for start in (12, 16)
        )
        if length:
            self._ends(length)
        if fragment % 0x2000:
            raise _Skip("fragment" if self.protocol == frames.TCP else "not_tcp")
        self.first = bool(fragment & 0x2000)
        self.at += header

    def _read_ipv6(self) -> None:
        self.need(40)
        if self.number(0, 1) >> 4 != 6:
            raise _Skip("bad_ip")
        length = self.number(4)
        self.version, self.protocol = 6, self.number(6, 1)
        self.source, self.destination = (self.content[self.at + start : self.at + start + 16] for start in (8, 24))
        if length:
            self._ends(40 + length)
        self.at += 40
        for _ in range(frames.MOST_EXTENSIONS):
            if self.protocol not in _EXTENSIONS:
                return
            self._read_extension()
        if self.protocol in _EXTENSIONS:
            raise _Skip("bad_extension")

    def _read_extension(self) -> None:
        self.need(8)
        kind, self.protocol, units = self.protocol, self.number(0, 1), self.number(1, 1)
        if kind == frames.FRAGMENT:
            fragment = self.number(2)
            if fragment >> 3:
                may_be_tcp = self.protocol == frames.TCP or self.protocol in _EXTENSIONS
                raise _Skip("fragment" if may_be_tcp else "not_tcp")
            self.first = self.first or fragment % 2 == 1
            self.at += 8
        elif kind == frames.AH:
            self.at += 4 * (units + 2)
        else:
            self.at += 8 * (units + 1)

    def enter_tunnel(self) -> None:
        if self.protocol == _IPIP:
            self.protocol = frames.ETH_IPV4
        elif self.protocol == _SIX_IN_ANY:
            self.protocol = frames.ETH_IPV6
        elif self.protocol == _GRE:
            self._enter_gre()
        elif self.protocol == frames.UDP:
            self._enter_udp()
        else:
            raise _Skip("not_tcp")
        if self.protocol == _BRIDGING:
            self.need(14)
            self.protocol = self.number(12)
            self.at += 14

    def _enter_gre(self) -> None:
        self.need(4)
        flags, self.protocol = self.number(0), self.number(2)
        if flags & 0x4000 or flags & 7:
            raise _Skip("not_tcp")
        self.at += 4
        for bit in (0x8000, 0x2000, 0x1000):
            if flags & bit:
                self.at += 4

    def _enter_udp(self) -> None:
        self.need(4)
        port = self.number(2)
        if port not in (_VXLAN_PORT, _GENEVE_PORT):
            raise _Skip("not_tcp")
        self.need(16)
        first = self.number(8, 1)
        if port == _VXLAN_PORT:
            self.protocol = _BRIDGING
            if not first & 8:
                raise _Skip("not_tcp")
            self.at += 16
        else:
            self.protocol = self.number(10)
            if first >> 6:
                raise _Skip("not_tcp")
            self.at += 16 + first % 64 * 4

    def read_tcp(self) -> tuple[int, int, int, int]:
        """Ports, flags and the length of the TCP header."""
        self.need(14)
        size = self.number(12, 1) // 16 * 4
        if size < 20 or (self.at + size > self.stop and not self.first):
            raise _Skip("bad_tcp")
        return self.number(0), self.number(2), self.number(13, 1), size


def reference(frame: Frame, tunnels: bool = False) -> Record | SkipReason:
    """The frame's record, or why there is none."""
    reader = _Reader(frame.network, frame.protocol, len(frame.data) - frame.link)
    try:
        for depth in range(MOST_TUNNELS + 1):
            reader.read_tags()
            reader.read_ip()
            if reader.protocol == frames.TCP:
                break
            if not tunnels or depth == MOST_TUNNELS:
                raise _Skip("not_tcp")
            reader.enter_tunnel()
        source_port, destination_port, flags, size = reader.read_tcp()
    except _Skip as skip:
        return skip.reason
    payload = len(frame.data) - frame.link - reader.at - size
    merged = frame.gso_type and frame.gso_size
    segments = min(max(-(-payload // frame.gso_size), 1), 65_535) if merged else 1
    addresses = reader.source, reader.destination
    return Record(frame.timestamp_ns, *addresses, source_port, destination_port, flags, segments)


def behind_link(data: bytes, kept: int, link: LinkType, timestamp_ns: int) -> Frame | SkipReason:
    """The frame of a capture file, of which so many bytes are kept, as its link header says, if that is whole."""
    content = data[:kept]
    size = {LinkType.ETHERNET: 14, LinkType.NULL: 4, LinkType.LOOP: 4, LinkType.LINUX_SLL: 16, LinkType.LINUX_SLL2: 20}
    if len(content) < size.get(link, 1):
        return "truncated"
    link_bytes, protocol = size.get(link, 0), 0
    if link == LinkType.ETHERNET:
        protocol = int.from_bytes(content[12:14])
        snap = b"\xaa\xaa\x03\0\0\0"
        if protocol <= 1500 and content[14:20] == snap[: len(content) - 14]:
            if len(content) < 22:
                return "truncated"
            link_bytes, protocol = 22, int.from_bytes(content[20:22])
    elif link == LinkType.NULL:
        protocol = next(
            (
                _FAMILIES[n]
                for n in struct.unpack("<I", content[:4]) + struct.unpack(">I", content[:4])
                if n in _FAMILIES
            ),
            0,
        )
    elif link == LinkType.LOOP:
        protocol = _FAMILIES.get(int.from_bytes(content[:4]), 0)
    elif link == LinkType.LINUX_SLL:
        protocol = int.from_bytes(content[14:16])
    elif link == LinkType.LINUX_SLL2:
        protocol = int.from_bytes(content[:2])
    elif link == LinkType.RAW:
        protocol = {4: frames.ETH_IPV4, 6: frames.ETH_IPV6}.get(content[0] >> 4, 0)
    else:
        protocol = frames.ETH_IPV4 if link == LinkType.IPV4 else frames.ETH_IPV6
    return Frame(data, link_bytes, protocol, timestamp_ns, kept)
