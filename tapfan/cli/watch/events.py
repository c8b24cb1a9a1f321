"""The router's events: a status once a second and after each change, and each change as it is made."""

from collections.abc import Mapping
from typing import Any

import msgpack
import zmq

from tapfan import sockets
from tapfan.control import CHANGE, SNAPSHOT
from tapfan.keys import Key


class Events:
    """A subscription; ZeroMQ connects again by itself when the router was away. `key`: where it is on another host."""

    def __init__(self, endpoint: str, key: Key | None = None) -> None:
        self._context: zmq.Context[sockets.Socket] = zmq.Context()
        # Without a bound of what it holds: with one, and heartbeats, libzmq 4.3.5 ends the process when the connection
        # breaks while it is full (libzmq #3937).
        self.socket, self._refusals = sockets.watched(self._context, zmq.SUB, endpoint, b"", key)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")

    def close(self) -> None:
        """Close the connection."""
        self._refusals.close()
        self._context.destroy(linger=0)

    def received(self) -> tuple[Mapping[str, Any] | None, list[Mapping[str, Any]]]:
        """What came since the last call: the newest status, and all changes, oldest first; to be called often."""
        self._refusals.newest()  # a connection that the router did not take is tried again
        newest, changes = None, []
        while frames := sockets.received(self.socket):
            if len(frames) != 2:
                continue
            if frames[0] == SNAPSHOT:
                newest = frames[1]
            elif frames[0] == CHANGE:
                changes.append(msgpack.unpackb(frames[1]))
        return (msgpack.unpackb(newest) if newest is not None else None), changes
