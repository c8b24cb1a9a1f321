"""What the listener does with the connections that it accepts."""

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest

from tests.process.conftest import MakePrograms, StartPrograms
from tests.process.running import Programs, wait_for
from tests.process.stored import stored
from tests.process.traffic import connections

_DATA = bytes(range(256)) * 4096  # 1 MiB


@contextmanager
def _upstream(address: str = "127.0.0.1") -> Iterator[int]:
    """A server that reads each connection to its end, and only then sends it all back; gives its port."""

    def answer(connection: socket.socket) -> None:
        with connection:
            got = bytearray()
            while data := connection.recv(65_536):
                got += data
            connection.sendall(got)

    def accept() -> None:
        with ThreadPoolExecutor(16) as pool:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                pool.submit(answer, connection)

    with socket.create_server((address, 0), backlog=1024) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _send(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def _echoed(port: int, data: bytes) -> bytes:
    """What comes back when the data and its end are sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        sender = threading.Thread(target=_send, args=(client, data))
        sender.start()
        got = bytearray()
        while part := client.recv(65_536):
            got += part
        sender.join()
        return bytes(got)


def test_forwarding_passes_all_bytes_both_ways_and_records_them(start: StartPrograms) -> None:
    with _upstream() as upstream:
        programs = start(listener={"serve": "forward", "upstream": f"127.0.0.1:{upstream}"})
        assert _echoed(programs.port, _DATA) == _DATA
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda number: _echoed(programs.port, b"%d" % number), range(300)))
        assert answers == [b"%d" % number for number in range(300)]
        assert programs.stop("listener") == 0
        flags = [record.value["flags"] for record in stored(programs)]
        assert flags.count("S") == 301
        assert flags.count("PA") >= 301


def test_an_upstream_may_speak_first(start: StartPrograms) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        programs = start(listener={"serve": "forward", "upstream": f"127.0.0.1:{upstream.getsockname()[1]}"})
        with socket.create_connection(("127.0.0.1", programs.port), timeout=20) as client:
            served, _ = upstream.accept()
            with served:
                served.sendall(b"220 ready")
                assert client.recv(100) == b"220 ready"
                client.sendall(b"QUIT")
                assert served.recv(100) == b"QUIT"


def test_an_upstream_that_is_not_there_is_told_once_and_the_client_cut_off(start: StartPrograms) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed_port = server.getsockname()[1]
    programs = start(listener={"serve": "forward", "upstream": f"127.0.0.1:{closed_port}"})
    for _ in range(20):
        with (
            pytest.raises(ConnectionResetError),  # so soon that it may be connecting still
            socket.create_connection(("127.0.0.1", programs.port), timeout=20) as client,
        ):
            client.recv(1)
    log = wait_for(lambda: programs.log("listener") if "upstream_failed" in programs.log("listener") else None, "told")
    assert log.count("upstream_failed") == 1
    assert f"127.0.0.1:{closed_port}" in log
    programs.wait_settled(20)


def test_more_connections_than_files_may_be_open_are_told_in_a_line(programs: MakePrograms) -> None:
    made = programs()
    made.start("router")
    made.start("listener", under=["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"])
    made.wait_ready()
    clients = [socket.create_connection(("127.0.0.1", made.port), timeout=20) for _ in range(100)]
    wait_for(lambda: "event=too_many_connections" in made.log("listener"), "it is told")
    for client in clients:
        client.close()
    log = made.log("listener")
    assert "open_files_limit=64" in log
    assert "Traceback" not in log
    assert len(log.splitlines()) < 10


def test_a_serving_process_that_dies_is_started_again_and_nothing_is_lost(start: StartPrograms) -> None:
    programs = start()
    connections(10, programs.port)
    programs.wait_settled(20)
    serving = _serving(programs)
    serving.send_signal(signal.SIGKILL)
    wait_for(lambda: _serving(programs) != serving, "another serving process")
    connections(10, programs.port)
    programs.wait_settled(40)
    assert len(stored(programs)) == 40
    assert "serving_died" in programs.log("listener")


def test_the_serving_process_ends_with_a_killed_listener(start: StartPrograms) -> None:
    programs = start()
    serving = _serving(programs)
    programs.kill("listener")
    serving.wait(10)
    programs.start("listener")
    programs.wait_ready()


def _serving(programs: Programs) -> psutil.Process:
    def child() -> psutil.Process | None:
        children = psutil.Process(programs.processes["listener"].pid).children()
        return children[0] if children else None

    return wait_for(child, "a serving process")
