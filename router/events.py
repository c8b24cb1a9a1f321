"""What happens, published as it happens: entries of the history, and the status after them and once a second."""

from collections.abc import Callable, Iterable
from typing import Any

import msgpack

from router.history import Entry
from tapfan import sockets
from tapfan.control import CHANGE, SNAPSHOT, TOPICS

_PERIOD_S = 1.0
_PAUSE_S = 0.05  # at least, between two snapshots, however fast it changes
_MESSAGES_A_TURN = 64


class Events:
    """Publishes on an XPUB socket: it tells who subscribed, and for nobody nothing is made.

    `status`: what a snapshot holds. A subscriber that does not take what it gets misses some of it.
    """

    def __init__(self, socket: sockets.Socket, status: Callable[[], dict[str, Any]]) -> None:
        self._socket = socket
        self._status = status
        self._prefixes: set[bytes] = set()  # of topics, that somebody subscribed to
        self._last_s = self._due_s = 0.0

    def subscribe(self) -> None:
        """Take what subscribers say: of each prefix of a topic, that there is a first one, or not even a last one."""
        for _ in range(_MESSAGES_A_TURN):
            frames = sockets.received(self._socket)
            if frames is None:
                return
            told = b"".join(frames)
            if told[:1] == b"\1" and any(topic.startswith(told[1:]) for topic in TOPICS):
                self._prefixes.add(told[1:])
            elif told[:1] == b"\0":
                self._prefixes.discard(told[1:])

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
        if self._wanted(SNAPSHOT):
            self._publish(SNAPSHOT, self._status())

    def _wanted(self, topic: bytes) -> bool:
        return any(topic.startswith(prefix) for prefix in self._prefixes)

    def _publish(self, topic: bytes, content: dict[str, Any]) -> None:
        sockets.sent(self._socket, topic, msgpack.packb(content))
