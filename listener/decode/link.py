"""Link headers of capture files: where the network header of each packet is, and what it is.

Layouts: https://www.tcpdump.org/linktypes.html, IEEE 802.2, RFC 1042 (SNAP). The kernel's ring tells both by itself.
"""

import numpy as np
from numpy.typing import NDArray

from listener.decode.frames import Frames
from listener.decode.packets import Packets
from listener.decode.protocols import ETH_IPV4, ETH_IPV6, LinkType
from tapfan.batch import Column

_AF_INET = 2
_AF_INET6 = (10, 23, 24, 28, 30)  # Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS
_NO_PROTOCOL = 0
_LARGEST_LENGTH = 1500  # of an 802.3 frame: a larger number there is an EtherType
_SNAP = np.frombuffer(b"\xaa\xaa\x03\x00\x00\x00", np.uint8)
_SIZES = {
    LinkType.NULL: 4,
    LinkType.ETHERNET: 14,
    LinkType.RAW: 0,
    LinkType.LOOP: 4,
    LinkType.LINUX_SLL: 16,
    LinkType.IPV4: 0,
    LinkType.IPV6: 0,
    LinkType.LINUX_SLL2: 20,
}
_TYPE_AT = {LinkType.ETHERNET: 12, LinkType.LINUX_SLL: 14, LinkType.LINUX_SLL2: 0}
_FIXED = {LinkType.IPV4: ETH_IPV4, LinkType.IPV6: ETH_IPV6}


def network(frames: Frames) -> Packets:
    """The packets of the frames, from their network headers on."""
    end = frames.at + frames.kept
    at = frames.at + _SIZES[frames.link]
    protocol = _protocol(frames)
    if frames.link == LinkType.ETHERNET and (protocol <= _LARGEST_LENGTH).any():
        at, protocol = _behind_snap(frames, at, end, protocol)
    cut = (at > end) | (frames.kept == 0)
    if cut.any():  # which then counts as an IP packet that is not all there
        at, protocol = np.where(cut, end, at), np.where(cut, ETH_IPV4, protocol)
    return Packets(frames.buffer, protocol, at, end, frames.at + frames.length, frames.timestamp)


def _protocol(frames: Frames) -> Column:
    """The EtherType that the link header names, or that there would have to be for what it names."""
    if frames.link in _TYPE_AT:
        return _number(frames.buffer, frames.at + _TYPE_AT[frames.link])
    if frames.link in _FIXED:
        return np.full(len(frames), _FIXED[frames.link])
    if frames.link == LinkType.RAW:
        version = frames.buffer[frames.at] >> 4
        return np.select([version == 4, version == 6], [ETH_IPV4, ETH_IPV6], _NO_PROTOCOL)
    family = _family(frames)
    return np.select([family == _AF_INET, np.isin(family, _AF_INET6)], [ETH_IPV4, ETH_IPV6], _NO_PROTOCOL)


def _family(frames: Frames) -> Column:
    """The address family; of NULL in either byte order: as a number it is small."""
    first, last = _number(frames.buffer, frames.at), _number(frames.buffer, frames.at + 2)
    if frames.link == LinkType.LOOP:
        return np.where(first == 0, last, _NO_PROTOCOL)
    swapped = (first & 0xFF) << 8 | first >> 8
    return np.where(first == 0, last, np.where(last == 0, swapped, _NO_PROTOCOL))


def _behind_snap(frames: Frames, at: Column, end: Column, protocol: Column) -> tuple[Column, Column]:
    """The same with the network headers of 802.3 frames behind their SNAP headers; others have no IP packet."""
    rows = np.flatnonzero(protocol <= _LARGEST_LENGTH)
    places = at[rows, None] + np.arange(len(_SNAP))
    other = (frames.buffer[places] != _SNAP) & (places < end[rows, None])
    rows = rows[~other.any(axis=1)]
    at, protocol = at.copy(), protocol.copy()
    protocol[rows] = _number(frames.buffer, at[rows] + len(_SNAP))
    at[rows] += len(_SNAP) + 2
    return at, protocol


def _number(buffer: NDArray[np.uint8], at: Column) -> Column:
    """The 16 bits there, in network byte order."""
    number: Column = buffer[at].astype(np.int64) << 8 | buffer[at + 1]
    return number
