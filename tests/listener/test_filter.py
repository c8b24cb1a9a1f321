"""The kernel's filter, run by an interpreter of our own and handed to the kernel itself."""

import ctypes
import random
import socket
import struct
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.capture.filter import MAX_INSTRUCTIONS, Instruction, Program, build
from listener.decode.decoder import Decoded
from listener.decode.matching import Matching
from tapfan.batch import Records
from tapfan.endpoints import Endpoint, Only
from tapfan.skips import MALFORMED
from tests.listener import frames, strategies
from tests.listener.bpf import kept, run
from tests.listener.frames import Frame, decoded, ethernet, extension, ipv4, ipv6, laid_out, numbered, tcp
from tests.listener.tagged import (
    GENEVE_PORT,
    GRE,
    IPIP,
    SIX_IN_ANY,
    VXLAN_PORT,
    is_tunnel,
    is_wanted,
    reading,
    tagged,
)

_SO_ATTACH_FILTER = 26
_LATER = 8  # bytes kept behind a later fragment's IP headers, at least
_ENDPOINTS = st.lists(strategies.ENDPOINTS, max_size=8)
_ONLY: st.SearchStrategy[Only] = st.sampled_from(("all", "syn"))
_FRAMES = st.lists(strategies.tagged_frames(), min_size=1, max_size=8)
_EVERYWHERE = [Endpoint.parse("0.0.0.0:9000"), Endpoint.parse("[::]:9000")]


def _parsed(*endpoints: str) -> list[Endpoint]:
    return [Endpoint.parse(endpoint) for endpoint in endpoints]


@given(_ENDPOINTS, _ONLY, _FRAMES)
@settings(max_examples=300)
def test_a_packet_is_let_through_exactly_when_it_was_sent_to_an_endpoint(
    endpoints: list[Endpoint], only: Only, made: list[Frame]
) -> None:
    program = build(endpoints, only)
    assert program.exact
    for frame in made:
        found = reading(frame)
        wanted = found is not None and is_wanted(found, endpoints, only)
        assert bool(kept(program.code, frame)) == wanted, found


@given(_ENDPOINTS, _ONLY, _FRAMES)
@settings(max_examples=300)
def test_with_tunnels_what_may_have_packets_in_it_is_let_through_too(
    endpoints: list[Endpoint], only: Only, made: list[Frame]
) -> None:
    program = build(endpoints, only, tunnels=True)
    assert not program.exact
    for frame in made:
        found = reading(frame)
        wanted = found is not None and (is_tunnel(found) or is_wanted(found, endpoints, only))
        assert bool(kept(program.code, frame)) == wanted, found


@given(_ENDPOINTS, _ONLY, st.booleans(), _FRAMES)
def test_what_is_kept_reaches_from_the_longest_link_header_to_the_tcp_flags(
    endpoints: list[Endpoint], only: Only, tunnels: bool, made: list[Frame]
) -> None:
    program = build(endpoints, only, tunnels)
    for frame in made:
        found = reading(frame)
        if found is not None and (length := kept(program.code, frame)):
            assert length == 18 + found.end + (256 if tunnels and is_tunnel(found) else 14)
            assert length >= 18 + found.end + (_LATER if found.later else 14)


@given(_ENDPOINTS, st.lists(strategies.ip_frames(), max_size=8).map(numbered))
def test_the_filter_and_the_decoder_agree_on_what_was_sent_to_an_endpoint(
    endpoints: list[Endpoint], made: list[Frame]
) -> None:
    """What it lets through gives a record to one, or is malformed, or a later fragment; nothing else gives one."""
    program = build(endpoints)
    for frame in made:
        length = kept(program.code, frame)
        of_kept = decoded(laid_out([replace(frame, kept=length)])) if length else Decoded(Records.empty())
        whole = decoded(laid_out([frame])).records
        wanted = whole[Matching(endpoints).wanted(whole)]
        assert frames.rows(of_kept.records) == frames.rows(wanted)
        assert bool(length) == bool(len(wanted)) or of_kept.skipped.keys() <= {*MALFORMED, "fragment"}


@given(_ENDPOINTS, _ONLY, st.booleans(), strategies.tagged_frames(), st.data())
def test_a_packet_that_is_too_short_is_never_let_through_instead_of_the_whole_one(
    endpoints: list[Endpoint], only: Only, tunnels: bool, frame: Frame, data: st.DataObject
) -> None:
    program = build(endpoints, only, tunnels)
    end = data.draw(st.integers(frame.link, len(frame.data)))
    short = kept(program.code, replace(frame, data=frame.data[:end]))
    assert short in (0, kept(program.code, frame))


