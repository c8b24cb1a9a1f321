"""Each packet's headers, as far as its TCP header, or why there is none: fragments, lengths, extensions, tunnels."""

import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.capture.blocks import TOGETHER
from listener.capture.ring import BLOCK_BYTES
from tapfan.skips import Skipped, SkipReason
from tests.listener import frames, strategies, tunnels
from tests.listener.decoding import (
    BULK,
    CONNECTIONS,
    each_kind,
    expected,
    found_in,
    in_order,
    records_of,
    tcp_at,
)
from tests.listener.frames import (
    Frame,
    decoded,
    ethernet,
    extension,
    in_blocks,
    ipv4,
    ipv6,
    laid_out,
    numbered,
    tcp,
)
from tests.listener.reading import reference
from tests.listener.tagged import tagged
from tests.listener.tunnels import Outer, bridged

_FRAGMENTS: list[tuple[bytes, SkipReason | None]] = [
    (ipv4(tcp(), fragment=0x2000), None),
    (ipv4(tcp(), fragment=0x8000), None),
    (ipv4(tcp(options=bytes(40))[:24], fragment=0x2000), None),
    (ipv4(tcp(options=bytes(40))[:24]), "bad_tcp"),
    (ipv4(tcp()[:8], fragment=0x2000) + b"\x50" * 18, "truncated"),
    (ipv4(tcp(), fragment=0x2001), "fragment"),
    (ipv4(tcp(), fragment=0x1F00), "fragment"),
    (ipv4(tcp(), fragment=0x00FF), "fragment"),
    (ipv4(tcp(), protocol=frames.UDP, fragment=0x00FF), "not_tcp"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT)]), None),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0006)]), None),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0001)]), None),
    (ipv6(tcp(options=bytes(40))[:24], extensions=[extension(frames.FRAGMENT, fragment=1)]), None),
    (ipv6(tcp(options=bytes(40))[:24], extensions=[extension(frames.FRAGMENT)]), "bad_tcp"),
    (ipv6(tcp()[:8], extensions=[extension(frames.FRAGMENT, fragment=1)]) + b"\x50" * 18, "truncated"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0008)]), "fragment"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0801)]), "fragment"),
    (ipv6(tcp(), extensions=[extension(frames.AH), extension(frames.FRAGMENT, fragment=0x0009)]), "fragment"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=8), extension(frames.ROUTING)]), "fragment"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=8)], protocol=frames.UDP), "not_tcp"),
]


@pytest.mark.parametrize(("packet", "reason"), _FRAGMENTS)
@pytest.mark.parametrize("count", [1, 2, 70])
def test_only_a_fragment_with_the_tcp_header_is_recorded(packet: bytes, reason: SkipReason | None, count: int) -> None:
    """Its flags must be in it; its options may go on in the second. What pads its frame is none of it."""
    found = decoded(laid_out([ethernet(packet)] * count))
    assert (len(found.records), found.skipped) == ((0, {reason: count}) if reason else (count, {}))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (ipv4(tcp(), length=65_535), None),
        (ipv4(tcp(payload=bytes(9)), length=40), None),
        (ipv4(tcp(), length=39), "bad_tcp"),
        (ipv4(tcp(), length=34), "bad_tcp"),
        (ipv4(tcp(), length=33), "truncated"),
        (ipv4(tcp(), length=20), "truncated"),
        (ipv4(tcp(), length=19), "bad_ip"),
        (ipv4(tcp(), length=1), "bad_ip"),
        (ipv4(tcp(), options=bytes(40), length=59), "bad_ip"),
        (b"\x44" + ipv4(tcp())[1:], "bad_ip"),
        (b"\x55" + ipv4(tcp())[1:], "bad_ip"),
        (b"\x46" + ipv4(tcp())[1:], "bad_tcp"),
        (b"\x4f" + ipv4(tcp())[1:], "bad_ip"),
        (ipv6(tcp(), length=65_535), None),
        (ipv6(tcp(payload=bytes(9)), length=20), None),
        (ipv6(tcp(), length=19), "bad_tcp"),
        (ipv6(tcp(), length=13), "truncated"),
        (ipv6(tcp(), length=1), "truncated"),
        (ipv6(tcp(), extensions=[extension(frames.ROUTING)], length=7), "truncated"),
        (ipv6(tcp(), extensions=[extension(frames.ROUTING)], length=8), "truncated"),
        (ipv6(tcp(), extensions=[extension(frames.ROUTING)], length=27), "bad_tcp"),
        (b"\x70" + ipv6(tcp())[1:], "bad_ip"),
        (b"\x45" + ipv6(tcp())[1:], "bad_ip"),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 70])
