"""The control channel: one msgpack request, one msgpack reply, over ZeroMQ REQ/REP.

Request: {"id", "command", …arguments}. Reply: {"id", "ok": true, "result"} or
{"id", "ok": false, "error": {"code", "message"}}. The client is here, the other end is `router.requests`.
"""

import secrets
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack, get_args

import msgpack
import zmq

from tapfan import keys, sockets
from tapfan.handshakes import Refusals
from tapfan.keys import Key
from tapfan.reach import Reach

Command = Literal["add", "history", "remove", "state", "status", "ttl", "undo", "weights"]
COMMANDS: tuple[Command, ...] = get_args(Command)
AUTOMATIC = "(automatic)"  # whom changes are by that nobody made; no user nor key is named so
MAX_BY = 64  # characters of who makes a change, and of why
MAX_REASON = 200
MIN_OVER_S, MAX_OVER_S = 0.1, 86_400.0  # of a ramp

Code = Literal[
    "bad_duration",
    "bad_name",
    "bad_redis",
    "bad_request",
    "bad_state",
    "bad_ttl",
    "bad_weight",
    "forbidden",
    "id_reused",
    "internal",
    "nobody_left",
    "not_drained",
    "not_saved",
    "rate_limited",
    "too_large",
    "too_many_writers",
    "unknown_command",
    "unknown_version",
    "unknown_writer",
    "version_conflict",
    "writer_exists",
]
CODES: tuple[Code, ...] = get_args(Code)

# First frames of what the socket for events publishes; the second is msgpack: a status, or an entry of the history.
SNAPSHOT, CHANGE = TOPICS = (b"snapshot", b"change")


class ControlError(Exception):
    """Raised when the router refuses a request: a code for programs, a message for people."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ControlTimeoutError(Exception):
    """Raised when no reply came in time; its text says what to check."""


class Options(TypedDict, total=False):
    """What may be said with each change."""

    by: str  # who makes it
    reason: str
    if_version: int  # the version that must be in force
    force: bool  # though no writer is left that gets records, or is not drained


class ControlClient:
    """Asks the router. Not for use by several threads at once.

    `endpoint`: a ZeroMQ endpoint, as `Reach.endpoint("control")` gives it; `timeout_s`: for each request;
    `key`: with it encrypted, for a router on another host. `of` makes the client that a configuration means.
    All requests raise ControlError when they are refused, and ControlTimeoutError.
    """

    def __init__(self, endpoint: str, timeout_s: float = 3.0, key: Key | None = None) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._key = key
        self._context: zmq.Context[sockets.Socket] = zmq.Context()
        self._socket: sockets.Socket | None = None
        self._refusals: Refusals | None = None

    @classmethod
    def of(cls, reach: Reach, timeout_s: float | None = None) -> Self:
        """A client of the router that is configured. Raises KeyFileError when its key cannot be used."""
        return cls(reach.endpoint("control"), timeout_s or reach.control.timeout, keys.of_control(reach))

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
        """The state of writers and listeners, and the ledger."""
        return self.request("status")

    def history(self, limit: int | None = None) -> dict[str, Any]:
        """Who changed what, when and why, newest first: {"version", "entries"}."""
        return self.request("history", **_given(limit=limit))

    def weights(
        self,
        weights: Mapping[str, float | str] | None = None,
        *,
        over: str | float | None = None,
        cancel: bool = False,
        **options: Unpack[Options],
    ) -> dict[str, Any]:
        """Set the given weights as one atomic change, if any, and give all that is in force.

        A weight is a number, "+10" or "-10" (to what is set), or "50%" (of the configured weight). `over`: in how long
        a time, step by step, as a duration ("60s") or in seconds; `cancel`: end such a change where it is.
        """
        if weights is None and over is None and not cancel:
            return self.request("weights", **options)
        vector = None if weights is None else dict(weights)
        return self.change("weights", **_given(weights=vector, over=over, cancel=cancel or None), **options)

    def state(self, states: Mapping[str, str] | None = None, **options: Unpack[Options]) -> dict[str, Any]:
        """Set the given writers' states ("ready", "drain", "maint") as one change, if any; gives what is in force."""
        if states is None:
            return self.request("state", **options)
        return self.change("state", states=dict(states), **options)

    def ttl(self, ttl: str | float | None = None, **options: Unpack[Options]) -> dict[str, Any]:
        """Set how long records live that come in later, if given, and give all that is in force.

        A duration as the configuration has them, "10m", or seconds.
        """
        return self.request("ttl", **options) if ttl is None else self.change("ttl", ttl=ttl, **options)

    def undo(self, version: int | None = None, **options: Unpack[Options]) -> dict[str, Any]:
        """Take back the last change, or let everything be as it was at that version; gives what is in force."""
        return self.change("undo", **_given(version=version), **options)

    def add(
        self, name: str, redis: str, weight: float, *, rampup: str | float | None = None, **options: Unpack[Options]
    ) -> dict[str, Any]:
        """Let there be one more writer; `redis`: its URL without a password. Gives what is in force."""
        return self.change("add", name=name, redis=redis, weight=weight, **_given(rampup=rampup), **options)

    def remove(self, name: str, **options: Unpack[Options]) -> dict[str, Any]:
        """Let there be a writer no more; gives what is in force."""
        return self.change("remove", name=name, **options)

    def request(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The result of one request."""
        return self._ask({"id": secrets.token_hex(8), "command": command, **arguments})

    def change(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The result of one change. Without a reply it is asked for once more: by its id the router knows it again."""
        request = {"id": secrets.token_hex(8), "command": command, **arguments}
        try:
            return self._ask(request)
        except ControlTimeoutError:
            return self._ask(request)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        socket = self._socket
        if socket is None:
            socket, self._refusals = sockets.watched(self._context, zmq.REQ, self._endpoint, b"", self._key)
        self._socket = None  # a REQ socket that got no reply is of no more use
        socket.setsockopt(zmq.SNDTIMEO, int(self._timeout_s * 1000))
        socket.setsockopt(zmq.RCVTIMEO, int(self._timeout_s * 1000))
        try:
            socket.send(msgpack.packb(request))
            reply = msgpack.unpackb(socket.recv())
        except zmq.Again as error:
            refusal = self._refusals.newest() if self._refusals else None
            self._drop(socket)
            cause = (
                refusal or "is the router running (supervisorctl status), with the same configuration (tapfan check)?"
            )
            raise ControlTimeoutError(
                f"no reply from {self._endpoint} within {self._timeout_s:g} s: {cause}"
            ) from error
        self._socket = socket
        if not reply["ok"]:
            raise ControlError(reply["error"]["code"], reply["error"]["message"])
        result: dict[str, Any] = reply["result"]
        return result

    def _drop(self, socket: sockets.Socket) -> None:
        if self._refusals:
            self._refusals.close()
        socket.close(linger=0)


def _given(**arguments: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in arguments.items() if value is not None}
