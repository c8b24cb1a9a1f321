"""A client of the control protocol, written from docs/control.md alone: pyzmq and msgpack, and nothing of tapfan."""

import secrets
from types import TracebackType
from typing import Any, Self

import msgpack
import zmq

Map = dict[str, Any]


class RefusedError(Exception):
    """Raised for a reply that is not ok."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Curve:
    """The three keys of a client of another host: of a key file, `public`, `secret` and `router`."""

    def __init__(self, public: str, secret: str, router: str) -> None:
        self.public, self.secret, self.router = public.encode(), secret.encode(), router.encode()

    def set_on(self, socket: "zmq.Socket[bytes]") -> None:
        """Let a socket use them."""
        socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = self.public, self.secret, self.router


class Control:
    """Asks the router over a REQ socket."""

    def __init__(self, endpoint: str, timeout_ms: int = 10_000, curve: Curve | None = None) -> None:
        self._endpoint, self._timeout_ms, self._curve = endpoint, timeout_ms, curve
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._connected()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def _connected(self) -> "zmq.Socket[bytes]":
        socket = self._context.socket(zmq.REQ)
        socket.rcvtimeo = socket.sndtimeo = self._timeout_ms
        if self._curve:
            self._curve.set_on(socket)
        socket.connect(self._endpoint)
        return socket

    def send(self, message: bytes) -> Map:
        """The reply to any bytes. Raises zmq.Again when none comes in time."""
        try:
            self._socket.send(message)
            reply: Map = msgpack.unpackb(self._socket.recv())
        except zmq.Again:
            self._socket.close(linger=0)
            self._socket = self._connected()
            raise
        return reply

    def ask(self, request: Map) -> Map:
        """The result of a request. Raises RefusedError."""
        reply = self.send(msgpack.packb(request))
        if not reply["ok"]:
            raise RefusedError(reply["error"]["code"], reply["error"]["message"])
        result: Map = reply["result"]
        return result

    def do(self, command: str, **arguments: Any) -> Map:
        """The same, with a new id."""
        return self.ask({"id": new_id(), "command": command, **arguments})


def new_id() -> str:
    """16 random hexadecimal digits."""
    return secrets.token_hex(8)


class Events:
    """What the router publishes: (topic, content), of one topic or of all."""

    def __init__(self, endpoint: str, topic: str = "", timeout_ms: int = 10_000, curve: Curve | None = None) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.rcvtimeo = timeout_ms
        if curve:
            curve.set_on(self._socket)
        self._socket.connect(endpoint)
        self._socket.subscribe(topic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(linger=0)

    def next(self) -> tuple[str, Map]:
        """The next one. Raises zmq.Again when none comes in time."""
        topic, content = self._socket.recv_multipart()
        return topic.decode(), msgpack.unpackb(content)
