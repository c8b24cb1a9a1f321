"""Frames and endpoints for hypothesis: few addresses and ports, so that they often meet."""

import struct
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tapfan.endpoints import Endpoint
from tests.listener import frames
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
    """A payload that looks like the header of a packet in the ring."""
    header = struct.pack("<I", draw(st.sampled_from(_DISTANCES))).ljust(48, b"\0")
    return bytes(draw(st.integers(0, 7))) + header + frames.address()


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
_PACKETS4 = st.builds(
    frames.ipv4,
    _SEGMENTS,
    st.sampled_from(ADDRESSES4),
    st.sampled_from(ADDRESSES4),
    st.one_of(st.just(b""), _four_byte_units(10)),
    _PROTOCOLS,
    st.one_of(st.just(0x4000), st.sampled_from(_FRAGMENTS4)),
)
_PACKETS6 = st.builds(
    frames.ipv6,
    _SEGMENTS,
    st.sampled_from(ADDRESSES6),
    st.sampled_from(ADDRESSES6),
    st.one_of(
        st.just([]),
        st.lists(
            st.builds(frames.extension, st.sampled_from(_EXTENSIONS), st.integers(0, 2), st.sampled_from(_FRAGMENTS6)),
            max_size=frames.MOST_EXTENSIONS + 1,
        ),
    ),
    _PROTOCOLS,
)


@st.composite
def ip_frames(draw: DrawFn) -> Frame:
    """A frame with an IP packet in it."""
    return draw(st.sampled_from((frames.ethernet, frames.bare)))(draw(st.one_of(_PACKETS4, _PACKETS6)))


@st.composite
def whole_frames(draw: DrawFn) -> Frame:
    """A frame that is as its sender made it, with any kind of packet in it."""
    packet = draw(st.one_of(_PACKETS4, _PACKETS4, _PACKETS6, _PACKETS6, st.binary(min_size=1, max_size=80)))
    protocol = draw(st.sampled_from((None, None, None, None, None, None, frames.ETH_ARP)))
    made = draw(st.sampled_from((frames.ethernet, frames.bare)))
    frame = made(packet) if protocol is None else frames.ethernet(packet, protocol, draw(st.sampled_from((None, 7))))
    frame = replace(frame, interface=draw(st.sampled_from((frames.INTERFACE, frames.INTERFACE, 17))))
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
    st.sampled_from(PORTS),
)