@pytest.mark.parametrize("extensions", [[], [extension(frames.ROUTING)]])
def test_an_ipv6_packet_from_an_endpoint_or_to_another_port_is_dropped(extensions: list[tuple[int, bytes]]) -> None:
    program = build(_parsed("[2001:db8::1]:9000")).code
    from_it = ipv6(tcp(9000, 9000), "2001:db8::1", "2001:db8::2", extensions)
    to_it = ipv6(tcp(), "2001:db8::2", "2001:db8::1", extensions)
    to_another_port = ipv6(tcp(destination_port=9001), "2001:db8::2", "2001:db8::1", extensions)
    assert [bool(kept(program, ethernet(packet))) for packet in (from_it, to_it, to_another_port)] == [0, 1, 0]


@pytest.mark.parametrize("count", range(11))
def test_extension_headers_are_walked_as_far_as_the_decoder_does(count: int) -> None:
    packet = ipv6(tcp(), extensions=[extension(frames.DESTINATION, 1)] * count)
    length = kept(build(_EVERYWHERE).code, ethernet(packet))
    assert length == (18 + 40 + 16 * count + 14 if count <= 8 else 0)


@pytest.mark.parametrize("count", range(6))
@pytest.mark.parametrize("packet", [ipv4(tcp()), ipv6(tcp())])
def test_tags_are_walked_as_far_as_the_decoder_does(packet: bytes, count: int) -> None:
    length = kept(build(_EVERYWHERE).code, tagged(packet, [0x8100] * count))
    assert length == (18 + 4 * count + len(packet) - 20 + 14 if count <= 3 else 0)


@pytest.mark.parametrize("protocol", [frames.ETH_ARP, 0x8100, 0x8847, 0])
def test_what_is_no_ip_packet_is_dropped(protocol: int) -> None:
    program = build(_EVERYWHERE).code
    assert not kept(program, ethernet(ipv4(tcp()), protocol))
    assert not kept(program, ethernet(ipv6(tcp()), protocol))


@pytest.mark.parametrize("bit", range(16))
@pytest.mark.parametrize("endpoints", [["198.51.100.2:80"], ["198.51.100.2:*"], ["0.0.0.0:80", "192.0.2.1:80"]])
def test_later_fragments_to_an_address_pass_whatever_would_be_their_port(bit: int, endpoints: list[str]) -> None:
    """To be counted. The first fragment's offset is 0, and the three bits above that are flags."""
    to_it = ethernet(ipv4(tcp(), fragment=1 << bit))
    to_another = ethernet(ipv4(tcp(), destination="192.0.2.9", fragment=1 << bit))
    later = bit < 13
    program = build(_parsed(*endpoints)).code
    assert bool(kept(program, to_it)) == (later or "*" in endpoints[0])
    assert bool(kept(program, to_another)) == (later and "0.0.0.0" in endpoints[0])
    assert not kept(build(_parsed(*endpoints), "syn").code, to_it) or not later


@pytest.mark.parametrize("following", [frames.TCP, frames.DESTINATION, frames.UDP, 59])
def test_later_ipv6_fragments_pass_when_tcp_may_follow(following: int) -> None:
    packet = ipv6(tcp(destination_port=80), protocol=following, extensions=[extension(frames.FRAGMENT, fragment=8)])
    expected = 18 + 40 + 8 + 14 if following in (frames.TCP, frames.DESTINATION) else 0
    assert kept(build(_parsed("[2001:db8::2]:9000")).code, ethernet(packet)) == expected
    assert not kept(build(_parsed("[2001:db8::3]:9000")).code, ethernet(packet))
    assert not kept(build(_parsed("[2001:db8::2]:9000"), "syn").code, ethernet(packet))


@pytest.mark.parametrize("flags", range(256))
def test_of_syn_only_what_asks_for_a_connection_is_let_through(flags: int) -> None:
    program = build(_EVERYWHERE, "syn").code
    asks = bool(flags & frames.SYN and not flags & frames.ACK)
    assert bool(kept(program, ethernet(ipv4(tcp(flags=flags))))) == asks
    assert bool(kept(program, ethernet(ipv6(tcp(flags=flags))))) == asks


