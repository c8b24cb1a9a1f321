"""The kernel's filter, run by an interpreter of our own and handed to the kernel itself."""

import ctypes
import socket
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.capture.filter import IPV6_EXTENSIONS, MAX_INSTRUCTIONS, Instruction, build
from tapfan.endpoints import Endpoint, packed
from tests.listener import frames, strategies
from tests.listener.frames import Frame, decoded, ethernet, extension, ipv4, ipv6, laid_out, numbered, tcp

_SO_ATTACH_FILTER = 26
_NETWORK, _ANCILLARY = -0x100000, -0x1000  # SKF_NET_OFF, SKF_AD_OFF
_PROTOCOL = 0  # SKF_AD_PROTOCOL
_ENDPOINTS = st.lists(strategies.ENDPOINTS, max_size=8)


def _kept(program: Sequence[Instruction], frame: Frame) -> int:
    """How many bytes the program keeps of a frame: classic BPF, as linux/filter.h and bpf_common.h describe it."""
    a = x = at = 0
    while True:
        code, true, false, k = program[at]
        at += 1
        match code & 0x07:
            case 0x00 | 0x01:  # BPF_LD, BPF_LDX
                loaded = _loaded(code, k, x, frame)
                if loaded is None:
                    return 0
                a, x = (loaded, x) if code & 0x07 == 0 else (a, loaded)
            case 0x04:  # BPF_ALU
                operations = {0x00: a + k, 0x40: a | k, 0x50: a & k, 0x60: a << k, 0x70: a >> k}
                a = operations[code & 0xF8] & 0xFFFFFFFF
            case 0x05:  # BPF_JMP
                tests = {0x10: a == k, 0x20: a > k, 0x30: a >= k, 0x40: bool(a & k)}
                at += k if code == 0x05 else true if tests[code & 0xF8] else false
            case 0x06:  # BPF_RET
                return k
            case 0x07:  # BPF_MISC: TAX, TXA
                a, x = (x, x) if code == 0x87 else (a, a)
            case other:
                raise AssertionError(f"instruction class {other}")


def _loaded(code: int, k: int, x: int, frame: Frame) -> int | None:
    """What a load gives; None where the packet ends before."""
    signed = k - 2**32 if k >= 2**31 else k
    if code & 0xE0 == 0xA0:  # BPF_MSH
        return None if k >= len(frame.data) else (frame.data[k] & 15) * 4
    if code & 0xE0 == 0x40:  # BPF_IND
        signed += x
    if signed >= _ANCILLARY and signed < 0:
        assert signed == _ANCILLARY + _PROTOCOL
        return frame.protocol
    at = signed - _NETWORK + frame.link if signed < 0 else signed
    size = {0x00: 4, 0x08: 2, 0x10: 1}[code & 0x18]
    content = frame.data[at : at + size]
    return int.from_bytes(content) if len(content) == size else None


def _is_sent_to(frame: Frame, endpoints: Sequence[Endpoint]) -> bool:
    """Whether the filter should let a whole frame through."""
    network, at = frame.network, frames.tcp_at(frame)
    if frame.protocol == frames.ETH_IPV4:
        version, destination = 4, packed(socket.inet_ntop(socket.AF_INET, network[16:20]))
    else:
        version, destination = 6, network[24:40]
    extended = version == 6 and network[6] in IPV6_EXTENSIONS
    if not extended and at is None:
        return False
    port = None if extended or at is None else int.from_bytes(network[at + 2 : at + 4])
    return any(
        endpoint.address.version == version
        and port in (None, endpoint.port)
        and (endpoint.address.is_unspecified or endpoint.packed == destination)
        for endpoint in endpoints
    )


@given(_ENDPOINTS, st.lists(strategies.ip_frames(), min_size=1, max_size=8))
def test_a_packet_is_let_through_exactly_when_it_was_sent_to_an_endpoint(
    endpoints: list[Endpoint], made: list[Frame]
) -> None:
    program = build(endpoints)
    assert [bool(_kept(program, frame)) for frame in made] == [_is_sent_to(frame, endpoints) for frame in made]


@given(_ENDPOINTS, st.lists(strategies.ip_frames(), max_size=8).map(numbered))
def test_what_is_kept_of_packets_is_enough_for_the_records_of_all_that_were_sent_to_an_endpoint(
    endpoints: list[Endpoint], made: list[Frame]
) -> None:
    program = build(endpoints)
    captured = [replace(frame, kept=kept) for frame in made if (kept := _kept(program, frame))]
    found = decoded(*laid_out(captured), endpoints)
    records = [frames.reference(frame) for frame in made]
    expected = [record for record in records if record is not None and frames.sent_to(record, endpoints)]
    assert Counter(frames.rows(found.records)) == Counter(expected)


@given(_ENDPOINTS, strategies.ip_frames(), st.data())
def test_a_packet_that_is_too_short_is_never_let_through_instead_of_the_whole_one(
    endpoints: list[Endpoint], frame: Frame, data: st.DataObject
) -> None:
    program = build(endpoints)
    end = data.draw(st.integers(frame.link, len(frame.data)))
    short = _kept(program, replace(frame, data=frame.data[:end]))
    assert short in (0, _kept(program, frame))


