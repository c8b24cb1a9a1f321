"""A writer tells its router what it has stored: many shares at once, and all of it before it says that it is down."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
import zmq

from tapfan import sockets
from tapfan.bounds import MAX_RECORDS
from tapfan.messages import Mark, Stored, WriterReport, read_message
from tapfan.settings import Settings
from tapfan.wire import packed_batch, share_parts, shares_message, unpack
from tests.process.running import wait_for
from tests.writers.servers import Server
from tests.writers.storer import share
from writers import service
from writers.service import Writer

_ROUTER = "0123abcd"
_RECORDS = 1000


class _Router:
    """The other end of a writer, which knows of it."""

    def __init__(self, writer: Writer, socket: sockets.Socket) -> None:
        self.writer = writer
        self.told: list[Stored | WriterReport] = []
        self._socket = socket
        self.until(lambda: bool(self.told), "a report")

    def begin(self) -> None:
        """Tell the writer to begin."""
        self._send(Mark(router=_ROUTER, number=1, base=0, sent=0).pack())

    def send(self, number: int, *counts: int) -> None:
        """Send shares of so many records in one message, the first of which has the number."""
        batch = replace(packed_batch(share(0, sum(counts))), first=MAX_RECORDS * number, ttl_ms=60_000)
        self._send(shares_message(_ROUTER, number, share_parts(batch, counts)))

    def _send(self, message: bytes) -> None:
        self._socket.send_multipart([self._address, message])

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Let the writer do something, and note what it says, until that is so."""

        def turn() -> bool:
            self.writer.turn()
            self.take()
            return done()

        wait_for(turn, what)

    def take(self) -> None:
        """Note what it has said."""
        while (frames := sockets.received(self._socket)) is not None:
            self._address = frames[0]
            message = read_message(unpack(frames[1]))
            assert isinstance(message, Stored | WriterReport)
            self.told.append(message)

    @property
    def stored(self) -> int:
        """Records that were said to be stored."""
        return sum(message.stored for message in self.told if isinstance(message, Stored))


@pytest.fixture
def router(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Router]:
    """Of a writer that tells of something stored at once when that is all, and otherwise once in a thousand seconds."""
    monkeypatch.setattr(service, "_GATHER_S", 1000.0)
    settings = Settings(run_dir=tmp_path, writers=(server.settings(),))
    context: zmq.Context[sockets.Socket] = zmq.Context()
    socket = sockets.bound(context, zmq.ROUTER, settings.endpoint("shares"))
    writer = Writer(settings.writers[0], settings, structlog.get_logger(), context)
    try:
        made = _Router(writer, socket)
        # A report that was too early for the connection is not sent: only from now on they are rare.
        monkeypatch.setattr(service, "_REPORT_PERIOD_S", 1000.0)
        made.begin()
        yield made
    finally:
        server.let_go_on()
        writer.close()
        context.destroy(linger=0)


def test_shares_that_came_together_are_told_together_when_the_last_is_stored(router: _Router) -> None:
    router.send(0, *[3] * 200)
    router.until(lambda: router.stored == 600, "all are told")
    told = [message for message in router.told if isinstance(message, Stored)]
    assert len(told) <= 2, "the first may be told at once"
    assert [number for message in told for number in range(message.number, message.end)] == list(range(200))
    router.send(200, 5)
    router.until(lambda: router.stored == 605, "what came later is told")


def test_all_that_is_stored_is_told_before_that_redis_takes_no_more(router: _Router, server: Server) -> None:
    """The router would give it to others."""
    router.send(0, *[_RECORDS] * 60)
    router.until(lambda: server.client.dbsize() > 3 * _RECORDS, "some is stored")
    server.run("REPLICAOF", "127.0.0.1", "1")
    router.until(lambda: any(map(_is_down, router.told)), "that it is a replica")
    assert server.client.dbsize() - _RECORDS <= router.stored <= server.client.dbsize()
    assert _is_down(router.told[-1])


def _is_down(told: Stored | WriterReport) -> bool:
    return isinstance(told, WriterReport) and not told.healthy


def test_all_that_is_stored_is_told_at_a_stop(router: _Router, server: Server) -> None:
    router.send(0, *[_RECORDS] * 60)
    router.until(lambda: server.client.dbsize() > 3 * _RECORDS, "some is stored")
    router.writer.close()

    def told() -> bool:
        router.take()
        return router.stored >= server.client.dbsize() - _RECORDS

    wait_for(told, "all but a share that is not whole")
    assert router.stored <= server.client.dbsize()