@pytest.mark.parametrize(
    ("protocol", "port"), [(IPIP, 1), (SIX_IN_ANY, 1), (GRE, 1), (17, VXLAN_PORT), (17, GENEVE_PORT)]
)
@pytest.mark.parametrize("endpoints", [[], ["192.0.2.77:80"]])
def test_tunnels_pass_without_an_endpoint_and_much_is_kept_of_them(
    protocol: int, port: int, endpoints: list[str]
) -> None:
    for packet in (ipv4(tcp(1, port), protocol=protocol), ipv6(tcp(1, port), protocol=protocol)):
        assert kept(build(_parsed(*endpoints), tunnels=True).code, ethernet(packet)) == 18 + len(packet) - 20 + 256
        assert not kept(build(_EVERYWHERE).code, ethernet(packet))


@pytest.mark.parametrize(
    ("frame", "headers"),
    [
        (ethernet(ipv4(tcp())), 20),
        (ethernet(ipv4(tcp()), vlan=3), 20),
        (ethernet(ipv4(tcp(), options=bytes(40)), vlan=3), 60),
        (ethernet(ipv6(tcp()), vlan=3), 40),
        (ethernet(ipv6(tcp(), extensions=[extension(frames.ROUTING, 8)] * 3), vlan=3), 40 + 3 * 72),
    ],
)
def test_the_headers_are_kept_and_no_more(frame: Frame, headers: int) -> None:
    """So that packets are of the same length in the ring, and many fit in."""
    whole = replace(frame, data=frame.data + bytes(1400))
    assert kept(build(_EVERYWHERE).code, whole) == 18 + headers + 14


def test_all_packets_without_options_are_kept_at_the_same_length() -> None:
    program = build(_parsed("0.0.0.0:9000", "198.51.100.2:80", "198.51.100.2:*"))
    made = [ethernet(ipv4(tcp(destination_port=port, payload=bytes(100)))) for port in (80, 9000, 9001)]
    assert len({kept(program.code, frame) for frame in made}) == 1


def _hosts(count: int) -> list[Endpoint]:
    return _parsed(*(f"10.0.{i >> 8}.{i & 255}:9000" for i in range(count)))


