"""Which interfaces merge received segments before we see them (GRO, LRO), by the ioctls of linux/ethtool.h."""

import fcntl
import socket
import struct
from array import array
from collections.abc import Collection
from dataclasses import dataclass

from tapfan.interfaces import LOOPBACK
from tapfan.values import ALL_INTERFACES

_SIOCETHTOOL = 0x8946
_GET_FLAGS, _GET_GRO = 0x25, 0x2B
_FLAG_LRO = 1 << 15
_REQUEST = struct.Struct("16sP16x")  # struct ifreq: the interface's name, and where the command and its value are


@dataclass(frozen=True)
class Offloads:
    """Whether generic (the kernel's) and large (the card's) receive offload are on."""

    gro: bool
    lro: bool


def read(interface: str) -> Offloads | None:
    """Those of the interface; None where it is not there or tells neither."""
    gro, flags = _value(interface, _GET_GRO), _value(interface, _GET_FLAGS)
    if gro is None and flags is None:
        return None
    return Offloads(bool(gro), bool((flags or 0) & _FLAG_LRO))


def of_captured(interfaces: Collection[str]) -> dict[str, Offloads]:
    """Those of the interfaces to capture on, ALL_INTERFACES for every one, as far as they tell.

    Not of loopback, where nothing is merged on its way in: what goes there has never been split.
    """
    names = {name for _, name in socket.if_nameindex()} if ALL_INTERFACES in interfaces else set(interfaces)
    found = ((name, read(name)) for name in sorted(names - {LOOPBACK}))
    return {name: offloads for name, offloads in found if offloads is not None}


def _value(interface: str, command: int) -> int | None:
    value = array("I", [command, 0])
    request = _REQUEST.pack(interface.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
        except OSError:
            return None
    return value[1]
