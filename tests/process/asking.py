"""A client of the control channel that does not wait for replies: many requests at once, each with an id of its own."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import zmq

from tapfan import sockets
from tests.process.running import Programs, wait_for


class Asking:
    """Requests by their ids, in the order in which they were sent, and the replies that came."""

    def __init__(self, socket: sockets.Socket) -> None:
        self._socket = socket
        self.requests: dict[str, dict[str, Any]] = {}
        self.replies: dict[str, dict[str, Any]] = {}

    @property
    def waiting(self) -> int:
        """Requests without a reply."""
        return len(self.requests) - len(self.replies)

    def ask(self, **request: Any) -> None:
        """Send a request."""
        request_id = secrets.token_hex(8)
        self.requests[request_id] = {"id": request_id, **request}
        self._socket.send(msgpack.packb(self.requests[request_id]))

    def take_replies(self) -> None:
        """Take the replies that are there."""
        while (frames := sockets.received(self._socket)) is not None:
            reply = msgpack.unpackb(b"".join(frames))
            self.replies[reply["id"]] = reply

    def wait(self, most: int = 0) -> None:
        """Wait until so many requests, at most, have no reply yet."""

        def few() -> bool:
            self.take_replies()
            return self.waiting <= most

        wait_for(few, "the requests are answered")

    @property
    def versions(self) -> list[int]:
        """The versions of which the replies tell, in the order in which they came."""
        return [reply["result"]["version"] for reply in self.replies.values()]


@contextmanager
def asking(programs: Programs) -> Iterator[Asking]:
    """One that is connected; unlike those of `sockets.connected`, it keeps what came before the router ended."""
    with zmq.Context() as context:
        try:
            socket = context.socket(zmq.DEALER)
            socket.connect(programs.endpoint("control"))
            yield Asking(socket)
        finally:
            context.destroy(linger=0)