def _scattered(count: int, ports: Sequence[str] = ("9000",)) -> list[Endpoint]:
    chosen = random.Random(count).sample(range(2**24), count)
    return _parsed(*(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:{ports[i % len(ports)]}" for i, n in enumerate(chosen)))


def _scattered6(count: int, bits: int, ports: Sequence[int] = (443,)) -> list[Endpoint]:
    chosen = random.Random(count)
    return [
        Endpoint(IPv6Address(0x2001 << 112 | chosen.getrandbits(bits)), ports[i % len(ports)]) for i in range(count)
    ]


def _ports(count: int, address: str) -> list[Endpoint]:
    return _parsed(*(f"{address}:{port}" for port in random.Random(1).sample(range(1, 65_536), count)))


_THOUSANDS = {
    "hosts in a row": _hosts(1000),
    "scattered hosts": _scattered(1000),
    "hosts with a few ports": _scattered(1000, ("80", "443", "8080", "*")),
    "ports of a host": _ports(1000, "192.0.2.1"),
    "ports of any host": _ports(1000, "0.0.0.0"),
    "ports of any IPv6 host": _ports(1000, "[::]"),
    "ports of an IPv6 host": _ports(1000, "[2001:db8::1]"),
    "IPv6 hosts with numbers of their own": _scattered6(1000, 32),
    "IPv6 hosts of a network": _scattered6(900, 64),
    "of all kinds": [
        *_scattered(250, ("80", "*", "443")),
        *_scattered6(250, 32, (80, 0, 443)),
        *_ports(250, "0.0.0.0"),
        *_ports(250, "[::]"),
    ],
}
_TOO_MANY = {
    "each with its own port": _scattered(1200, [str(port) for port in range(1, 3600, 3)]),
    "IPv6 hosts anywhere": _scattered6(1000, 112),
    "IPv6 hosts anywhere, each with its own port": _scattered6(3000, 112, range(1, 9000, 3)),
}


def _packet_to(endpoint: Endpoint, port: int) -> Frame:
    made = ipv4 if endpoint.address.version == 4 else ipv6
    return ethernet(made(tcp(destination_port=port), destination=str(endpoint.address)))


def _found(program: Program, endpoints: list[Endpoint]) -> list[bool]:
    return [bool(kept(program.code, _packet_to(endpoint, endpoint.port or 7))) for endpoint in endpoints]


@pytest.mark.parametrize("only", ["all", "syn"])
@pytest.mark.parametrize("endpoints", _THOUSANDS.values(), ids=_THOUSANDS)
def test_a_thousand_endpoints_fit_in_and_are_found_in_few_steps(endpoints: list[Endpoint], only: Only) -> None:
    program = build(endpoints, only)
    assert program.exact
    assert len(program.code) <= MAX_INSTRUCTIONS
    assert all(_found(program, endpoints))
    known, addresses = set(endpoints), sorted({endpoint.address for endpoint in endpoints}, key=str)
    numbers = random.Random(3)
    for _ in range(1000):
        tried = Endpoint(numbers.choice(addresses), numbers.choice(endpoints).port or 9)
        every_port, anywhere = Endpoint(tried.address, 0), Endpoint(type(tried.address)(0), tried.port)
        ran = run(program.code, _packet_to(tried, tried.port))
        assert bool(ran.kept) == bool({tried, every_port, anywhere} & known)
        assert ran.steps < 100


@pytest.mark.parametrize("endpoints", _THOUSANDS.values(), ids=_THOUSANDS)
def test_later_fragments_to_a_thousand_endpoints_pass(endpoints: list[Endpoint]) -> None:
    program = build(endpoints).code
    for endpoint in endpoints:
        to_it = str(endpoint.address)
        if endpoint.address.version == 4:
            packet = ipv4(tcp(), destination=to_it, fragment=1)
        else:
            packet = ipv6(tcp(), destination=to_it, extensions=[extension(frames.FRAGMENT, fragment=8)])
        ran = run(program, ethernet(packet))
        assert ran.kept
        assert ran.steps < 100


@pytest.mark.parametrize("tunnels", [False, True])
@pytest.mark.parametrize("only", ["all", "syn"])
@pytest.mark.parametrize("endpoints", _TOO_MANY.values(), ids=_TOO_MANY)
def test_where_endpoints_do_not_fit_in_more_is_let_through_and_none_missed(
    endpoints: list[Endpoint], only: Only, tunnels: bool
) -> None:
    program = build(endpoints, only, tunnels)
    assert not program.exact
    assert len(program.code) <= MAX_INSTRUCTIONS
    assert all(_found(program, endpoints))
    assert not kept(program.code, ethernet(ipv4(tcp(), protocol=frames.UDP)))
    _accepted_by_the_kernel(program.code)


@pytest.mark.parametrize("only", ["all", "syn"])
@pytest.mark.parametrize("tunnels", [False, True])
@pytest.mark.parametrize(
    "endpoints",
    [
        [],
        _parsed("127.0.0.1:9000"),
        _parsed("127.0.0.1:*"),
        _parsed("[2001:db8::2]:9000"),
        _parsed("0.0.0.0:*"),
        _parsed("[::]:*", "0.0.0.0:80"),
        _parsed("0.0.0.0:9000", "[::]:9000", "192.0.2.1:80", "192.0.2.2:*", "[::1]:*", "[::1]:80"),
        _hosts(300),
        *_THOUSANDS.values(),
    ],
)
def test_the_kernel_takes_the_program(endpoints: list[Endpoint], only: Only, tunnels: bool) -> None:
    _accepted_by_the_kernel(build(endpoints, only, tunnels).code)


@given(_ENDPOINTS, _ONLY, st.booleans())
def test_the_kernel_takes_whatever_is_built(endpoints: list[Endpoint], only: Only, tunnels: bool) -> None:
    _accepted_by_the_kernel(build(endpoints, only, tunnels).code)


def test_the_kernel_would_refuse_a_program_with_a_bad_jump() -> None:
    program = build(_parsed("127.0.0.1:9000")).code
    program[-2] = (0x05, 0, 0, 1)
    with pytest.raises(OSError, match="Invalid argument"):
        _accepted_by_the_kernel(program)


def _accepted_by_the_kernel(program: Sequence[Instruction]) -> None:
    """It checks every instruction and jump when a filter is attached, whatever the socket, and needs no right."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        attached = struct.pack("HL", len(program), ctypes.addressof(code))
        any_socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
