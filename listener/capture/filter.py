"""The kernel's filter: a classic BPF program that lets through TCP packets sent to the endpoints, and no others.

It works for every link type, as it reads from the network header on (SKF_NET_OFF) and takes the protocol from
the metadata (SKF_AD_PROTOCOL). See https://docs.kernel.org/networking/filter.html. Two things are left to
`decode`: the port of an IPv6 packet with extension headers, and whether a header is cut off.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tapfan.endpoints import Endpoint

MAX_INSTRUCTIONS = 4096  # the kernel's BPF_MAXINSNS

# Bytes to keep of a packet, from the link header (18: Ethernet with an inline VLAN tag) to the TCP flags.
LINK_BYTES = 18
TCP_BYTES = 14
SNAP_IPV4 = LINK_BYTES + 20 + TCP_BYTES
SNAP_IPV4_OPTIONS = LINK_BYTES + 60 + TCP_BYTES
SNAP_IPV6 = LINK_BYTES + 40 + TCP_BYTES
SNAP_IPV6_EXTENSIONS = SNAP_IPV6 + 256

IPV6_EXTENSIONS = (
    0,
    43,
    44,
    51,
    60,
    135,
    139,
    140,
)  # hop-by-hop, routing, fragment, AH, destination, mobility, HIP, Shim6

_LD_W, _LD_H, _LD_B = 0x20, 0x28, 0x30  # A = packet[k]
_LD_H_X = 0x48  # A = packet[X + k]
_JA, _JEQ, _JSET = 0x05, 0x15, 0x45
_AND, _LSH = 0x54, 0x64
_TAX, _TXA = 0x07, 0x87
_RET = 0x06
_NETWORK = -0x100000 & 0xFFFFFFFF  # SKF_NET_OFF
_PROTOCOL = -0x1000 & 0xFFFFFFFF  # SKF_AD_OFF + SKF_AD_PROTOCOL
_ETH_IPV4, _ETH_IPV6 = 0x0800, 0x86DD
_TCP = 6

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass
class _Program:
    """Instructions with named places; every far jump is a JA, as conditional ones reach 255 at most."""

    code: list[Instruction] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    jumps: dict[int, str] = field(default_factory=dict)

    def add(self, code: int, k: int = 0) -> None:
        self.code.append((code, 0, 0, k))

    def place(self, name: str) -> None:
        self.places[name] = len(self.code)

    def jump(self, name: str) -> None:
        self.jumps[len(self.code)] = name
        self.add(_JA)

    def jump_if(self, test: int, k: int, name: str) -> None:
        self.code.append((test, 0, 1, k))
        self.jump(name)

    def jump_unless(self, test: int, k: int, name: str) -> None:
        self.code.append((test, 1, 0, k))
        self.jump(name)

    def assembled(self) -> list[Instruction]:
        for at, name in self.jumps.items():
            self.code[at] = (_JA, 0, 0, self.places[name] - at - 1)
        return self.code


def build(endpoints: Iterable[Endpoint]) -> list[Instruction]:
    """The program for these endpoints; it may be longer than MAX_INSTRUCTIONS."""
    chosen = list(endpoints)
    program = _Program()
    program.add(_LD_W, _PROTOCOL)
    program.jump_if(_JEQ, _ETH_IPV4, "ipv4")
    program.jump_if(_JEQ, _ETH_IPV6, "ipv6")
    program.jump("drop")
    _ipv4(program, [endpoint for endpoint in chosen if endpoint.address.version == 4])
    _ipv6(program, [endpoint for endpoint in chosen if endpoint.address.version == 6])
    program.place("drop")
    program.add(_RET, 0)
    return program.assembled()


def _ipv4(program: _Program, endpoints: Sequence[Endpoint]) -> None:
    program.place("ipv4")
    program.add(_LD_B, _NETWORK + 9)
    program.jump_unless(_JEQ, _TCP, "drop")
    program.add(_LD_H, _NETWORK + 6)
    program.jump_if(_JSET, 0x1FFF, "drop")  # a later fragment has no TCP header
    program.add(_LD_B, _NETWORK)
    program.add(_AND, 0x0F)
    program.add(_LSH, 2)
    program.add(_TAX)
    program.add(_LD_H_X, _NETWORK + 2)  # the destination port
    _match(program, endpoints, "ipv4", _NETWORK + 16)
    program.place("ipv4 accept")
    program.add(_TXA)
    program.code.append((_JEQ, 0, 1, 20))
    program.add(_RET, SNAP_IPV4)
    program.add(_RET, SNAP_IPV4_OPTIONS)


def _ipv6(program: _Program, endpoints: Sequence[Endpoint]) -> None:
    program.place("ipv6")
    program.add(_LD_B, _NETWORK + 6)
    program.jump_if(_JEQ, _TCP, "ipv6 plain")
    for header in IPV6_EXTENSIONS:
        program.jump_if(_JEQ, header, "ipv6 extended")
    program.jump("drop")
    program.place("ipv6 plain")
    program.add(_LD_H, _NETWORK + 42)  # the destination port
    _match(program, endpoints, "ipv6", _NETWORK + 24)
    program.place("ipv6 accept")
    program.add(_RET, SNAP_IPV6)
    program.place("ipv6 extended")
    _match_address(program, [endpoint.address for endpoint in endpoints], "ipv6 extended accept", _NETWORK + 24)
    program.place("ipv6 extended accept")
    program.add(_RET, SNAP_IPV6_EXTENSIONS)


def _match(program: _Program, endpoints: Sequence[Endpoint], name: str, address_at: int) -> None:
    """With the destination port in A: go to "`name` accept" when an endpoint matches, else to "drop"."""
    for port in sorted({endpoint.port for endpoint in endpoints}):
        program.jump_unless(_JEQ, port, f"{name} not {port}")
        addresses = [endpoint.address for endpoint in endpoints if endpoint.port == port]
        _match_address(program, addresses, f"{name} accept", address_at)
        program.place(f"{name} not {port}")
    program.jump("drop")


def _match_address(program: _Program, addresses: Sequence[Address], accept: str, address_at: int) -> None:
    """Go to `accept` when the packet's destination is one of the addresses, else to "drop"."""
    if any(address.is_unspecified for address in addresses):
        program.jump(accept)
        return
    for address in sorted(set(addresses), key=int):
        other = f"{accept} {address_at} {len(program.code)}"
        for start in range(0, len(address.packed), 4):
            program.add(_LD_W, address_at + start)
            program.jump_unless(_JEQ, int.from_bytes(address.packed[start : start + 4]), other)
        program.jump(accept)
        program.place(other)
    program.jump("drop")