@pytest.mark.parametrize("extensions", [[], [extension(frames.ROUTING)]])
def test_an_ipv6_packet_from_an_endpoint_is_dropped(extensions: list[tuple[int, bytes]]) -> None:
    program = build([Endpoint.parse("[2001:db8::1]:9000")])
    from_it = ipv6(tcp(), "2001:db8::1", "2001:db8::2", extensions)
    to_it = ipv6(tcp(), "2001:db8::2", "2001:db8::1", extensions)
    assert not _kept(program, ethernet(from_it))
    assert _kept(program, ethernet(to_it))


@pytest.mark.parametrize("protocol", [frames.ETH_ARP, 0x8100, 0x8847, 0])
def test_what_is_no_ip_packet_is_dropped(protocol: int) -> None:
    program = build([Endpoint.parse("0.0.0.0:9000"), Endpoint.parse("[::]:9000")])
    assert not _kept(program, ethernet(ipv4(tcp()), protocol))
    assert not _kept(program, ethernet(ipv6(tcp()), protocol))


@pytest.mark.parametrize("bit", range(16))
def test_of_the_fragments_of_an_ipv4_packet_only_the_first_is_let_through(bit: int) -> None:
    """It has the ports; its offset is 0, and the three bits above that are flags."""
    program = build([Endpoint.parse("0.0.0.0:9000")])
    assert bool(_kept(program, ethernet(ipv4(tcp(), fragment=1 << bit)))) == (bit >= 13)


@pytest.mark.parametrize(
    ("frame", "headers"),
    [
        (ethernet(ipv4(tcp())), 14 + 20 + 14),
        (ethernet(ipv4(tcp()), vlan=3), 18 + 20 + 14),
        (ethernet(ipv4(tcp(), options=bytes(40)), vlan=3), 18 + 60 + 14),
        (ethernet(ipv6(tcp()), vlan=3), 18 + 40 + 14),
        (ethernet(ipv6(tcp(), extensions=[extension(frames.ROUTING, 8)] * 3), vlan=3), 18 + 40 + 3 * 72 + 14),
    ],
)
def test_the_headers_are_kept_and_little_more(frame: Frame, headers: int) -> None:
    """Little, so that packets are of the same length in the ring, and many fit in."""
    whole = replace(frame, data=frame.data + bytes(1400))
    kept = _kept(build([Endpoint.parse("0.0.0.0:9000"), Endpoint.parse("[::]:9000")]), whole)
    assert headers <= kept <= 18 + 40 + 256 + 14


def test_all_packets_without_options_are_kept_at_the_same_length() -> None:
    program = build([Endpoint.parse("0.0.0.0:9000"), Endpoint.parse("198.51.100.2:80")])
    made = [ethernet(ipv4(tcp(destination_port=port, payload=bytes(100)))) for port in (80, 9000)]
    assert len({_kept(program, frame) for frame in made}) == 1


def _hosts(count: int) -> list[Endpoint]:
    return [Endpoint.parse(f"10.0.{i >> 8}.{i & 255}:9000") for i in range(count)]


def _ports(count: int, address: str) -> list[Endpoint]:
    return [Endpoint.parse(f"{address}:{1000 + i}") for i in range(count)]


@pytest.mark.parametrize("endpoints", [_hosts(1000), _ports(1000, "0.0.0.0"), _ports(1000, "[::]")])
def test_a_thousand_addresses_or_a_thousand_ports_fit_in(endpoints: list[Endpoint]) -> None:
    program = build(endpoints)
    assert len(program) <= MAX_INSTRUCTIONS
    last = endpoints[-1]
    packet = (ipv6 if last.address.version == 6 else ipv4)(
        tcp(destination_port=last.port), destination=str(last.address)
    )
    assert _kept(program, ethernet(packet))


@pytest.mark.parametrize(
    "endpoints",
    [
        [Endpoint.parse("127.0.0.1:9000")],
        [Endpoint.parse("[2001:db8::2]:9000")],
        [Endpoint.parse("0.0.0.0:9000"), Endpoint.parse("[::]:9000"), Endpoint.parse("192.0.2.1:80")],
        _hosts(300),
        _ports(300, "0.0.0.0"),
        [],
    ],
)
def test_the_kernel_takes_the_program(endpoints: list[Endpoint]) -> None:
    """It checks every instruction and jump when a filter is attached, whatever the socket, and needs no right."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        _attach(any_socket, build(endpoints))


def test_the_kernel_would_refuse_a_program_with_a_bad_jump() -> None:
    program = build([Endpoint.parse("127.0.0.1:9000")])
    program[-2] = (0x05, 0, 0, 1)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket,
        pytest.raises(OSError, match="Invalid argument"),
    ):
        _attach(any_socket, program)


def _attach(to: socket.socket, program: Sequence[Instruction]) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
