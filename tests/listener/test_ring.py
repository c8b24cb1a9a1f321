"""A ring on this host's loopback interface, with real packets; needs CAP_NET_RAW."""

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest

from listener.capture.filter import Instruction, build
from listener.capture.ring import BLOCK_BYTES, Ring
from tapfan.endpoints import Endpoint, packed
from tests.cpus import one_cpu
from tests.listener import frames
from tests.listener.frames import Record, decoded

_DEADLINE_S = 10.0
_FIN = 0x01
_SEGMENT_BYTES = 1400  # as on a wire; loopback's own are larger than what is sent here
# As few as the settings allow. With less than four, the kernel drops a packet that comes in on one CPU while the timer,
# on another, hands over the block, though the next one is free: it looks only at this one and one a quarter further on.
_BLOCKS = 32
_EVERYTHING: Sequence[Instruction] = [(0x06, 0, 0, 2**18)]  # ret #262144
_TCP_INFO_BYTES, _SEGMENTS_OUT_AT = 140, 136  # struct tcp_info of linux/tcp.h


@pytest.fixture(autouse=True)
def _in_order() -> Iterator[None]:
    """Packets come in as they were sent."""
    with one_cpu():
        yield


@pytest.fixture
def opened() -> Iterator[Callable[..., Ring]]:
    """Opens rings, and closes them after the test."""
    rings: list[Ring] = []

    def open_ring(program: Sequence[Instruction], interface: str = "lo", fanout: int | None = None) -> Ring:
        try:
            rings.append(Ring(interface, program, _BLOCKS * BLOCK_BYTES, 1, fanout))
        except PermissionError:
            pytest.skip("a packet ring needs CAP_NET_RAW")
        return rings[-1]

    yield open_ring
    for ring in rings:
        ring.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_each_packet_of_a_connection_is_seen_once_and_in_order(opened: Callable[..., Ring], address: str) -> None:
    """By the kernel's own count of the segments that it sent: on loopback, each also passes as an outgoing copy."""
    with _server(address) as server:
        endpoint = _endpoint(server)
        ring = opened(build([endpoint]).code)
        before_ns = time.time_ns()
        with socket.socket(server.family) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
            client.connect(server.getsockname()[:2])
            with server.accept()[0] as accepted:
                client.sendall(b"x" * 100_000)
                _read_all(accepted, 100_000)
                accepted.sendall(b"y" * 100_000)
                _read_all(client, 100_000)
                client.shutdown(socket.SHUT_WR)
                found = _records(ring, lambda records: any(record.flags & _FIN for record in records))
                segments = _segments_out(client)
                own_port = client.getsockname()[1]
        after_ns = time.time_ns()
    assert [record.flags for record in found[:2]] == [frames.SYN, frames.ACK]
    assert sum(record.segments for record in found) == segments > 100_000 // _SEGMENT_BYTES
    assert len(found) < segments, "none were merged"
    assert {(record.source, record.source_port) for record in found} == {(packed(address), own_port)}
    assert {(record.destination, record.destination_port) for record in found} == {(packed(address), endpoint.port)}
    timestamps = [record.timestamp for record in found]
    assert before_ns < timestamps[0] <= timestamps[-1] < after_ns
    assert timestamps == sorted(timestamps)


def test_both_families_come_through_one_ring(opened: Callable[..., Ring]) -> None:
    with _server("127.0.0.1") as first, _server("::1") as second:
        ring = opened(build([_endpoint(first), _endpoint(second)]).code)
        for server in (first, second):
            socket.create_connection(server.getsockname()[:2]).close()
        found = _records(ring, lambda records: sum(bool(record.flags & _FIN) for record in records) == 2)
    assert {record.destination for record in found} == {packed("127.0.0.1"), packed("::1")}


def test_rings_of_one_fanout_share_what_comes_and_one_of_the_next_number_sees_all(opened: Callable[..., Ring]) -> None:
    with _server("127.0.0.1") as server:
        program = build([_endpoint(server)], "syn").code
        number = os.getpid() % 200
        sharing = [opened(program, fanout=number), opened(program, fanout=number)]
        alone = opened(program, fanout=number + 1)
        for _ in range(40):  # each is taken at once, so that it is seen which ring had it
            with socket.create_connection(server.getsockname()) as client:
                port = client.getsockname()[1]
            assert [record.source_port for record in _records(alone, bool)] == [port]
            ready, _, _ = select.select(sharing, [], [], _DEADLINE_S)
            assert len(ready) == 1
            assert [record.source_port for record in _records(ready[0], bool)] == [port]


