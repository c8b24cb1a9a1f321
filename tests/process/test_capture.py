"""Capturing real packets, in a network namespace of its own."""

import os
import signal
import socket
import time

import pytest

from tapfan.program import EXIT_FAILED
from tests.cpus import one_cpu
from tests.process.conftest import StartPrograms
from tests.process.namespace import Namespace, namespace
from tests.process.running import DEADLINE_S, Programs, wait_for
from tests.process.stored import Stored, stored
from tests.process.traffic import connections, segments_out, unacknowledged

_PORT, _OTHER_PORT = 9000, 9001


def _started(start: StartPrograms, space: Namespace, **listener: object) -> Programs:
    listen = [f"{space.address}:{_PORT}", f"[{space.address6}]:{_PORT}"]
    return start(listener={"listen": listen, "source": "capture"} | listener, netns=space.name)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_every_segment_of_a_connection_is_captured_once(
    start: StartPrograms, space: Namespace, family: socket.AddressFamily
) -> None:
    programs = _started(start, space)
    address = space.address6 if family == socket.AF_INET6 else space.address
    before_ns = time.time_ns()
    with one_cpu(), socket.create_connection((address, _PORT), timeout=20) as client:
        client.sendall(b"x" * 300_000)
        wait_for(lambda: unacknowledged(client) == 0, "the other end has all bytes")
        sent = segments_out(client)
        own_address, own_port = client.getsockname()[:2]
        found = wait_for(lambda: _complete(programs, sent), f"{sent} segments stored")
    after_ns = time.time_ns()
    assert [record.value["flags"] for record in found[:2]] == ["S", "A"]
    assert {record.value["sport"] for record in found} == {own_port}
    assert {record.source for record in found} == {own_address}
    assert {(record.destination, record.value["dport"]) for record in found} == {(address, _PORT)}
    assert all(before_ns < record.timestamp_ns < after_ns for record in found)
    timestamps = [record.timestamp_ns for record in found]
    assert timestamps == sorted(timestamps)


def test_all_packets_of_many_connections_are_stored_and_split_exactly(start: StartPrograms, space: Namespace) -> None:
    programs = _started(start, space)
    ports = connections(500, _PORT, space.address)
    assert programs.stop("listener") == 0
    status = programs.status()
    assert status["ledger"]["balanced"]
    assert status["listeners"]["local"]["source"] == "capture"
    assert status["listeners"]["local"]["kernel_drops"] == 0
    found = stored(programs)
    assert len(found) == status["ledger"]["captured"]
    assert sorted(record.value["sport"] for record in found if record.value["flags"] == "S") == sorted(ports)
    assert sorted(record.value["sport"] for record in found if "F" in record.value["flags"]) == sorted(ports)
    assert abs(len(stored(programs, "a")) - 0.3 * len(found)) < 1


def test_a_listener_that_is_held_up_for_half_a_second_loses_nothing(start: StartPrograms, space: Namespace) -> None:
    """However few packets come: a block of the ring is handed over nearly empty then."""
    programs = _started(start, space)
    with socket.create_connection((space.address, _PORT), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        programs.signal("listener", signal.SIGSTOP)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            client.sendall(b"x")
            wait_for(lambda: unacknowledged(client) == 0, "the other end has it")
        sent = segments_out(client)
        programs.signal("listener", signal.SIGCONT)
        wait_for(lambda: _complete(programs, sent), f"{sent} segments stored")
    assert sent > 10
    assert programs.status()["listeners"]["local"]["kernel_drops"] == 0


def test_what_is_sent_elsewhere_is_not_captured(start: StartPrograms, space: Namespace) -> None:
    programs = _started(start, space)
    with pytest.raises(ConnectionRefusedError):
        connections(1, _OTHER_PORT, space.address)
    connections(1, _PORT, space.address)
    programs.wait_settled(3)
    assert {record.value["dport"] for record in stored(programs)} == {_PORT}


def test_beside_another_server_and_on_every_address(start: StartPrograms, space: Namespace) -> None:
    programs = _started(start, space, listen=[f"0.0.0.0:{_PORT}", f"[::]:{_PORT}"], serve="none")
    for address in (space.address, space.address6):
        with pytest.raises(ConnectionRefusedError):
            connections(1, _PORT, address)
    programs.wait_settled(2)
    found = sorted(stored(programs), key=lambda record: record.timestamp_ns)
    assert [record.destination for record in found] == [space.address, space.address6]
    assert [record.value["flags"] for record in found] == ["S", "S"]


def test_an_interface_that_goes_down_is_waited_for_and_one_that_is_gone_ends_the_listener(start: StartPrograms) -> None:
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    with namespace() as own:
        programs = start(listener={"listen": [f"{own.address}:{_PORT}"], "source": "capture"}, netns=own.name)
        connections(1, _PORT, own.address)
        own.ip(f"link set {own.inside} down")
        wait_for(lambda: "Network is down" in programs.log("listener"), "it says so")
        own.ip(f"link set {own.inside} up")
        connections(1, _PORT, own.address)
        wait_for(lambda: [record.value["flags"] for record in stored(programs)].count("S") == 2, "it goes on")
        own.ip(f"link del {own.inside}")
        assert programs.processes.pop("listener").wait(DEADLINE_S) == EXIT_FAILED
        assert f"the interface {own.inside}, on which packets were captured, is gone" in programs.log("listener")
        assert programs.status()["ledger"]["in_flight"] == 0


def test_a_wildcard_captures_on_interfaces_that_come_later_and_outlives_those_that_go(start: StartPrograms) -> None:
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    with namespace() as own:
        programs = start(listener={"listen": [f"0.0.0.0:{_PORT}"], "source": "capture"}, netns=own.name)
        connections(1, _PORT, own.address)
        own.ip(f"link del {own.inside}")
        own.join()
        connections(1, _PORT, own.address)
        wait_for(lambda: [record.value["flags"] for record in stored(programs)].count("S") == 2, "both are stored")
        assert programs.stop("listener") == 0


def _complete(programs: Programs, segments: int) -> list[Stored] | None:
    """The records, once they are of so many segments, at least."""
    found = stored(programs)
    count = sum(record.value["segments"] for record in found)
    assert count <= segments, f"{count} segments are recorded, and {segments} were sent"
    return found if count == segments else None
