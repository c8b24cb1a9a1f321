"""The control channel: one msgpack request, one msgpack reply, over ZeroMQ REQ/REP.

Request: {"id", "command", …arguments}. Reply: {"id", "ok": true, "result"} or
{"id", "ok": false, "error": {"code", "message"}}. The client is here, the other end is `router.requests`.
"""

import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import msgpack
import zmq

from tapfan import sockets


class ControlError(Exception):
    """Raised when the router refuses a request: a code for programs, a message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ControlTimeoutError(Exception):
    """Raised when no reply came in time; its text says what to check."""


class ControlClient:
    """Asks the router. Not for use by several threads at once.

    `endpoint`: a ZeroMQ endpoint, as `Settings.endpoint("control")` gives it; `timeout_s`: for each request.
    """

    def __init__(self, endpoint: str, timeout_s: float = 3.0) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._context: zmq.Context[sockets.Socket] = zmq.Context()
        self._socket: sockets.Socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(linger=0)

    def status(self) -> dict[str, Any]:
        """The state of writers and listeners, and the ledger. Raises ControlError, ControlTimeoutError."""
        return self.request("status")

    def weights(self, weights: Mapping[str, float] | None = None) -> dict[str, Any]:
        """Set the given weights as one atomic change, if any, and give those in force: {"version", "weights"}.

        Raises ControlError, ControlTimeoutError.
        """
        return self.request("weights") if weights is None else self.request("weights", weights=dict(weights))

    def ttl(self, ttl: str | float | None = None) -> dict[str, Any]:
        """Set how long records live that come in later, if given; gives {"ttl", "configured"} in seconds.

        A duration as the configuration has them, "10m", or seconds. Raises ControlError, ControlTimeoutError.
        """
        return self.request("ttl") if ttl is None else self.request("ttl", ttl=ttl)

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The result of one request. Raises ControlError, ControlTimeoutError."""
        socket = self._socket or sockets.connected(self._context, zmq.REQ, self._endpoint)
        self._socket = None  # a REQ socket that got no reply is of no more use
        request_id = secrets.token_hex(8)
        socket.setsockopt(zmq.SNDTIMEO, int(self._timeout_s * 1000))
        socket.setsockopt(zmq.RCVTIMEO, int(self._timeout_s * 1000))
        try:
            socket.send(msgpack.packb({"id": request_id, "command": command, **arguments}))
            reply = msgpack.unpackb(socket.recv())
        except zmq.Again as error:
            socket.close(linger=0)
            raise ControlTimeoutError(
                f"no reply from {self._endpoint} within {self._timeout_s:g} s: is the router running "
                "(supervisorctl status), with the same configuration (tapfan check)?"
            ) from error
        self._socket = socket
        if not reply["ok"]:
            raise ControlError(reply["error"]["code"], reply["error"]["message"])
        result: dict[str, Any] = reply["result"]
        return result
