"""Whatever comes in at the sockets, nothing stops and nothing is lost."""

import random
import socket
from collections.abc import Sequence

import msgpack
import pytest
import zmq

from tapfan import sockets
from tapfan.batch import Batch
from tapfan.bounds import MAX_MESSAGE_BYTES
from tapfan.wire import batch_message, packed_batch
from tests.process.conftest import StartPrograms
from tests.process.feeder import feeder, records
from tests.process.running import Programs, wait_for
from tests.process.stored import sequences

_RANDOM = random.Random(1)
_GOOD = batch_message(packed_batch(Batch("feeder.0123abcd", 0, records(100))))
_GARBAGE = [
    b"",
    b"\xc1",
    b"\x81" * 100_000,
    _RANDOM.randbytes(1000),
    _GOOD[: len(_GOOD) // 2],
    _GOOD + b"\x00",
    bytes(MAX_MESSAGE_BYTES + 1),
    msgpack.packb([1, 2, 3]),
    msgpack.packb({}),
    msgpack.packb({"kind": "batch"}),
    msgpack.packb({"kind": "share", "version": 1, "count": -1}),
    msgpack.packb({"kind": "batch", "version": 1, "stream": "feeder.0123abcd", "first": 0, "count": 2**40}),
    msgpack.packb({"kind": "nonsense", "name": "a" * 10_000}),
    msgpack.packb({"kind": "stored", "name": "a", "router": "0" * 8, "number": 0, "stored": 10**9, "expired": 0}),
    msgpack.packb({1: 2}),
]


def _all_stored(programs: Programs) -> None:
    """A good listener's records still get to Redis, all of them."""
    with feeder(programs) as feeding:
        feeding.send(records(100))
        feeding.wait_acknowledged()
    assert sorted(sequences(programs, "a") + sequences(programs, "b")) == list(range(100))
    assert programs.status()["ledger"]["balanced"]
    assert all(process.poll() is None for process in programs.processes.values())


@pytest.mark.parametrize("name", ["records", "shares"])
def test_garbage_is_counted_and_dropped(start: StartPrograms, name: str) -> None:
    programs = start()
    with zmq.Context() as context:
        peer = sockets.connected(context, zmq.DEALER, programs.endpoint(name))
        for garbage in [*_GARBAGE, *_GARBAGE]:
            peer.send(garbage)
        peer.send_multipart([b"two", b"frames"])
        log = wait_for(lambda: _told(programs, "router"), "the garbage is told")
        _all_stored(programs)
        context.destroy(linger=0)
    assert log.count("event=bad_message") == 1
    assert programs.status()["warnings"]["bad_message"] >= 2 * len(_GARBAGE) - 2  # but for the one "stored" in each


def test_every_request_gets_a_reply(start: StartPrograms) -> None:
    programs = start()
    requests = [
        *_GARBAGE[:-1],
        msgpack.packb({"id": "1", "command": "fly"}),
        msgpack.packb({"id": "2", "command": "weights", "weights": {"a": "NaN"}}),
        msgpack.packb({"id": ["not", "text"], "command": "status"}),
    ]
    with zmq.Context() as context:
        client = sockets.connected(context, zmq.REQ, programs.endpoint("control"))
        client.setsockopt(zmq.RCVTIMEO, 10_000)
        for request in requests:
            client.send(request)
            reply = msgpack.unpackb(client.recv())
            assert reply["ok"] is False
            assert reply["error"]["code"]
            assert "Traceback" not in reply["error"]["message"]
        client.send(msgpack.packb({"id": "3", "command": "status"}))
        assert msgpack.unpackb(client.recv())["ok"] is True
        context.destroy(linger=0)
    assert programs.status()["version"] == 1
    _all_stored(programs)


@pytest.mark.parametrize("name", ["records", "shares", "control"])
def test_bytes_that_are_not_zeromq_at_all(start: StartPrograms, name: str) -> None:
    programs = start()
    for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(70_000), _RANDOM.randbytes(70_000), b"\xff" + bytes(8) + b"\x7f"):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(programs.endpoint(name).removeprefix("ipc://"))
            raw.settimeout(10)
            _send_what_goes(raw, data)
    _all_stored(programs)


@pytest.mark.parametrize(("name", "kind"), [("records", "listener"), ("shares", "writer-a")])
def test_garbage_from_a_router_is_counted_and_dropped(start: StartPrograms, name: str, kind: str) -> None:
    programs = start()
    programs.stop("router")
    endpoint = programs.endpoint(name)
    with zmq.Context() as context:
        router = sockets.bound(context, zmq.ROUTER, endpoint)
        address = _peer(router, kind.removeprefix("writer-"))
        for garbage in _GARBAGE:
            router.send_multipart([address, garbage])
        wait_for(lambda: _told(programs, kind), "the garbage is told")
        context.destroy(linger=0)
    programs.start("router")
    programs.wait_ready()
    _all_stored(programs)


def _peer(router: sockets.Socket, name: str) -> bytes:
    """The routing id of the program of that name, once it has reported."""

    def found() -> bytes | None:
        frames: Sequence[bytes] = sockets.received(router) or ()
        if len(frames) != 2:
            return None
        report = msgpack.unpackb(frames[1])
        return frames[0] if report["kind"] == name or report["name"] == name else None

    return wait_for(found, f"a report of {name}")


def _told(programs: Programs, name: str) -> str | None:
    log = programs.log(name)
    return log if "event=bad_message" in log else None


def _send_what_goes(raw: socket.socket, data: bytes) -> None:
    """Send until the other end has enough of it."""
    try:
        raw.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return
