"""A mixture of packets of all kinds, drawn at random, for capture files that other programs read, too."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from tests.listener import frames, tunnels
from tests.listener.frames import extension, ipv4, ipv6, jumbo, tcp
from tests.listener.tunnels import Outer, bridged

FLAGS = (0x02, 0x12, 0x10, 0x18, 0x11, 0x14, 0x04, 0x29, 0xC2, 0x00, 0xFF)
_PORTS = (1, 80, 443, 9000, 40_000, 65_535)
_SOURCES4 = [f"192.0.2.{n}" for n in range(1, 60)]
_SOURCES6 = [f"2001:db8:0:{n:x}::{n * 77:x}" for n in range(1, 60)]
_DESTINATIONS4, _DESTINATIONS6 = ("198.51.100.2", "203.0.113.9"), ("2001:db8:f::2", "fe80::1")
_NOP4 = b"\x01" * 4  # IPv4 and TCP options


@dataclass(frozen=True)
class Drawn:
    """A packet and its kind. `tags`: kinds of VLAN tags before it; `cut`: how many of its last bytes are not kept."""

    kind: str
    packet: bytes
    tags: tuple[int, ...] = ()
    cut: int = 0


def _segment(random: Random, payload: int | None = None) -> bytes:
    return tcp(
        random.choice(_PORTS),
        random.choice(_PORTS),
        random.choice(FLAGS),
        options=b"\x01" * 4 * random.choice((0, 0, 3, 10)),
        payload=bytes(random.choice((0, 0, 1, 6, 100, 1000)) if payload is None else payload),
    )


def _in4(random: Random, segment: bytes, **values: object) -> bytes:
    return ipv4(segment, random.choice(_SOURCES4), random.choice(_DESTINATIONS4), **values)  # type: ignore[arg-type]


def _in6(random: Random, segment: bytes, **values: object) -> bytes:
    return ipv6(segment, random.choice(_SOURCES6), random.choice(_DESTINATIONS6), **values)  # type: ignore[arg-type]


def _either(random: Random, segment: bytes, **values: object) -> bytes:
    return random.choice((_in4, _in6))(random, segment, **values)


def _changed(packet: bytes, at: int, value: int) -> bytes:
    """The packet with another byte; from the end if negative."""
    data = bytearray(packet)
    data[at] = value
    return bytes(data)


def _with_tcp_header(random: Random, size: int) -> bytes:
    """A packet whose TCP header says that it has so many bytes, of the 20 that there are."""
    return _changed(_either(random, tcp(random.choice(_PORTS), random.choice(_PORTS))), -8, size // 4 << 4)


def _options(kind: int) -> tuple[int, bytes]:
    """The shortest header with options: all of it is a PadN."""
    return kind, bytes([0, 1, 4, 0, 0, 0, 0])


def _routing() -> tuple[int, bytes]:
    """Of type 2 (mobile IPv6), with no segments left: it has one address."""
    return frames.ROUTING, bytes([2, 2, 0]) + bytes(4) + bytes(15) + b"\x09"


def _extended(random: Random) -> bytes:
    chains = (
        [_options(frames.HOP_BY_HOP)],
        [_options(frames.DESTINATION)],
        [_routing()],
        [extension(frames.AH, 2)],
        [_options(frames.HOP_BY_HOP), _options(frames.DESTINATION), _routing(), extension(frames.AH, 2)],
        [_options(frames.DESTINATION)] * 8,
    )
    return _in6(random, _segment(random), extensions=random.choice(chains))


def _fragment6(random: Random, fragment: int, segment: bytes) -> bytes:
    return _in6(random, segment, extensions=[extension(frames.FRAGMENT, fragment=fragment)])


def _bad_length(random: Random) -> bytes:
    """Of an IPv4 packet: shorter than its header."""
    return _in4(random, _segment(random), length=random.choice((1, 19)))


KINDS: dict[str, Callable[[Random], bytes]] = {
    "IPv4": lambda random: _in4(random, _segment(random)),
    "IPv6": lambda random: _in6(random, _segment(random)),
    "IPv4 with options": lambda random: _in4(random, _segment(random), options=_NOP4 * random.choice((1, 3, 10))),
    "IPv6 with extensions": _extended,
    "first fragment": lambda random: random.choice(
        (_in4(random, _segment(random, 24), fragment=0x2000), _fragment6(random, 1, _segment(random, 24)))
    ),
    "first fragment with a part of the TCP header": lambda random: random.choice(
        (
            _in4(random, tcp(1, 2, options=_NOP4 * 5)[:24], fragment=0x2000),
            _fragment6(random, 1, tcp(1, 2, options=_NOP4 * 5)[:24]),
        )
    ),
    "atomic fragment": lambda random: _fragment6(random, 0, _segment(random)),
    "later fragment": lambda random: random.choice(
        (
            _in4(random, _segment(random), fragment=random.choice((0x2003, 0x0003, 0x1F00))),
            _fragment6(random, random.choice((9, 8, 0xFF01)), _segment(random)),
        )
    ),
    "UDP": lambda random: _either(random, tunnels.udp(bytes(30), 9), protocol=frames.UDP),
    "another protocol": lambda random: _either(random, bytes(30), protocol=random.choice((59, 132, 253))),
    "TCP header too short": lambda random: _with_tcp_header(random, random.choice((0, 4, 16))),
    "TCP header beyond the packet": lambda random: _with_tcp_header(random, random.choice((24, 60))),
    "IPv4 length too short": _bad_length,
    "IPv4 header too short": lambda random: _changed(_in4(random, _segment(random)), 0, 0x44),
    "length too short for TCP": lambda random: random.choice(
        (_in4(random, _segment(random), length=33), _in6(random, _segment(random), length=13))
    ),
    "length longer than the packet": lambda random: random.choice(
        (_in4(random, _segment(random), length=3000), _in6(random, _segment(random), length=3000))
    ),
    "length of zero": lambda random: random.choice(
        (_in4(random, _segment(random), length=0), _in6(random, _segment(random), length=0))
    ),
    "jumbogram": lambda random: _in6(random, _segment(random, 0), extensions=[jumbo(70_000)], length=0),
    "too many extensions": lambda random: _in6(random, _segment(random), extensions=[_options(frames.DESTINATION)] * 9),
    "options behind AH": lambda random: _in6(
        random, _segment(random), extensions=[extension(frames.AH, 2), _options(frames.DESTINATION)]
    ),
    "mobility": lambda random: _in6(random, _segment(random), extensions=[extension(135)]),
    "HIP": lambda random: _in6(random, _segment(random), extensions=[extension(139, 4)]),
    "Shim6": lambda random: _in6(random, _segment(random), extensions=[(140, b"\0\x80" + bytes(5))]),
}


_TUNNELS: tuple[Callable[[Random, Outer, bytes], bytes], ...] = (
    lambda _, outer, packet: tunnels.in_ip(outer, packet),
    lambda _, outer, packet: tunnels.in_gre(outer, packet),
    lambda random, outer, packet: tunnels.in_gre(outer, packet, random.choice((0x8000, 0x2000, 0x1000, 0xB000))),
    lambda _, outer, packet: tunnels.in_gre(outer, bridged(packet), protocol=tunnels.BRIDGING),
    lambda random, outer, packet: tunnels.in_vxlan(outer, bridged(packet, *[0x8100] * random.randint(0, 1))),
    lambda _, outer, packet: tunnels.in_geneve(outer, bridged(packet), options=bytes([0, 1, 1, 1]) + bytes(4)),
    lambda _, outer, packet: tunnels.in_geneve(outer, packet, tunnels.ether_type(packet)),
)


def _tunnelled(random: Random) -> bytes:
    packet = _either(random, _segment(random))
    for _ in range(random.randint(1, 3)):
        packet = random.choice(_TUNNELS)(random, partial(_either, random), packet)
    return packet


TUNNELLED: dict[str, Callable[[Random], bytes]] = {"tunnel": _tunnelled, "no other packet": KINDS["IPv4"]}


def mixture(seed: int, count: int, kinds: dict[str, Callable[[Random], bytes]] = KINDS) -> list[Drawn]:
    """So many packets: mostly whole ones, some behind VLAN tags, some cut by a snapshot length."""
    random = Random(seed)
    drawn = []
    for _ in range(count):
        kind = random.choice(list(kinds))
        packet = kinds[kind](random)
        tags = random.choice(((), (), (), (0x8100,), (0x88A8, 0x8100), (0x9100, 0x8100), (0x8100,) * 3))
        cut = random.choice((0, 0, 0, random.randint(1, len(packet))))
        drawn.append(Drawn(kind, packet, tags, cut))
    return drawn
