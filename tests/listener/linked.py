"""Packets behind the link headers of capture files."""

import struct
from collections.abc import Sequence
from typing import Literal

import numpy as np

from listener.decode.frames import SPARE_BYTES, Frames
from listener.decode.protocols import LinkType
from tests.listener import frames

Order = Literal["<", ">"]
FAMILIES6 = (10, 23, 24, 28, 30)
SNAP = b"\xaa\xaa\x03\0\0\0"


def linked(
    packet: bytes,
    link: LinkType,
    protocol: int | None = None,
    order: Order = "<",
    family6: int = 30,
    *,
    snap: bool = False,
) -> bytes:
    """The packet behind a link header; `order` and `family6`: of NULL and LOOP; `snap`: in an 802.3 frame."""
    is_ipv6 = packet[:1] >= b"\x60"
    if protocol is None:
        protocol = frames.ETH_IPV6 if is_ipv6 else frames.ETH_IPV4
    match link:
        case LinkType.ETHERNET:
            behind = SNAP + struct.pack(">H", protocol) + packet
            kind = struct.pack(">H", len(behind)) if snap else struct.pack(">H", protocol)
            return b"\x02" * 6 + b"\x04" * 6 + kind + (behind if snap else packet)
        case LinkType.NULL | LinkType.LOOP:
            family = {frames.ETH_IPV4: 2, frames.ETH_IPV6: family6}.get(protocol, 7)
            return struct.pack(f"{'>' if link == LinkType.LOOP else order}I", family) + packet
        case LinkType.LINUX_SLL:
            return struct.pack(">HHH8sH", 0, 1, 6, b"\x02" * 6, protocol) + packet
        case LinkType.LINUX_SLL2:
            return struct.pack(">HHIHBB8s", protocol, 0, 3, 1, 0, 6, b"\x02" * 6) + packet
        case _:
            return packet


def in_memory(link: LinkType, contents: Sequence[tuple[bytes, int]], noise: int = 0) -> Frames:
    """Frames of which so many bytes are kept, one at once behind the other as if they were in a file without more."""
    kept = np.array([min(count, len(data)) for data, count in contents], np.int64)
    content = b"".join(data[:count] for data, count in contents)
    buffer = np.full(len(content) + SPARE_BYTES, noise, np.uint8)
    buffer[: len(content)] = np.frombuffer(content, np.uint8)
    timestamp = np.array([frames.NOW_NS + 1000 * i for i in range(len(contents))], np.uint64)
    length = np.array([len(data) for data, _ in contents], np.int64)
    return Frames(buffer, link, np.cumsum(kept) - kept, kept, length, timestamp)
