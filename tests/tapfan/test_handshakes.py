"""What a client is told when the router does not take its connection, and that it tries again."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from tapfan import keys, sockets
from tapfan.handshakes import Refusals, other_end
from tapfan.keys import Key
from tests.process.running import free_port, wait_for

Context = zmq.Context[sockets.Socket]


@pytest.fixture
def context() -> Iterator[Context]:
    """For both ends."""
    made: Context = zmq.Context()
    yield made
    made.destroy(linger=0)


class _Ends:
    """A server that asks for each key, and a client; `code`: what is answered of its key."""

    def __init__(self, context: Context, key: Key, server: Key | None) -> None:
        self.code = b"400"
        self.now_s = 0.0
        self._zap = context.socket(zmq.ROUTER)
        self._zap.bind("inproc://zeromq.zap.01")
        endpoint = f"tcp://127.0.0.1:{free_port()}"
        if server is None:
            self.server = sockets.bound(context, zmq.ROUTER, endpoint)
        else:
            self.server = context.socket(zmq.ROUTER)
            sockets.open_to_others(self.server, endpoint, server, "records", sockets.Bounds())
        self.client, self.refusals = sockets.watched(context, zmq.DEALER, endpoint, b"", key, lambda: self.now_s)

    def answer(self) -> bool:
        """Answer who asks; gives whether anybody did."""
        if not self._zap.poll(10):
            return False
        frames = self._zap.recv_multipart()
        user_id = z85.encode(frames[8])
        self._zap.send_multipart([*frames[:2], b"1.0", frames[3], self.code, b"", user_id, b""])
        return True

    def wait_refusal(self) -> str:
        """What the client is told of it."""

        def refusal() -> str | None:
            self.answer()
            return self.refusals.newest()

        return wait_for(refusal, "the client is told")


@pytest.fixture
def server_key() -> Key:
    """The router's."""
    return keys.made(Path("router.key"), "router", "router")


def test_a_key_that_is_refused_is_tried_again_after_a_while_and_may_be_let_in_then(
    context: Context, server_key: Key
) -> None:
    ends = _Ends(context, keys.made(Path("edge.key"), "edge", "listener", server_key.public), server_key)
    assert ends.wait_refusal().startswith("the router does not let in the key edge (role listener); `tapfan keys` on")
    assert ends.refusals.newest() is None
    ends.now_s = 1.9
    assert ends.refusals.newest() is None
    assert not any(ends.answer() for _ in range(30)), "it does not ask again so soon"
    ends.code, ends.now_s = b"200", 2.0
    ends.refusals.newest()
    wait_for(lambda: not ends.answer() and sockets.sent(ends.client, b"hello"), "it is let in")
    assert ends.server.poll(5000)
    assert ends.server.recv_multipart()[1] == b"hello"


@pytest.mark.parametrize("has_key", [True, False])
def test_another_router_than_the_trusted_one_and_one_without_a_key_are_told(
    context: Context, server_key: Key, has_key: bool
) -> None:
    stranger = keys.made(Path("edge.key"), "edge", "listener", keys.made(Path("x"), "x", "router").public)
    ends = _Ends(context, stranger, server_key if has_key else None)
    told = "is `router` in edge.key the public key of that router?"
    # Which end of one that does not encrypt is the first to end it is not certain.
    assert told in (refusal := ends.wait_refusal()) or (not has_key and "does not encrypt there" in refusal)


def test_a_descriptor_that_has_become_a_files_is_looked_at_and_closed_again(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, socket.socket() as unconnected:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for descriptor in (file.fileno(), unconnected.fileno(), 2**20):
            assert other_end(descriptor) == ("", "")
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_who_is_at_the_other_end_of_a_connection_is_told_and_the_connection_stays() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        connection, (host, port) = server.accept()
        with connection:
            assert other_end(connection.fileno()) == (host, f"{host}:{port}")
            client.sendall(b"hello")
            assert connection.recv(5) == b"hello"


def test_without_a_key_nothing_is_watched(context: Context) -> None:
    dealer = context.socket(zmq.DEALER)
    refusals = Refusals(dealer, "ipc:///nowhere", None)
    assert refusals.newest() is None
    refusals.close()
    dealer.close()
