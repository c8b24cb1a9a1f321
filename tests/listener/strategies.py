"""Frames and endpoints for hypothesis: few addresses and ports, so that they often meet."""

import struct
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tapfan.endpoints import Endpoint
from tests.listener import frames, tagged, tunnels
from tests.listener.frames import Frame

# Addresses that differ in their first word, in their last one, and in one bit.
ADDRESSES4 = ("192.0.2.1", "198.51.100.2", "198.51.100.3", "127.0.0.1")
ADDRESSES6 = ("2001:db8::1", "2001:db8::2", "3001:db8::2", "2001:db8:0:1::2", "::1")
PORTS = (80, 9000, 9001, 65_535)
_EXTENSIONS = (frames.HOP_BY_HOP, frames.ROUTING, frames.FRAGMENT, frames.AH, frames.DESTINATION, 135, 139, 140)
_FRAGMENTS4 = (0, 0x4000, 0x2000, 0x0001, 0x1000, 0x2100, 0x1FFF)
_FRAGMENTS6 = (0, 0x0001, 0x0006, 0x0008, 0xFFF9)
_DISTANCES = (0, 8, 72, 80, 144, 152, 160, 168, 176, 2**31, 2**32 - 8)


@st.composite
def imitations(draw: DrawFn) -> bytes:
    """A payload that looks like the metadata of a packet in the ring."""
    header = struct.pack("<I", draw(st.sampled_from(_DISTANCES))).ljust(48, b"\0")
    return bytes(draw(st.integers(0, 7))) + header + frames.address()


@st.composite
def _options(draw: DrawFn) -> bytes:
    """IPv4 options, as many as there may be: some that look like a sockaddr_ll where that may be, behind a link header.

    In the ring, the network header of a frame with an Ethernet header, or none, begins 2 bytes behind a multiple of 8.
    """
    return draw(st.sampled_from((bytes(2), bytes(10)))) + frames.address()


def _four_byte_units(most: int) -> SearchStrategy[bytes]:
    return st.integers(0, most).map(lambda units: bytes(4 * units))


_PAYLOADS = st.one_of(st.just(b""), st.binary(max_size=30), imitations())
_SEGMENTS = st.builds(
    frames.tcp,
    st.sampled_from(PORTS),
    st.sampled_from(PORTS),
    st.integers(0, 255),
    _four_byte_units(10),
    _PAYLOADS,
)
_PROTOCOLS = st.sampled_from((frames.TCP, frames.TCP, frames.TCP, frames.UDP, 59, 255))
# What a packet may say of its length: mostly the truth.
_LENGTHS = st.one_of(
    st.none(), st.none(), st.none(), st.sampled_from((0, 1, 8, 14, 19, 20, 33, 34, 39, 40, 60, 99, 1500, 65_535))
)


def _packets4(
    lengths: SearchStrategy[int | None], segments: SearchStrategy[bytes] = _SEGMENTS
) -> SearchStrategy[bytes]:
    return st.builds(
        frames.ipv4,
        segments,
        st.sampled_from(ADDRESSES4),
        st.sampled_from(ADDRESSES4),
        st.one_of(st.just(b""), st.just(b""), _four_byte_units(10), _options()),
        _PROTOCOLS,
        st.one_of(st.just(0x4000), st.sampled_from(_FRAGMENTS4)),
        length=lengths,
    )


def _packets6(
    lengths: SearchStrategy[int | None], segments: SearchStrategy[bytes] = _SEGMENTS
) -> SearchStrategy[bytes]:
    return st.builds(
        frames.ipv6,
        segments,
        st.sampled_from(ADDRESSES6),
        st.sampled_from(ADDRESSES6),
        st.one_of(
            st.just([]),
            st.lists(
                st.one_of(
                    st.builds(
                        frames.extension,
                        st.sampled_from(_EXTENSIONS),
                        st.integers(0, 2),
                        st.sampled_from(_FRAGMENTS6),
                    ),
                    st.just((frames.DESTINATION, b"\x03" + bytes(4) + frames.address() + bytes(8))),
                    st.just((frames.DESTINATION, b"\x03" + frames.address() + bytes(12))),
                ),
                max_size=frames.MOST_EXTENSIONS + 1,
            ),
        ),
        _PROTOCOLS,
        length=lengths,
    )


_PACKETS4, _PACKETS6 = _packets4(st.none()), _packets6(st.none())
_LYING = st.one_of(_packets4(_LENGTHS), _packets6(_LENGTHS))


