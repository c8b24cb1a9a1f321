"""What is published: each entry at once, the status after it and once a second, and nothing for nobody."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest
import structlog
import zmq
from structlog.testing import capture_logs

from router.events import MAX_STRANGE_BYTES, Events
from router.history import Entry
from tapfan import sockets
from tapfan.control import CHANGE, SNAPSHOT
from tapfan.logs import Repeated
from tests.process.running import wait_for

_WAIT_MS = 10_000

Subscribe = Callable[[bytes], sockets.Socket]


class _Published:
    """Events on a real socket; `made` counts how often the status was asked for."""

    def __init__(self, context: zmq.Context[sockets.Socket], endpoint: str) -> None:
        self.socket = sockets.bound(context, zmq.XPUB, endpoint)
        self.made = 0
        self.too_much: list[zmq.Frame] = []  # what was
        self.status: dict[str, int] = {}  # that there is besides
        self.events = Events(self.socket, self._status, Repeated(structlog.get_logger()))

    def _status(self) -> dict[str, int]:
        self.made += 1
        return {"made": self.made} | self.status

    def heard(self) -> None:
        """Take what a subscriber says that has just come or gone."""
        assert self.socket.poll(_WAIT_MS)
        if (frame := self.events.subscribe()) is not None:
            self.too_much.append(frame)


@pytest.fixture
def context() -> Iterator[zmq.Context[sockets.Socket]]:
    """A context whose sockets are closed at the end."""
    made: zmq.Context[sockets.Socket] = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def published(context: zmq.Context[sockets.Socket], tmp_path: Path) -> _Published:
    """Events that nobody subscribed to yet."""
    return _Published(context, f"ipc://{tmp_path}/events.ipc")


@pytest.fixture
def subscribe(context: zmq.Context[sockets.Socket], published: _Published, tmp_path: Path) -> Subscribe:
    """Makes a subscriber to a prefix of topics, and lets the events know of it."""
    kept: list[sockets.Socket] = []  # until the context is destroyed

    def make(prefix: bytes) -> sockets.Socket:
        socket = sockets.connected(context, zmq.SUB, f"ipc://{tmp_path}/events.ipc")
        kept.append(socket)
        socket.setsockopt(zmq.SUBSCRIBE, prefix)
        socket.setsockopt(zmq.RCVTIMEO, _WAIT_MS)
        published.heard()
        return socket

    return make


def _entry(version: int) -> Entry:
    return Entry(version, 0.0, "weights", "ann", None, "", None, ())


def _next(socket: sockets.Socket) -> tuple[bytes, object]:
    topic, content = socket.recv_multipart()
    told = msgpack.unpackb(content)
    return topic, told["version"] if topic == CHANGE else told["made"]


def test_for_nobody_no_status_is_made(published: _Published) -> None:
    for now_s in range(5):
        published.events.changed([_entry(now_s)])
        published.events.look(now_s)
    assert published.made == 0


def test_a_status_comes_once_a_second(published: _Published, subscribe: Subscribe) -> None:
    subscriber = subscribe(SNAPSHOT)
    for tenths in range(35):
        published.events.look(100 + tenths / 10)
    assert [_next(subscriber) for _ in range(4)] == [(SNAPSHOT, made) for made in (1, 2, 3, 4)]
    assert published.made == 4


def test_each_entry_comes_and_after_it_a_status_but_no_two_at_once(published: _Published, subscribe: Subscribe) -> None:
    subscriber = subscribe(b"")
    published.events.look(100.0)
    for version in range(1, 11):
        published.events.changed([_entry(version)])
        published.events.look(100.0 + version / 1000)
    published.events.look(100.06)
    assert [_next(subscriber) for _ in range(12)] == [
        (SNAPSHOT, 1),
        *((CHANGE, version) for version in range(1, 11)),
        (SNAPSHOT, 2),
    ]


def test_a_status_that_cannot_be_sent_is_left_out_and_told(published: _Published, subscribe: Subscribe) -> None:
    subscriber = subscribe(b"")
    published.status["a number of more than 64 bits"] = 2**64
    with capture_logs() as lines:
        for second in range(3):
            published.events.look(100.0 + second)
    (line,) = lines
    assert (line["event"], line["log_level"], line["topic"]) == ("not_published", "warning", "snapshot")
    published.events.changed([_entry(7)])
    published.status.clear()
    published.events.look(103.0)
    assert [_next(subscriber) for _ in range(2)] == [(CHANGE, 7), (SNAPSHOT, 4)]


def test_who_wants_changes_only_gets_them_only(published: _Published, subscribe: Subscribe) -> None:
    subscriber = subscribe(CHANGE)
    published.events.look(100.0)
    published.events.changed([_entry(7)])
    published.events.look(101.0)
    assert _next(subscriber) == (CHANGE, 7)
    assert published.made == 0


def test_when_the_last_one_has_gone_nothing_is_made_any_more(published: _Published, subscribe: Subscribe) -> None:
    first, second = subscribe(SNAPSHOT), subscribe(b"snap")
    published.events.look(100.0)
    assert (_next(first), _next(second)) == ((SNAPSHOT, 1), (SNAPSHOT, 1))
    first.close()
    published.heard()
    published.events.look(101.0)
    assert _next(second) == (SNAPSHOT, 2)
    second.close()
    published.heard()
    published.events.look(102.0)
    assert published.made == 2


def test_prefixes_that_are_of_no_topic_are_not_kept(published: _Published, subscribe: Subscribe) -> None:
    subscribe(b"snapshots of something else")
    published.events.look(100.0)
    assert published.made == 0


def test_prefixes_of_no_topic_are_too_much_together_and_no_more_once_they_are_gone(
    published: _Published, subscribe: Subscribe
) -> None:
    subscriber = subscribe(b"x" * (MAX_STRANGE_BYTES - 1))
    assert published.too_much == []
    subscriber.setsockopt(zmq.SUBSCRIBE, b"yy")
    published.heard()
    assert [frame.bytes for frame in published.too_much] == [b"\1yy"]
    published.too_much.clear()
    subscriber.close()
    published.heard()
    for prefix in (b"zz", CHANGE):
        subscribe(prefix)
    assert published.too_much == []


def test_subscribers_that_say_ever_more_say_too_much_until_the_next_status(
    published: _Published, subscribe: Subscribe
) -> None:
    subscriber = subscribe(b"snapshot")
    published.events.look(100.0)
    said = 0
    while not published.too_much and said < 5000:
        for option in (zmq.UNSUBSCRIBE, zmq.SUBSCRIBE):
            subscriber.setsockopt(option, b"snapshot")
            published.heard()
        said += 2
    assert 1000 < said < 5000
    published.too_much.clear()
    published.events.look(102.0)
    subscriber.setsockopt(zmq.SUBSCRIBE, CHANGE)
    published.heard()
    assert published.too_much == []


def test_one_that_takes_nothing_holds_up_nobody(published: _Published, subscribe: Subscribe) -> None:
    subscribe(CHANGE)
    subscriber = subscribe(SNAPSHOT)
    for version in range(5000):
        published.events.changed([_entry(version)])
    published.events.look(1000.0)
    assert wait_for(lambda: _next(subscriber), "the other one is told") == (SNAPSHOT, 1)
