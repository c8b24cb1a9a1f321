"""Frames with VLAN tags in them, and what a filter has to know of a frame, read step by step."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tapfan.endpoints import IPV4_MAPPED_PREFIX, Endpoint
from tests.listener import frames
from tests.listener.frames import Frame

TAGS = (0x8100, 0x88A8, 0x9100)
MOST_TAGS = 3
IPIP, SIX_IN_ANY, GRE = 4, 41, 47
VXLAN_PORT, GENEVE_PORT = 4789, 6081
_EXTENSIONS = (frames.HOP_BY_HOP, frames.ROUTING, frames.FRAGMENT, frames.AH, frames.DESTINATION, 135, 139, 140)


@dataclass(frozen=True)
class Reading:
    """What a frame is: the protocol behind the IP headers, `end` bytes after where the network header begins.

    `destination`: 16 bytes; `later`: no first fragment, so that there is no header of that protocol.
    """

    version: int
    destination: bytes
    protocol: int
    end: int
    later: bool
    port: int
    flags: int


def tagged(packet: bytes, tags: Sequence[int], bare: bool = False) -> Frame:
    """The packet in a frame with these VLAN tags, as the kernel hands it over: the first tag's kind is the protocol."""
    protocol = frames.ETH_IPV6 if packet[0] >> 4 == 6 else frames.ETH_IPV4
    kinds = [*tags, protocol]
    inside = b"".join(struct.pack(">HH", 7, kind) for kind in kinds[1:])
    frame = frames.ethernet(inside + packet, kinds[0])
    return replace(frame, data=inside + packet, link=0) if bare else frame


def reading(frame: Frame) -> Reading | None:
    """What is in the frame; None when it is no IP packet, or one whose headers are not understood."""
    data, at, protocol = frame.data[frame.link :], 0, frame.protocol
    while protocol in TAGS and at < 4 * MOST_TAGS:
        protocol = int.from_bytes(data[at + 2 : at + 4])
        at += 4
    if protocol == frames.ETH_IPV4 and 0x45 <= data[at] <= 0x4F:
        return _ipv4(data, at)
    if protocol == frames.ETH_IPV6 and data[at] >> 4 == 6:
        return _ipv6(data, at)
    return None


def _ipv4(data: bytes, at: int) -> Reading:
    later = int.from_bytes(data[at + 6 : at + 8]) % 0x2000 > 0
    destination = IPV4_MAPPED_PREFIX + data[at + 16 : at + 20]
    return _behind(4, destination, data, data[at + 9], at + data[at] % 16 * 4, later)


def _ipv6(data: bytes, at: int) -> Reading | None:
    destination, kind, end = data[at + 24 : at + 40], data[at + 6], at + 40
    for _ in range(frames.MOST_EXTENSIONS):
        if kind not in _EXTENSIONS:
            break
        following = data[end]
        if kind == frames.FRAGMENT:
            if int.from_bytes(data[end + 2 : end + 4]) >> 3:
                protocol = frames.TCP if following in _EXTENSIONS else following
                return _behind(6, destination, data, protocol, end + 8, True)
            end += 8
        elif kind == frames.AH:
            end += (data[end + 1] + 2) * 4
        else:
            end += (data[end + 1] + 1) * 8
        kind = following
    return _behind(6, destination, data, kind, end, False)


def _behind(version: int, destination: bytes, data: bytes, protocol: int, end: int, later: bool) -> Reading:
    port = 0 if later else int.from_bytes(data[end + 2 : end + 4])
    flags = 0 if later else data[end + 13]
    return Reading(version, destination, protocol, end, later, port, flags)


def is_tunnel(found: Reading) -> bool:
    """Whether there may be other packets in it."""
    by_port = found.protocol == frames.UDP and found.port in (VXLAN_PORT, GENEVE_PORT)
    return not found.later and (by_port or found.protocol in (IPIP, SIX_IN_ANY, GRE))


def is_wanted(found: Reading, endpoints: Iterable[Endpoint], only: str) -> bool:
    """Whether it is a TCP packet to one of the endpoints, or, unless `only` SYNs are wanted, a part of one."""
    if found.protocol != frames.TCP or (only == "syn" and (found.later or found.flags & 0x12 != 0x02)):
        return False
    return any(
        is_sent_to(found.version, found.destination, None if found.later else found.port, endpoint)
        for endpoint in endpoints
    )


def is_sent_to(version: int, destination: bytes, port: int | None, endpoint: Endpoint) -> bool:
    """Whether what is sent there, to a port that may be unknown, may be for the endpoint."""
    return (
        endpoint.address.version == version
        and (port is None or endpoint.port in (0, port))
        and (endpoint.address.is_unspecified or endpoint.packed == destination)
    )