def test_what_a_packet_says_of_its_lengths_is_not_believed_where_it_cannot_be(
    packet: bytes, reason: SkipReason | None, count: int
) -> None:
    protocol = frames.ETH_IPV6 if b"\x20\x01\x0d\xb8" in packet else frames.ETH_IPV4
    found = decoded(laid_out([ethernet(packet, protocol)] * count))
    assert (len(found.records), found.skipped) == ((0, {reason: count}) if reason else (count, {}))


@pytest.mark.parametrize("padding", [b"", bytes(6), b"\xff" * 46, b"\x50" * 300])
@each_kind
def test_what_pads_a_frame_is_no_payload(frame: Frame, padding: bytes) -> None:
    made = numbered([replace(frame, data=frame.data + padding)] * 3)
    assert in_order(laid_out(made)) == records_of(numbered([frame] * 3))


@pytest.mark.parametrize(("offset", "recorded"), [(0x00, 0), (0x4F, 0), (0x50, 1), (0x5F, 1), (0x60, 0), (0xF0, 0)])
@each_kind
def test_a_tcp_header_must_have_twenty_bytes_and_end_in_its_packet(frame: Frame, offset: int, recorded: int) -> None:
    data = bytearray(frame.data)
    data[tcp_at(frame) + 12] = offset
    made = numbered([replace(frame, data=bytes(data)), frame])
    found = decoded(laid_out(made))
    if offset >= 0x60 and not isinstance(reference(made[0]), str):
        recorded = 1  # a first fragment
    assert (len(found.records), found.skipped["bad_tcp"]) == (1 + recorded, 1 - recorded)


@pytest.mark.parametrize("kind", [frames.HOP_BY_HOP, frames.ROUTING, frames.AH, frames.DESTINATION, 135, 139, 140])
@pytest.mark.parametrize("more", [0, 1, 100])
@pytest.mark.parametrize("count", range(1, frames.MOST_EXTENSIONS + 3))
def test_up_to_eight_extension_headers_are_walked(count: int, more: int, kind: int) -> None:
    found = decoded(laid_out([ethernet(ipv6(tcp(), extensions=[extension(kind, more)] * count))]))
    recorded = int(count <= frames.MOST_EXTENSIONS)
    assert (len(found.records), found.skipped["bad_extension"]) == (recorded, 1 - recorded)


@pytest.mark.parametrize("following", [50, 58, 59, 200])
def test_what_is_behind_extension_headers_that_are_not_known_is_not_tcp(following: int) -> None:
    """Also in encrypted packets (ESP), whatever they look like."""
    packet = ipv6(tcp(), extensions=[extension(frames.DESTINATION)], protocol=following)
    assert decoded(laid_out([ethernet(packet)])).skipped == {"not_tcp": 1}


@pytest.mark.parametrize("count", range(6))
@pytest.mark.parametrize("packet", [ipv4(tcp()), ipv6(tcp())])
def test_up_to_three_tags_are_walked(packet: bytes, count: int) -> None:
    for bare in (False, True):
        found = decoded(laid_out([tagged(packet, [0x88A8, 0x8100, 0x9100, 0x8100, 0x8100][:count], bare)]))
        recorded = int(count <= 3)
        assert (len(found.records), found.skipped["not_tcp"]) == (recorded, 1 - recorded)


@each_kind
def test_headers_that_are_cut_off_are_malformed(frame: Frame) -> None:
    needed = tcp_at(frame) + 14
    made = numbered([replace(frame, kept=kept) for kept in range(frame.link, needed + 3)])
    cut = needed - frame.link
    assert found_in(laid_out(made)) == (Counter(records_of(made[cut:])), Skipped(truncated=cut))
    for kept in range(frame.link, needed):
        made = [replace(frame, kept=kept)] * BULK
        assert found_in(laid_out(made, noise=0x50)) == (Counter(), Skipped(truncated=BULK))