def test_what_is_sent_to_other_ports_is_not_seen(opened: Callable[..., Ring]) -> None:
    with _server("127.0.0.1") as server, _server("127.0.0.1") as other:
        ring = opened(build([_endpoint(server)]).code)
        for each in (other, server):
            socket.create_connection(each.getsockname()).close()
        found = _records(ring, lambda records: any(record.flags & _FIN for record in records))
        assert {record.destination_port for record in found} == {_endpoint(server).port}


def test_nothing_is_taken_before_a_block_is_handed_over(opened: Callable[..., Ring]) -> None:
    with _server("127.0.0.1") as server:
        ring = opened(build([_endpoint(server)]).code)
        assert ring.take(9) is None
        assert ring.is_drained


def test_blocks_are_taken_in_turn_for_ever(opened: Callable[..., Ring]) -> None:
    """More blocks than the ring has, so that each is used several times."""
    with _server("127.0.0.1") as server:
        ring = opened(build([_endpoint(server)]).code)
        for _ in range(2 * _BLOCKS + 3):
            with socket.create_connection(server.getsockname()) as client:
                own_port = client.getsockname()[1]
            found = _records(ring, lambda records: any(record.flags & _FIN for record in records))
            assert {record.source_port for record in found} == {own_port}
        assert ring.statistics().drops == 0


def test_drops_are_counted_once_and_capturing_goes_on(opened: Callable[..., Ring]) -> None:
    ring = opened(_EVERYTHING)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(("127.0.0.1", 0))
        for _ in range(100):
            sender.sendto(bytes(60_000), receiver.getsockname())
    counted = ring.statistics()
    assert counted.drops >= 100 - _BLOCKS * BLOCK_BYTES // 60_000
    assert counted.seen > counted.drops
    assert counted.freezes > 0
    taken = _packets(ring)
    assert taken >= 1
    after = ring.statistics()
    assert after.seen - after.drops >= taken
    assert after.drops >= counted.drops
    with _server("127.0.0.1") as server:
        socket.create_connection(server.getsockname()).close()
        _records(ring, lambda records: any(record.destination_port == _endpoint(server).port for record in records))


def test_an_interface_that_is_not_there_is_an_error(opened: Callable[..., Ring]) -> None:
    with pytest.raises(OSError, match="No such device"):
        opened(_EVERYTHING, "tapfan-none")


def _server(address: str) -> closing[socket.socket]:
    """A socket that listens at a port which nobody else uses."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return closing(socket.create_server((address, 0), family=family))
    except OSError as error:
        pytest.skip(f"this host has no {address}: {error}")


def _endpoint(server: socket.socket) -> Endpoint:
    address, port = server.getsockname()[:2]
    return Endpoint.parse(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")


def _records(ring: Ring, complete: Callable[[list[Record]], bool]) -> list[Record]:
    """The records of the ring's blocks, taken until they are complete."""
    found: list[Record] = []
    deadline = time.monotonic() + _DEADLINE_S
    while not complete(found):
        left_s = deadline - time.monotonic()
        assert left_s > 0, f"not complete within {_DEADLINE_S:g} s: {found}"
        select.select([ring], [], [], left_s)
        while (taken := ring.take(_BLOCKS)) is not None:
            found += frames.rows(decoded(taken).records)
            ring.give_back(len(taken))
    return found


def _packets(ring: Ring) -> int:
    """How many packets are in the blocks that are there, which are given back."""
    packets = 0
    while (taken := ring.take(1)) is not None:
        packets += int(taken[0, 12:16].view("<u4")[0])
        ring.give_back(1)
    return packets


def _read_all(connection: socket.socket, count: int) -> None:
    while count:
        count -= len(connection.recv(count))


def _segments_out(client: socket.socket) -> int:
    """How many segments the kernel has sent on a connection, retransmitted ones included."""
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    segments: int = struct.unpack_from("=I", info, _SEGMENTS_OUT_AT)[0]
    return segments
