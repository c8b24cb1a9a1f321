"""Packets built by scapy, read by us as scapy itself reads them: in the ring, and in capture files that it writes."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Jumbo,
    PadN,
)
from scapy.layers.l2 import ARP, GRE, LLC, SNAP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw
from scapy.utils import EDecimal, PcapNgWriter, PcapWriter

from listener.decode.link import network
from listener.decode.protocols import LinkType
from listener.files.opening import open_capture
from tapfan.endpoints import packed
from tapfan.skips import Skipped, SkipReason
from tests.listener import frames
from tests.listener.frames import Frame, Record, decoded, decoded_packets, laid_out, numbered

_IP = IP(src="192.0.2.1", dst="198.51.100.2")
_IP6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
_OUTER, _OUTER6 = IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fd00::1", dst="fd00::2")
_ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")  # named, or scapy would look for them in the network
_TCP = TCP(sport=40_000, dport=9000, flags="S", options=[("MSS", 1460), ("SAckOK", b""), ("WScale", 7)])
_PUSH = TCP(sport=1, dport=65_535, flags="PAU", window=7) / Raw(b"hello")

# Without an authentication header (AH): scapy does not look behind it; test_differential.py has it.
_PACKETS: dict[str, Packet] = {
    "IPv4": _IP / _TCP,
    "IPv4 with data": _IP / _PUSH,
    "IPv4 with all flags": _IP / TCP(sport=7, dport=80, flags="FSRPAUEC"),
    "IPv4 with options": IP(src="192.0.2.1", dst="198.51.100.2", options=[IPOption_NOP(), IPOption_RR()]) / _TCP,
    "IPv4, first fragment": IP(src="192.0.2.1", dst="198.51.100.2", flags="MF") / _TCP / Raw(bytes(24)),
    "IPv4, may not be fragmented": IP(src="192.0.2.1", dst="198.51.100.2", flags="DF", tos=0xB8) / _TCP,
    "IPv6": _IP6 / _TCP,
    "IPv6 with data": IPv6(src="2001:db8::1", dst="2001:db8::2", tc=0xB8, fl=0x12345) / _PUSH,
    "IPv6 with hop-by-hop options": _IP6 / IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]) / _TCP,
    "IPv6 with destination options": _IP6 / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))]) / _TCP,
    "IPv6 with a routing header": _IP6 / IPv6ExtHdrRouting(addresses=["2001:db8::2"], segleft=0) / _TCP,
    "IPv6 with many": _IP6
    / IPv6ExtHdrHopByHop()
    / IPv6ExtHdrRouting(addresses=["2001:db8::3"], segleft=0)
    / IPv6ExtHdrFragment(id=5)
    / IPv6ExtHdrDestOpt()
    / _TCP,
    "IPv6, atomic fragment": _IP6 / IPv6ExtHdrFragment(offset=0, m=0, id=3) / _TCP,
    "IPv6, first fragment": _IP6 / IPv6ExtHdrFragment(offset=0, m=1, id=3) / _TCP / Raw(bytes(24)),
    "IPv6, jumbogram": IPv6(src="2001:db8::1", dst="2001:db8::2", plen=0)
    / IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=70_000)])
    / _TCP
    / Raw(bytes(100)),
    "IPv4, BIG TCP": IP(src="192.0.2.1", dst="198.51.100.2", len=0) / _TCP / Raw(bytes(100)),
    "VLAN": Dot1Q(vlan=5, prio=3) / _IP / _TCP,
    "QinQ": Dot1AD(vlan=100) / Dot1Q(vlan=5) / _IP6 / _PUSH,
    "three tags": Dot1AD(vlan=100) / Dot1Q(vlan=5) / Dot1Q(vlan=6) / _IP / _PUSH,
}
_OTHERS: dict[str, tuple[Packet, SkipReason]] = {
    "ARP": (ARP(), "not_tcp"),
    "UDP": (_IP / UDP(sport=53, dport=9000) / Raw(bytes(20)), "not_tcp"),
    "ICMP with a TCP header in it": (_IP / ICMP(type=3, code=1) / _IP / _TCP, "not_tcp"),
    "IPv4, later fragment": (IP(dst="198.51.100.2", frag=3, proto=6) / Raw(bytes(40)), "fragment"),
    "IPv6, later fragment": (_IP6 / IPv6ExtHdrFragment(offset=9, m=1, nh=6) / Raw(bytes(40)), "fragment"),
    "IPv6, later fragment of UDP": (_IP6 / IPv6ExtHdrFragment(offset=9, m=0, nh=17) / Raw(bytes(40)), "not_tcp"),
    "TCP header too short": (_IP / TCP(dataofs=4), "bad_tcp"),
    "TCP header beyond the packet": (_IP6 / TCP(dataofs=9), "bad_tcp"),
    "IPv4 header too short": (IP(ihl=4) / _TCP, "bad_ip"),
    "IPv4 of another version": (IP(version=5) / _TCP, "bad_ip"),
    "IPv4 length too short": (IP(len=19) / _TCP, "bad_ip"),
    "IPv6 of another version": (IPv6(version=4) / _TCP, "bad_ip"),
    "nine extension headers": (
        _IP6 / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt()
        / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt()
        / IPv6ExtHdrDestOpt() / _TCP,
        "bad_extension",
    ),
}  # fmt: skip
_INSIDE = (_IP / _TCP, _IP6 / _PUSH)
_TUNNELS: dict[str, Packet] = {
    f"{name} {inside.summary().split(' / ')[0]} {i}": tunnel / inside
    for i, inside in enumerate(_INSIDE)
    for name, tunnel in {
        "IP": _OUTER,
        "IP in IPv6": _OUTER6,
        "GRE": _OUTER / GRE(),
        "GRE in IPv6 with all": _OUTER6 / GRE(chksum_present=1, key_present=1, seqnum_present=1, key=5),
        "GRE, bridging": _OUTER / GRE(proto=0x6558) / _ETHER,
        "VXLAN": _OUTER / UDP(sport=1, dport=4789) / VXLAN(vni=7) / _ETHER,
        "VXLAN in IPv6 with a tag": _OUTER6 / UDP(sport=1, dport=4789) / VXLAN(vni=7) / _ETHER / Dot1Q(vlan=5),
        "Geneve": _OUTER / UDP(sport=1, dport=6081) / GENEVE(vni=7, proto=0x6558) / _ETHER,
        "Geneve with IP": _OUTER6
        / UDP(sport=1, dport=6081)
        / GENEVE(vni=7, options=[GeneveOptions(classid=1, type=1, data=bytes(8))]),
        "four": _OUTER / _OUTER6 / GRE() / _OUTER / UDP(sport=1, dport=4789) / VXLAN() / _ETHER / _OUTER6,
    }.items()
}


def _frame(packet: Packet) -> Frame:
    """The packet in an Ethernet frame, in the ring."""
    data = bytes(_ETHER / packet)
    return Frame(data, 14, int.from_bytes(data[12:14]))


def _by_scapy(packet: Packet, timestamp_ns: int) -> Record:
    """What scapy reads: the first TCP header, and the last IP header before it."""
    ip, layer = None, packet
    while not isinstance(layer, TCP):
        assert layer, packet.summary()
        ip = layer if isinstance(layer, IP | IPv6) else ip
        layer = layer.payload
    assert ip is not None
    flags = int(layer.flags) & 0xFF
    return Record(timestamp_ns, packed(ip.src), packed(ip.dst), layer.sport, layer.dport, flags, 1)


def _expected(made: list[Frame]) -> list[Record]:
    return [_by_scapy(Ether(frame.data), frame.timestamp_ns) for frame in made]


def _found(made: list[Frame], tunnels: bool = False) -> list[Record]:
    found = decoded(laid_out(made, noise=0x45), tunnels)
    assert not found.skipped
    return frames.rows(found.records)


@pytest.mark.parametrize("count", [1, 2, 70])
@pytest.mark.parametrize("packet", _PACKETS.values(), ids=_PACKETS)
def test_each_packet_is_read_as_by_scapy(packet: Packet, count: int) -> None:
    made = numbered([_frame(packet)] * count)
    assert _found(made) == _expected(made)


@pytest.mark.parametrize("count", [1, 2, 70])
@pytest.mark.parametrize(("packet", "reason"), _OTHERS.values(), ids=_OTHERS)
def test_others_give_no_record(packet: Packet, reason: SkipReason, count: int) -> None:
    found = decoded(laid_out([_frame(packet)] * count))
    assert (len(found.records), found.skipped) == (0, {reason: count})


@pytest.mark.parametrize("count", [1, 2, 70])
@pytest.mark.parametrize("packet", _TUNNELS.values(), ids=_TUNNELS)
def test_each_packet_in_tunnels_is_read_as_by_scapy(packet: Packet, count: int) -> None:
    made = numbered([_frame(packet)] * count)
    assert _found(made, tunnels=True) == _expected(made)
    assert decoded(laid_out(made)).skipped == {"not_tcp": count}


@pytest.mark.parametrize("count", [1, 70])
def test_all_in_one_block_are_read_as_by_scapy(count: int) -> None:
    whole = [_frame(packet) for packet in (*_PACKETS.values(), *_TUNNELS.values())]
    others = [_frame(packet) for packet, _ in _OTHERS.values()]
    made = numbered([*whole, *others] * count)
    found = decoded(laid_out(made), tunnels=True)
    good = [frame for i, frame in enumerate(made) if i % (len(whole) + len(others)) < len(whole)]
    assert Counter(frames.rows(found.records)) == Counter(_expected(good))
    assert found.skipped == Skipped([reason for _, reason in _OTHERS.values()] * count)


def _in_ethernet(packet: Packet) -> Packet:
    return _ETHER / packet


def _ether_type(packet: Packet) -> int:
    return {IP: 0x0800, IPv6: 0x86DD, Dot1Q: 0x8100, Dot1AD: 0x88A8}[type(packet)]


def _in_8023(packet: Packet) -> Packet:
    """The packet in a frame with a length, which scapy gives it only if it is told."""
    inside = LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=_ether_type(packet)) / packet
    return Ether(src=_ETHER.src, dst=_ETHER.dst, type=len(inside)) / inside


_HEADERS: dict[str, tuple[LinkType, Callable[[Packet], Packet]]] = {
    "Ethernet": (LinkType.ETHERNET, _in_ethernet),
    "802.3": (LinkType.ETHERNET, _in_8023),
    "cooked": (LinkType.LINUX_SLL, lambda packet: CookedLinux(proto=_ether_type(packet)) / packet),
    "cooked, version 2": (LinkType.LINUX_SLL2, lambda packet: CookedLinuxV2(proto=_ether_type(packet)) / packet),
    "loopback": (LinkType.NULL, lambda packet: Loopback() / packet),
    "raw": (LinkType.RAW, lambda packet: packet),
}


@pytest.mark.parametrize(("link", "behind"), _HEADERS.values(), ids=_HEADERS)
@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_capture_files_that_scapy_writes_are_read_as_by_scapy(
    form: str, link: LinkType, behind: Callable[[Packet], Packet], tmp_path: Path
) -> None:
    kinds: tuple[type[Packet], ...] = (IP, IPv6)
    if behind is _in_ethernet:
        kinds += (Dot1Q, Dot1AD)  # which scapy knows nowhere else
    packets = [packet for packet in (*_PACKETS.values(), *_TUNNELS.values()) if isinstance(packet, kinds)]
    written = [behind(packet.copy()) for packet in packets]
    for i, packet in enumerate(written):
        packet.time = EDecimal(1_700_000_000) + EDecimal(i) / 1000
    path = tmp_path / "file"
    with PcapWriter(str(path), linktype=int(link)) if form == "pcap" else PcapNgWriter(str(path)) as writer:
        writer.linktype = int(link)
        for packet in written:
            writer.write(packet)
    records = []
    with open_capture(str(path)) as file:
        for chunk in file.frames():
            assert chunk.link == link
            found = decoded_packets(network(chunk), tunnels=True)
            assert not found.skipped
            records += frames.rows(found.records)
    expected = [_by_scapy(type(packet)(bytes(packet)), int(packet.time * 10**9)) for packet in written]
    assert Counter(records) == Counter(expected)
    assert len(records) == len(packets)