@each_kind
def test_what_is_not_kept_is_never_read(frame: Frame) -> None:
    """Beyond a packet that was cut off, the block holds what would complete it."""
    for kept in range(frame.link, tcp_at(frame) + 14):
        blocks = laid_out([replace(frame, kept=kept)] * 2, stale=[frame] * 2)
        assert found_in(blocks) == (Counter(), Skipped(truncated=2))


@pytest.mark.parametrize("count", [1, 2, 8])
def test_extension_headers_that_claim_to_reach_beyond_the_buffer_are_malformed(count: int) -> None:
    claims = frames.DESTINATION, bytes([255]) + bytes(6)
    last = ethernet(ipv6(tcp(), extensions=[claims] * count))
    most = (BLOCK_BYTES - 48 - frames.entry_bytes(last)) // frames.entry_bytes(CONNECTIONS["IPv6"])
    made = [CONNECTIONS["IPv6"]] * most + [last]
    found = decoded(in_blocks([*[made[:1]] * (TOGETHER - 1), made]))
    assert (len(found.records), found.skipped) == (most + TOGETHER - 1, {"truncated": 1})


_TUNNELS: dict[str, Callable[[Outer, bytes], bytes]] = {
    "IP": tunnels.in_ip,
    "GRE": tunnels.in_gre,
    "GRE with a checksum": lambda outer, packet: tunnels.in_gre(outer, packet, tunnels.CHECKSUM),
    "GRE with a key": lambda outer, packet: tunnels.in_gre(outer, packet, tunnels.KEY),
    "GRE with a sequence number": lambda outer, packet: tunnels.in_gre(outer, packet, tunnels.SEQUENCE),
    "GRE with all": lambda outer, packet: tunnels.in_gre(outer, packet, 0xB000),
    "GRE, bridging": lambda outer, packet: tunnels.in_gre(outer, bridged(packet), protocol=tunnels.BRIDGING),
    "GRE, bridging, all": lambda outer, packet: tunnels.in_gre(
        outer, bridged(packet, 0x88A8), 0xB000, tunnels.BRIDGING
    ),
    "VXLAN": lambda outer, packet: tunnels.in_vxlan(outer, bridged(packet)),
    "VXLAN with VLAN tags": lambda outer, packet: tunnels.in_vxlan(outer, bridged(packet, 0x88A8, 0x8100)),
    "Geneve": lambda outer, packet: tunnels.in_geneve(outer, bridged(packet)),
    "Geneve with options": lambda outer, packet: tunnels.in_geneve(outer, bridged(packet, 0x8100), options=bytes(252)),
    "Geneve with IP": lambda outer, packet: tunnels.in_geneve(outer, packet, ethernet(packet).protocol, bytes(8)),
}
_each_tunnel = pytest.mark.parametrize("tunnel", _TUNNELS.values(), ids=_TUNNELS)
_each_outer = pytest.mark.parametrize("outer", tunnels.OUTER)
_each_inner = pytest.mark.parametrize("inner", [ipv4(tcp(), "10.0.0.1", "10.0.0.2"), ipv6(tcp(), "fd00::1", "fd00::2")])


@pytest.mark.parametrize("count", [1, 2, 70])
@_each_inner
@_each_outer
@_each_tunnel
def test_a_packet_in_a_tunnel_is_recorded_if_that_is_wanted(
    tunnel: Callable[[Outer, bytes], bytes], outer: Outer, inner: bytes, count: int
) -> None:
    made = numbered([ethernet(tunnel(outer, inner))] * count)
    assert decoded(laid_out(made)).skipped == {"not_tcp": count}
    records = frames.rows(decoded(laid_out(made), tunnels=True).records)
    assert records == records_of(numbered([ethernet(inner)] * count))


