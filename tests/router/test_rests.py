"""The router's loop over real sockets: shares of several batches go together, and who asks something does not wait."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgpack
import pytest
import structlog
import zmq

from router import service
from router.service import Router
from tapfan import sockets
from tapfan.messages import Acknowledgement, Mark, Stored, read_message
from tapfan.sections import WriterSettings
from tapfan.settings import Settings
from tapfan.wire import batch_message, unpack
from tests.process.running import wait_for
from tests.router.housing import a_listener_report, a_writer_report
from tests.router.sharing import STREAM, a_batch, shares_in

_NAMES = ("a", "b")


@dataclass
class _Ends:
    """A router, and the other ends of its sockets."""

    router: Router
    listener: sockets.Socket
    writers: dict[str, sockets.Socket]
    client: sockets.Socket

    def turn_until(self, socket: sockets.Socket) -> bytes:
        """Let the router do something until it has a message for that end."""

        def message() -> bytes | None:
            self.router.turn()
            frames = sockets.received(socket)
            return frames[-1] if frames else None

        return wait_for(message, "a message of the router")

    def shares_of(self, name: str) -> list[tuple[int, int]]:
        """The number and the first record of each share in the next message to a writer."""
        return [(number, records[0]) for _, number, records in shares_in(self.turn_until(self.writers[name]))]


@pytest.fixture
def ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Ends]:
    """A router that knows a listener and two writers, and rests for a minute after the first batch."""
    monkeypatch.setattr(service, "_REST_S", 60.0)
    monkeypatch.setattr(service, "_LONGEST_REST_S", 60.0)
    writers = tuple(WriterSettings(name=name, redis="redis://127.0.0.1:1/0", weight=1) for name in _NAMES)
    settings = Settings(run_dir=tmp_path, writers=writers)
    with zmq.Context() as context:
        router = Router(settings, structlog.get_logger(), context)
        made = _Ends(
            router,
            sockets.connected(context, zmq.DEALER, settings.endpoint("records"), b"local"),
            {
                name: sockets.connected(context, zmq.DEALER, settings.endpoint("shares"), name.encode())
                for name in _NAMES
            },
            sockets.connected(context, zmq.REQ, settings.endpoint("control")),
        )
        for name, socket in made.writers.items():
            socket.send(a_writer_report(name).pack())
            assert isinstance(read_message(unpack(made.turn_until(socket))), Mark)
        made.listener.send(a_listener_report(STREAM).pack())
        made.turn_until(made.listener)
        made.listener.send(batch_message(a_batch(0, 10)))
        assert [made.shares_of(name) for name in _NAMES] == [[(0, 0)], [(0, 5)]]
        yield made
        context.destroy(linger=0)


def test_the_shares_of_batches_that_come_during_a_rest_go_together_after_it(ends: _Ends) -> None:
    for first in (10, 20, 30):
        ends.listener.send(batch_message(a_batch(first, 10)))
    ends.client.send(msgpack.packb({"id": "1", "command": "status"}))
    assert msgpack.unpackb(ends.turn_until(ends.client))["ok"], "who asks does not wait for the end of the rest"
    assert not any(sockets.received(socket) for socket in ends.writers.values())
    ends.router._rests_until_s = 0.0
    assert ends.shares_of("a") == [(1, 10), (2, 20), (3, 30)]
    assert ends.shares_of("b") == [(1, 15), (2, 25), (3, 35)]


def test_what_is_said_to_be_stored_together_is_acknowledged_together(ends: _Ends) -> None:
    for first in (10, 20):
        ends.listener.send(batch_message(a_batch(first, 10)))

    def has_all() -> bool:
        ends.router._rests_until_s = 0.0
        ends.router.turn()
        return ends.router._house.writers["a"].lane.in_flight == 15

    wait_for(has_all, "the router has all three batches")
    (router, _, _), *_ = shares_in(ends.turn_until(ends.writers["a"]))
    for name, socket in ends.writers.items():
        socket.send(Stored(name=name, router=router, number=0, shares=3, stored=15).pack())

    def acknowledged() -> bool:
        ends.router._rests_until_s = 0.0
        told = read_message(unpack(ends.turn_until(ends.listener)))
        return isinstance(told, Acknowledgement) and told.acknowledged == 30

    wait_for(acknowledged, "all three batches are acknowledged")
