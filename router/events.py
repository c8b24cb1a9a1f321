"""What happens, published as it happens: entries of the history, and the status after them and once a second."""

from collections.abc import Callable, Iterable
from typing import Any

import msgpack
import zmq

from router.history import Entry
from tapfan import sockets
from tapfan.control import CHANGE, SNAPSHOT, TOPICS
from tapfan.logs import Repeated

_PERIOD_S = 1.0
_PAUSE_S = 0.05  # at least, between two snapshots, however fast it changes
_MESSAGES_A_TURN = 256
_MAX_HEARD = 2000  # messages of subscribers from one snapshot to the next
MAX_STRANGE_BYTES = 16 * 1024  # of prefixes of no topic


class Events:
    """Publishes on an XPUB socket: it tells who subscribed, and for nobody nothing is made.

    `status`: what a snapshot holds. A subscriber that does not take what it gets misses some of it.
    """

    def __init__(self, socket: sockets.Socket, status: Callable[[], dict[str, Any]], repeated: Repeated) -> None:
        self._socket = socket
        self._status = status
        self._repeated = repeated
        self._prefixes: set[bytes] = set()  # of topics, that somebody subscribed to
        self._strange: set[bytes] = set()  # those of no topic, as long as there is room for them
        self._strange_bytes = self._heard = 0
        self._last_s = self._due_s = 0.0

    def subscribe(self) -> zmq.Frame | None:
        """Take what subscribers say: of each prefix of a topic, that there is a first one, or not even a last one.

        Gives the newest message of those that were too much: they come too fast, or are for prefixes of no topic, which
        ZeroMQ keeps all the same.
        """
        too_much = None
        for _ in range(_MESSAGES_A_TURN):
            message = sockets.received_from(self._socket)
            if message is None:
                break
            sender, frames = message
            told = b"".join(frames)
            kind, prefix = told[:1], told[1:]
            self._heard += 1
            if kind == b"\0":
                self._forget(prefix)
                continue
            if kind == b"\1":
                self._keep(prefix)
            if self._heard > _MAX_HEARD or self._strange_bytes > MAX_STRANGE_BYTES:
                too_much = sender
        return too_much

    def changed(self, entries: Iterable[Entry]) -> None:
        """Publish new entries; a snapshot follows them."""
        for entry in entries:
            self._due_s = self._last_s + _PAUSE_S
            if self._wanted(CHANGE):
                self._publish(CHANGE, entry.told())

    def look(self, now_s: float) -> None:
        """Publish a snapshot when it is time for one."""
        if now_s < self._due_s:
            return
        self._last_s, self._due_s = now_s, now_s + _PERIOD_S
        self._heard = 0
        if self._wanted(SNAPSHOT):
            self._publish(SNAPSHOT, self._status())

    def _keep(self, prefix: bytes) -> None:
        if any(topic.startswith(prefix) for topic in TOPICS):
            self._prefixes.add(prefix)
        elif self._strange_bytes <= MAX_STRANGE_BYTES and prefix not in self._strange:
            self._strange.add(prefix)
            self._strange_bytes += len(prefix)

    def _forget(self, prefix: bytes) -> None:
        self._prefixes.discard(prefix)
        if prefix in self._strange:
            self._strange.remove(prefix)
            self._strange_bytes -= len(prefix)

    def _wanted(self, topic: bytes) -> bool:
        return any(topic.startswith(prefix) for prefix in self._prefixes)

    def _publish(self, topic: bytes, content: dict[str, Any]) -> None:
        try:
            packed = msgpack.packb(content)
        except (TypeError, ValueError, OverflowError) as error:  # for want of a message, nobody's records are to stop
            self._repeated.warn("not_published", topic=topic.decode(), problem=str(error))
            return
        sockets.sent(self._socket, topic, packed)