@_each_inner
@_each_outer
@_each_tunnel
def test_a_packet_in_a_tunnel_is_malformed_where_it_is_cut_off(
    tunnel: Callable[[Outer, bytes], bytes], outer: Outer, inner: bytes
) -> None:
    frame = ethernet(tunnel(outer, inner))
    made = [replace(frame, kept=kept) for kept in range(frame.link, tcp_at(frame) + 14)]
    for stale in ([], [frame] * 9):
        assert decoded(laid_out(made, stale=stale), tunnels=True).skipped == {"truncated": len(made)}


@_each_inner
@_each_outer
@_each_tunnel
def test_what_is_behind_the_end_of_a_tunnels_packet_is_not_read(
    tunnel: Callable[[Outer, bytes], bytes], outer: Outer, inner: bytes
) -> None:
    """Such as what pads its frame: its last bytes are there, but its length leaves them out."""
    whole = tunnel(outer, inner)
    for missing in range(7, len(inner)):
        rest = whole[:-missing]
        length = len(rest) - (0 if outer is ipv4 else 40)
        at = 2 if outer is ipv4 else 4
        padded = rest[:at] + length.to_bytes(2) + rest[at + 2 :] + whole[-missing:]
        assert decoded(laid_out([ethernet(padded)]), tunnels=True).skipped == {"truncated": 1}


@pytest.mark.parametrize("depth", range(1, 7))
@_each_inner
@_each_tunnel
def test_up_to_four_tunnels_one_in_the_other_are_walked(
    tunnel: Callable[[Outer, bytes], bytes], inner: bytes, depth: int
) -> None:
    packet = inner
    for outer in (ipv4, ipv6, ipv6, ipv4, ipv6, ipv4)[:depth]:
        packet = tunnel(outer, packet)
    made = [ethernet(packet)] * 2
    found = decoded(laid_out(made), tunnels=True)
    assert (len(found.records), found.skipped) == ((2, {}) if depth <= 4 else (0, {"not_tcp": 2}))


def test_a_fifth_tunnel_is_not_looked_into_even_if_it_is_cut_off() -> None:
    packet = b""
    for outer in (ipv6, ipv4, ipv6, ipv4, ipv4):
        packet = tunnels.in_gre(outer, packet, protocol=None if packet else frames.ETH_IPV4)
    frame = ethernet(packet)
    made = [replace(frame, kept=len(frame.data) - missing) for missing in range(6)]
    assert decoded(laid_out(made), tunnels=True).skipped == {"not_tcp": 5, "truncated": 1}  # 4 bytes of GRE


def test_tunnels_of_all_kinds_and_depths_in_one_block_are_told_apart() -> None:
    kinds = list(_TUNNELS.values())
    made = []
    for i, first in enumerate(kinds):
        for k, second in enumerate(kinds):
            inner = ipv4(tcp(i, k)) if (i + k) % 2 else ipv6(tcp(i, k))
            made += [ethernet(second(ipv4, first(ipv6, inner))), ethernet(first(ipv4, inner)), ethernet(inner)]
    made = numbered(made)
    assert found_in(laid_out(made), tunnels=True) == (Counter(records_of(made, tunnels=True)), Skipped())
    assert len(records_of(made, tunnels=True)) == 3 * len(kinds) ** 2
    assert len(records_of(made)) == len(kinds) ** 2


_INNER = ipv4(tcp())


