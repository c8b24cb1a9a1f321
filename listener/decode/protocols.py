"""Numbers that the headers use, and how far they are followed; the kernel's filter and the decoder share them.

EtherTypes: IEEE 802; protocols and extension headers: IANA's lists; link types: https://www.tcpdump.org/linktypes.html.
"""

from enum import IntEnum

ETH_IPV4, ETH_IPV6 = 0x0800, 0x86DD
ETH_VLAN = (0x8100, 0x88A8, 0x9100)  # 802.1Q, 802.1ad, and what some switches use for the outer of two tags
ETH_BRIDGING = 0x6558  # Ethernet inside GRE and Geneve
MAX_TAGS = 3  # VLAN tags in the packet itself; the kernel takes the outermost into its metadata

TCP, UDP = 6, 17
IPIP, SIX_IN_ANY, GRE = 4, 41, 47
VXLAN_PORT, GENEVE_PORT = 4789, 6081

FRAGMENT, AH, NO_NEXT = 44, 51, 59
# Hop-by-hop, routing, fragment, AH, destination, mobility, HIP, Shim6: each begins with the next one's number.
IPV6_EXTENSIONS = (0, 43, FRAGMENT, AH, 60, 135, 139, 140)
MAX_EXTENSIONS = 8

TCP_BYTES = 14  # of its header, up to the flags: all that a record needs


class LinkType(IntEnum):
    """What a packet begins with; the numbers are those of capture files."""

    NULL = 0  # BSD loopback: an address family in the byte order of the host that captured
    ETHERNET = 1
    RAW = 101  # IPv4 or IPv6 at once
    LOOP = 108  # OpenBSD loopback: an address family in network byte order
    LINUX_SLL = 113  # cooked
    IPV4 = 228
    IPV6 = 229
    LINUX_SLL2 = 276  # cooked, version 2
