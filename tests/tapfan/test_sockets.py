"""Sockets: for nobody but this user and this host, and errors that say what to do."""

import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tapfan import keys, sockets
from tapfan.program import CannotRunError
from tests.process.running import free_port

_WAIT_MS = 5_000
make_either = pytest.mark.parametrize("make", [sockets.bound, sockets.connected])
Make = Callable[..., sockets.Socket]
Opened = Callable[..., sockets.Socket]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Makes sockets by the functions under test; all are closed at the end."""
    context: zmq.Context[sockets.Socket] = zmq.Context()
    kept: list[sockets.Socket] = []

    def make_one(make: Make, *arguments: object) -> sockets.Socket:
        kept.append(make(context, *arguments))
        return kept[-1]

    yield make_one
    context.destroy(linger=0)


@make_either
@pytest.mark.parametrize("endpoint", ["ipc://", "tcp://user@127.0.0.1:7001"])
def test_an_endpoint_that_zeromq_refuses_is_named(make: Make, endpoint: str, opened: Opened) -> None:
    with pytest.raises(CannotRunError, match=f"cannot (bind|connect to) {endpoint}: "):
        opened(make, zmq.ROUTER, endpoint)


@make_either
@pytest.mark.parametrize(
    "endpoint", ["tcp://192.0.2.1:7001", "tcp://*:7001", "tcp://0.0.0.0:7001", "tcp://localhost:1"]
)
def test_without_a_key_there_are_no_other_hosts_whoever_asks(make: Make, endpoint: str, opened: Opened) -> None:
    with pytest.raises(CannotRunError, match="is for other hosts, and needs a key"):
        opened(make, zmq.ROUTER, endpoint)


def test_a_connection_that_says_nothing_ends_and_one_socket_is_in_the_clear_for_this_host_alone(
    tmp_path: Path, opened: Opened
) -> None:
    """Also without anybody who answers ZAP: then nobody is let in."""
    server = opened(sockets.bound, zmq.ROUTER, f"ipc://{tmp_path}/router.ipc")
    router = keys.made(tmp_path / "router.key", "router", "router")
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    sockets.open_to_others(server, endpoint, router, "control", sockets.Bounds())
    near = opened(sockets.connected, zmq.DEALER, f"ipc://{tmp_path}/router.ipc")
    assert near.poll(_WAIT_MS, zmq.POLLOUT)
    assert sockets.sent(near, b"near")
    assert server.poll(_WAIT_MS)
    assert server.recv_multipart()[1] == b"near"
    client = keys.made(tmp_path / "client.key", "client", "admin", router.public)
    for key in (client, None):
        far = opened(sockets.connected, zmq.DEALER, endpoint, b"", key)
        assert not far.poll(300, zmq.POLLOUT)
    with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), timeout=10) as silent:
        while silent.recv(100):
            pass
    assert not server.poll(0)


def test_an_endpoint_in_use_is_named(opened: Opened) -> None:
    endpoint = _bound_somewhere(opened, "127.0.0.1")[1]
    with pytest.raises(CannotRunError, match=f"cannot bind {endpoint}: Address already in use"):
        opened(sockets.bound, zmq.ROUTER, endpoint)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, opened: Opened) -> None:
    with pytest.raises(CannotRunError, match=r"cannot bind ipc://.*/absent/router\.ipc: No such file or directory"):
        opened(sockets.bound, zmq.ROUTER, f"ipc://{tmp_path}/absent/router.ipc")


def test_an_ipc_socket_is_for_nobody_else(tmp_path: Path, opened: Opened) -> None:
    file = tmp_path / "router.ipc"
    opened(sockets.bound, zmq.ROUTER, f"ipc://{file}")
    assert stat.S_ISSOCK(file.stat().st_mode)
    assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0
    (tmp_path / "made later").touch()
    assert (tmp_path / "made later").stat().st_mode & 0o044, "the umask is as it was"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.5.5", "[::1]"])
def test_messages_pass_over_loopback_both_ways(host: str, opened: Opened) -> None:
    server, endpoint = _bound_somewhere(opened, host)
    client = opened(sockets.connected, zmq.DEALER, endpoint, b"client")
    assert client.poll(_WAIT_MS, zmq.POLLOUT)
    assert sockets.sent(client, b"one", b"two")
    assert server.poll(_WAIT_MS)
    assert sockets.received(server) == [b"client", b"one", b"two"]
    assert sockets.sent(server, b"client", b"back")
    assert client.poll(_WAIT_MS)
    assert sockets.received(client) == [b"back"]


def test_what_cannot_be_sent_now_is_told_not_queued(tmp_path: Path, opened: Opened) -> None:
    server = opened(sockets.bound, zmq.ROUTER, f"ipc://{tmp_path}/router.ipc")
    client = opened(sockets.connected, zmq.DEALER, f"ipc://{tmp_path}/absent.ipc")
    assert not sockets.sent(client, b"to a peer that is not there yet")
    assert not sockets.sent(server, b"unknown", b"to a peer that never was")
    assert sockets.received(server) is None


def test_of_a_message_of_many_frames_a_few_are_kept_and_the_others_thrown_away_bit_by_bit(
    tmp_path: Path, opened: Opened
) -> None:
    server = opened(sockets.bound, zmq.ROUTER, f"ipc://{tmp_path}/router.ipc")
    client = opened(sockets.connected, zmq.DEALER, f"ipc://{tmp_path}/router.ipc", b"client")
    assert client.poll(_WAIT_MS, zmq.POLLOUT)
    most = [b"most"] * (sockets.MAX_FRAMES - 1)
    for message in (most, [b"more"] * sockets.MAX_FRAMES, [b"far more"] * 5000, [b"next"]):
        client.send_multipart(message)
    received: list[list[bytes] | None] = []
    while not received or received[-1] != [b"client", b"next"]:
        assert server.poll(_WAIT_MS)
        received.append(sockets.received(server))
    assert [message for message in received if message] == [
        [b"client", *most],
        [b"client"] + [b"more"] * sockets.MAX_FRAMES,
        [b"client"] + [b"far more"] * sockets.MAX_FRAMES,
        [b"client", b"next"],
    ]
    assert received.count(None) >= 4, "no call takes long"


def _bound_somewhere(opened: Opened, host: str) -> tuple[sockets.Socket, str]:
    """A ROUTER socket on a free port, and its endpoint."""
    for port in range(30_000, 60_000, 7):
        try:
            return opened(sockets.bound, zmq.ROUTER, f"tcp://{host}:{port}"), f"tcp://{host}:{port}"
        except CannotRunError as error:
            if "in use" not in str(error):
                raise
    raise AssertionError("no port is free")


def test_a_peer_that_is_back_before_its_old_connection_is_seen_to_end_is_heard(tmp_path: Path, opened: Opened) -> None:
    endpoint = f"ipc://{tmp_path}/router.ipc"
    router = opened(sockets.bound, zmq.ROUTER, endpoint)
    for connection in (b"old", b"new"):
        peer = opened(sockets.connected, zmq.DEALER, endpoint, b"peer")
        peer.send(connection)
        assert router.poll(_WAIT_MS)
        assert router.recv_multipart() == [b"peer", connection]
    router.send_multipart([b"peer", b"answer"])
    assert peer.poll(_WAIT_MS)
    assert peer.recv() == b"answer"