@st.composite
def nested(draw: DrawFn, most: int = 6) -> bytes:
    """A packet in as many as so many others."""
    packet = draw(_LYING)
    for _ in range(draw(st.integers(1, most))):
        outer = draw(st.sampled_from(tunnels.OUTER))
        how = draw(st.integers(0, 5))
        if how == 0:
            packet = tunnels.in_ip(outer, packet)
        elif how == 1:
            flags = draw(st.sampled_from((0, 0x8000, 0x2000, 0x1000, 0xB000, 0x4000, 0x0001)))
            packet = tunnels.in_gre(outer, packet, flags)
        elif how == 5:
            fragment = frames.extension(frames.FRAGMENT, fragment=draw(st.sampled_from((0, 1, 8))))
            packet = frames.ipv6(packet, protocol=tunnels.SIX_IN_ANY, extensions=[fragment])
        else:
            inner = tunnels.bridged(packet, *draw(st.lists(st.sampled_from(tagged.TAGS), max_size=2)))
            flags, version = draw(st.sampled_from(((8, 0), (8, 0), (8, 0), (0, 1))))
            if how == 2:
                packet = tunnels.in_vxlan(outer, inner, flags)
            elif how == 3:
                packet = tunnels.in_geneve(outer, inner, options=bytes(4 * draw(st.integers(0, 3))), version=version)
            else:
                packet = tunnels.in_gre(outer, inner, protocol=tunnels.BRIDGING)
    return packet


@st.composite
def ip_frames(draw: DrawFn) -> Frame:
    """A frame with an IP packet in it."""
    return draw(st.sampled_from((frames.ethernet, frames.bare)))(draw(st.one_of(_PACKETS4, _PACKETS6)))


def packets() -> SearchStrategy[bytes]:
    """What may be in a frame: mostly IP packets."""
    return st.one_of(_PACKETS4, _PACKETS6, _LYING, nested(), st.binary(min_size=1, max_size=80))


@st.composite
def whole_frames(draw: DrawFn) -> Frame:
    """A frame that is as its sender made it, with any kind of packet in it."""
    packet = draw(packets())
    tags = draw(st.one_of(st.just([]), st.just([]), st.lists(st.sampled_from(tagged.TAGS), max_size=5)))
    frame = tagged.tagged(packet, tags, bare=draw(st.booleans()))
    if draw(st.integers(0, 6)) == 0:
        frame = replace(frame, protocol=draw(st.sampled_from((frames.ETH_ARP, frames.ETH_IPV4, frames.ETH_IPV6))))
    padding = draw(st.one_of(st.just(b""), st.binary(max_size=30)))
    interface = draw(st.sampled_from((frames.INTERFACE, frames.INTERFACE, 17)))
    frame = replace(frame, data=frame.data + padding, interface=interface)
    if draw(st.booleans()):
        return frame
    kind = draw(st.sampled_from((frames.GSO_TCPV4, frames.GSO_TCPV6, frames.GSO_TCPV4 | frames.GSO_ECN)))
    return replace(frame, gso_type=kind, gso_size=draw(st.sampled_from((0, 1, 7, 1448, 65_535))))


@st.composite
def damaged_frames(draw: DrawFn) -> Frame:
    """A frame of which some bytes were changed, or its end is missing, or not kept."""
    frame = draw(whole_frames())
    data = bytearray(frame.data)
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=3)):
        data[at] = draw(st.integers(0, 255))
    end = draw(st.one_of(st.just(len(data)), st.integers(frame.link, len(data))))
    kept = draw(st.one_of(st.sampled_from((52, 92, 72, 328)), st.integers(0, len(data))))
    return replace(frame, data=bytes(data[:end]), kept=kept)


ENDPOINTS = st.builds(
    lambda address, port: Endpoint.parse(f"[{address}]:{port}" if ":" in address else f"{address}:{port}"),
    st.sampled_from((*ADDRESSES4, *ADDRESSES6, "0.0.0.0", "::")),
    st.sampled_from((*PORTS, "*")),
)

_TUNNELS = st.tuples(
    st.sampled_from((tagged.IPIP, tagged.SIX_IN_ANY, tagged.GRE, frames.UDP, frames.UDP, frames.TCP)),
    st.builds(frames.tcp, st.sampled_from(PORTS), st.sampled_from((80, tagged.VXLAN_PORT, tagged.GENEVE_PORT))),
)


@st.composite
def tagged_frames(draw: DrawFn) -> Frame:
    """A frame with a whole IP packet, or what has an IP packet's EtherType, with VLAN tags or without, or a tunnel."""
    packet = draw(st.one_of(_PACKETS4, _PACKETS6))
    if draw(st.integers(0, 3)) == 0:
        protocol, segment = draw(_TUNNELS)
        fragment = draw(st.sampled_from((0, 0, 0x2000, 0x0010)))
        extensions = draw(st.sampled_from(((), (frames.extension(frames.FRAGMENT, fragment=fragment),))))
        packet = draw(
            st.sampled_from(
                (
                    frames.ipv4(segment, protocol=protocol, fragment=fragment),
                    frames.ipv6(segment, protocol=protocol, extensions=extensions),
                )
            )
        )
    tags = draw(st.one_of(st.just([]), st.lists(st.sampled_from(tagged.TAGS), max_size=tagged.MOST_TAGS + 1)))
    frame = tagged.tagged(packet, tags, bare=draw(st.booleans()))
    if draw(st.integers(0, 9)):
        return frame
    at = frame.link + 4 * len(tags)
    first_byte = draw(st.sampled_from((0x40, 0x44, 0x45, 0x4F, 0x50, 0x60, 0x65, 0x70)))
    return replace(frame, data=frame.data[:at] + bytes([first_byte]) + frame.data[at + 1 :] + bytes(60))
