"""Packets that went through the kernel, and what became of each; needs CAP_NET_RAW."""

import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from listener.capture.filter import build
from listener.capture.ring import BLOCK_BYTES
from listener.capture.source import CaptureSource
from tapfan.endpoints import Endpoint
from tapfan.logs import Logger
from tapfan.messages import PacketCounts
from tapfan.sections import ListenerSettings
from tapfan.skips import MALFORMED, Skipped
from tests.cpus import one_cpu
from tests.listener import bpf, frames, mixture
from tests.listener.frames import Frame, Record, ethernet, ipv4, ipv6, tcp
from tests.listener.mixture import Drawn
from tests.listener.reading import reference
from tests.listener.tagged import tagged

_DEADLINE_S = 10.0
# Nobody has these: the kernel shows us packets to them, and drops them.
_NOWHERE = ("198.51.100.2:*", "203.0.113.9:*", "[2001:db8:f::2]:*", "[fe80::1]:*")
_TWO_BLOCKS = 2 * BLOCK_BYTES

Capturing = Callable[..., CaptureSource]


@pytest.fixture
def capturing(log: Logger) -> Iterator[Capturing]:
    """Captures on the loopback interface what is sent to these endpoints; closed after the test."""
    opened: list[CaptureSource] = []

    def open_source(*endpoints: str, ring_bytes: int = 2**22, **values: object) -> CaptureSource:
        listen = tuple(Endpoint.parse(endpoint) for endpoint in endpoints)
        settings = ListenerSettings(listen=listen, serve="none", source="capture", interface="lo", **values)
        try:
            opened.append(CaptureSource(settings.model_copy(update={"ring_bytes": ring_bytes}), log))
        except PermissionError:
            pytest.skip("capturing needs CAP_NET_RAW")
        return opened[-1]

    yield open_source
    for source in opened:
        source.close()


def _send(made: list[Frame]) -> None:
    """Put the frames on the loopback interface, on which they come in in this order."""
    with one_cpu(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("lo", 0))
        for frame in made:
            sender.send(frame.data)


def _read_until_it_adds_up(
    source: CaptureSource, at_least: int, earlier: Sequence[Record] = ()
) -> tuple[list[Record], PacketCounts]:
    """The records, once so many packets were seen, and of each it is known what became of it."""
    records = list(earlier)
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        while (part := source.read()) is not None:
            records += frames.rows(part)
        counts = source.counts()
        known = len(records) + counts.kernel_drops + sum(counts.skipped.values())
        assert known <= counts.seen
        if known == counts.seen >= at_least:
            return records, counts
        left_s = deadline - time.monotonic()
        assert left_s > 0, f"{known} packets, of which it is known what became of them: {counts}"
        select.select(source.descriptors(), [], [], min(left_s, 0.1))


def _on_the_wire(drawn: Drawn) -> Frame:
    return tagged(drawn.packet, drawn.tags)


def _received(drawn: Drawn) -> Frame:
    """The kernel takes the first tag into its metadata if it is of 802.1Q or 802.1ad."""
    return tagged(drawn.packet, drawn.tags[1:] if drawn.tags[:1] in ((0x8100,), (0x88A8,)) else drawn.tags)


def _without_time(records: list[Record]) -> Counter[Record]:
    return Counter(replace(record, timestamp=0) for record in records)


@pytest.mark.parametrize("tunnels", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_packets_of_all_kinds_come_through_the_kernel_as_they_are_read_one_by_one(
    capturing: Capturing, seed: int, tunnels: bool
) -> None:
    """Of those that the filter lets through, each gives a record, or is counted by the reason why not."""
    kinds = mixture.KINDS | mixture.TUNNELLED
    drawn = [replace(each, cut=0) for each in mixture.mixture(100 + seed, 2000, kinds)]
    program = build([Endpoint.parse(endpoint) for endpoint in _NOWHERE], tunnels=tunnels)
    let_through = [frame for each in drawn if bpf.kept(program.code, frame := _received(each))]
    source = capturing(*_NOWHERE, tunnels=tunnels)
    before_ns = time.time_ns()
    _send([_on_the_wire(each) for each in drawn])
    records, counts = _read_until_it_adds_up(source, len(let_through))
    read = [reference(frame, tunnels) for frame in let_through]
    assert (counts.seen, counts.kernel_drops) == (len(let_through), 0)
    assert _without_time(records) == _without_time([record for record in read if isinstance(record, Record)])
    assert Skipped(counts.skipped) == Skipped(reason for reason in read if not isinstance(reason, Record))
    assert all(before_ns < record.timestamp < time.time_ns() for record in records)
    assert {"fragment", *MALFORMED} - {"bad_extension", "bad_ip"} <= counts.skipped.keys()
    assert len(records) > 500


@pytest.mark.parametrize("rounds", [1, 5])
def test_packets_add_up_when_the_ring_is_full(capturing: Capturing, rounds: int) -> None:
    """Again and again; what was let through in between is recorded."""
    source = capturing("198.51.100.2:*", ring_bytes=_TWO_BLOCKS)
    made = [ethernet(packet) for packet in (ipv4(tcp()), ipv4(tcp(), fragment=3), ipv4(tcp()[:5]))] * 1000
    records: list[Record] = []
    for number in range(1, rounds + 1):
        _send(made)
        had = len(records)
        records, counts = _read_until_it_adds_up(source, number * len(made), records)
        assert len(records) > had
        assert counts.seen == number * len(made)
        assert counts.kernel_drops > 0
        assert counts.ring_freezes > 0
        assert counts.skipped.keys() == {"fragment", "truncated"}


def test_packets_to_other_endpoints_are_counted_where_the_filter_is_not_exact(capturing: Capturing) -> None:
    """As with tunnels, in which are packets to anybody."""
    source = capturing("198.51.100.2:80", tunnels=True)
    inside = [ipv4(tcp(1, port)) for port in (80, 81, 80, 82)]
    _send([ethernet(ipv4(packet, destination="203.0.113.9", protocol=4)) for packet in inside])
    _send([ethernet(ipv6(b"\0\x35\x12\xb5\0\x08\0\0" + bytes(30), destination="2001:db8:f::2", protocol=17))])
    records, counts = _read_until_it_adds_up(source, 5)
    assert [record.destination_port for record in records] == [80, 80]
    assert counts.skipped == {"other_endpoint": 2, "not_tcp": 1}


@pytest.mark.parametrize("only", ["all", "syn"])
def test_of_syn_only_attempts_are_seen(capturing: Capturing, only: str) -> None:
    source = capturing("198.51.100.2:80", only=only)
    made = [ethernet(ipv4(tcp(1, 80, flags))) for flags in range(256)]
    _send(made)
    wanted = [flags for flags in range(256) if only == "all" or flags & 0x12 == 0x02]
    records, counts = _read_until_it_adds_up(source, len(wanted))
    assert [record.flags for record in records] == wanted
    assert counts == PacketCounts(seen=len(wanted))