@pytest.mark.parametrize(
    "packet",
    [
        tunnels.in_gre(ipv4, _INNER, 0x0001),
        tunnels.in_gre(ipv4, _INNER, 0x2001, 0x880B),  # PPTP
        tunnels.in_gre(ipv6, _INNER, tunnels.ROUTING),
        tunnels.in_gre(ipv6, _INNER, protocol=frames.ETH_ARP),
        tunnels.in_gre(ipv4, _INNER, protocol=0x8847),
        tunnels.in_gre(ipv4, bridged(_INNER, 0x8100, 0x8100, 0x8100, 0x8100), protocol=tunnels.BRIDGING),
        tunnels.in_vxlan(ipv4, bridged(_INNER), flags=0),
        tunnels.in_vxlan(ipv4, bridged(_INNER), flags=0xF7),
        tunnels.in_geneve(ipv6, bridged(_INNER), version=1),
        tunnels.in_geneve(ipv6, bridged(_INNER), version=3),
        tunnels.in_geneve(ipv4, _INNER, protocol=0x8847),
        ipv4(_INNER, protocol=137),  # MPLS in IP
        ipv4(tunnels.in_vxlan(ipv4, bridged(_INNER))[20:], protocol=136),  # UDP-Lite
        ipv4(struct.pack(">HHHH", tunnels.VXLAN_PORT, 53, 8, 0) + bytes(8) + bridged(_INNER), protocol=frames.UDP),
    ],
)
def test_other_tunnels_are_not_followed(packet: bytes) -> None:
    for followed in (False, True):
        assert decoded(laid_out([ethernet(packet)]), followed).skipped == {"not_tcp": 1}


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (ipv4(_INNER, protocol=tunnels.IPIP, fragment=0x2000), None),
        (ipv4(_INNER, protocol=tunnels.IPIP, fragment=0x2001), "not_tcp"),
        (ipv4(_INNER[:34], protocol=tunnels.IPIP, fragment=0x2000), None),
        (ipv4(_INNER[:33], protocol=tunnels.IPIP, fragment=0x2000), "truncated"),
        (ipv6(_INNER, protocol=tunnels.IPIP, extensions=[extension(frames.FRAGMENT, fragment=1)]), None),
        (ipv6(_INNER, protocol=tunnels.IPIP, extensions=[extension(frames.FRAGMENT, fragment=9)]), "not_tcp"),
        (tunnels.in_ip(ipv4, ipv4(tcp(options=bytes(8))[:20], fragment=0x2000)), None),
        (tunnels.in_ip(ipv4, ipv4(tcp(), fragment=0x0003)), "fragment"),
        (tunnels.in_ip(ipv6, ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=1)])), None),
        (tunnels.in_ip(ipv6, ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=8)])), "fragment"),
        (tunnels.in_ip(ipv4, ipv4(tcp(options=bytes(8))[:20])), "bad_tcp"),
        (ipv4(ipv4(tcp(options=bytes(8))[:20]), protocol=tunnels.IPIP, fragment=0x2000), "bad_tcp"),
        (ipv4(ipv6(tcp(options=bytes(8))[:20]), protocol=tunnels.SIX_IN_ANY, fragment=0x2000), "bad_tcp"),
        (tunnels.in_ip(ipv6, ipv4(tcp(), length=0)), None),
        (tunnels.in_ip(ipv6, ipv4(tcp(options=bytes(8))[:20], length=0)), "bad_tcp"),
        (ipv4(ipv6(tcp()), protocol=tunnels.IPIP), "bad_ip"),
        (ipv4(ipv4(tcp()), protocol=tunnels.SIX_IN_ANY), "bad_ip"),
    ],
)
def test_fragments_and_malformed_packets_are_told_apart_inside_of_tunnels_and_outside(
    packet: bytes, reason: SkipReason | None
) -> None:
    found = decoded(laid_out([ethernet(packet)] * 2), tunnels=True)
    assert (len(found.records), found.skipped) == ((0, {reason: 2}) if reason else (2, {}))
    assert decoded(laid_out([ethernet(packet)])).skipped == {"not_tcp": 1}


@_each_tunnel
def test_a_merged_packet_in_a_tunnel_counts_the_segments_of_its_own_payload(
    tunnel: Callable[[Outer, bytes], bytes],
) -> None:
    made = [
        replace(ethernet(tunnel(ipv4, ipv6(tcp(payload=bytes(n))))), gso_type=4, gso_size=100) for n in (1000, 1001)
    ]
    assert [record.segments for record in frames.rows(decoded(laid_out(made), tunnels=True).records)] == [10, 11]


@given(st.lists(strategies.nested().map(ethernet), min_size=1, max_size=8).map(numbered), st.integers(0, 90))
def test_packets_in_packets_give_the_records_that_a_reading_one_by_one_gives(made: list[Frame], missing: int) -> None:
    made = [replace(frame, kept=max(frame.link, len(frame.data) - missing)) for frame in made]
    assert found_in(laid_out(made, noise=0x45), tunnels=True) == expected(made, tunnels=True)
