"""Connections that came to nothing, as ZeroMQ tells them to a socket's monitor: who, and why.

Neither end of a connection is told by ZeroMQ why the other one did not take it: to the program it looks as if nobody
were there.
"""

import os
import socket as sockets
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count

import zmq

from tapfan.keys import Key

_EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)
_EVENT = struct.Struct("=Hi")  # its kind and its value; zmq.utils.monitor reads it, too, and imports asyncio for that
_PROTOCOL: dict[int, str] = {
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "it does not encrypt as this end does",
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "it takes this end for another one: the public keys do not fit",
}
_OTHER_PROTOCOL = "it does not speak ZeroMQ's protocol"
_NUMBERS = count()
_AGAIN_S = 2.0  # after which a client whose key was refused tries again


@dataclass(frozen=True)
class Failure:
    """A handshake that failed. `host`, `peer`: its address, and with its port, where known.

    `was_refused`: by ZAP; `is_final`: whoever connected does not try again by itself.
    """

    host: str
    peer: str
    reason: str
    was_refused: bool = False
    is_final: bool = False


@dataclass
class _Accepted:
    """A connection that the other end made; `host` and `peer` are empty where it had gone before it was looked at."""

    host: str
    peer: str
    is_in: bool


class Handshakes:
    """Watches a socket's TCP connections, from when it is made; to be closed before the socket."""

    def __init__(self, watched: "zmq.Socket[bytes]") -> None:
        endpoint = f"inproc://handshakes-{os.getpid()}-{next(_NUMBERS)}"
        watched.monitor(endpoint, _EVENTS)
        self.socket = watched.context.socket(zmq.PAIR)
        self.socket.setsockopt(zmq.RCVHWM, 0)  # a full pipe would hold up ZeroMQ's own thread
        self.socket.connect(endpoint)
        self._watched = watched
        self._accepted: dict[int, _Accepted] = {}  # by their descriptors
        self._failed: str | None = None  # why the connection failed that ends next, and whether that is final
        self._is_final = False

    def close(self) -> None:
        """Watch no more."""
        self._watched.disable_monitor()
        self.socket.close(linger=0)

    def let_in(self, host: str) -> None:
        """Take note that a connection from there has shown a key that is good; others from there may have, too."""
        for accepted in self._accepted.values():
            accepted.is_in |= accepted.host == host

    def failures(self, most: int = 64) -> Iterator[Failure]:
        """Those since the last call, as far as so many events tell."""
        for _ in range(most):
            try:
                event, endpoint = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            if endpoint.startswith(b"tcp://"):
                yield from self._taken(*_EVENT.unpack(event))

    def _taken(self, kind: int, value: int) -> Iterator[Failure]:
        # ZeroMQ's thread tells of a failure and of that connection's end in a row.
        if kind == zmq.EVENT_ACCEPTED:
            host, peer = other_end(value)
            self._accepted[value] = _Accepted(host, peer, is_in=not host)
        elif kind == zmq.EVENT_DISCONNECTED:
            yield from self._ended(self._accepted.pop(value, _Accepted("", "", is_in=True)))
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._failed = ""
            yield Failure("", "", "it does not let this key in", was_refused=True, is_final=True)
        elif kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self._failed = _PROTOCOL.get(value, _OTHER_PROTOCOL)
            self._is_final = True
        elif self._failed is None:
            self._failed = "it ended, or said nothing, before it had said who it is"

    def _ended(self, connection: _Accepted) -> Iterator[Failure]:
        # Of a protocol that was before there were keys, there is nothing but the end.
        reason = self._failed if connection.is_in or self._failed is not None else _OTHER_PROTOCOL
        is_final, self._failed, self._is_final = self._is_final, None, False
        if reason:
            yield Failure(connection.host, connection.peer, reason, is_final=is_final)


class Refusals:
    """Whether the router refuses our key, or is not the one that it trusts; without a key nothing is watched.

    ZeroMQ gives a connection up for good whose key was refused, or whose other end did not encrypt. We try again: it
    may be let in later.
    """

    def __init__(
        self, socket: "zmq.Socket[bytes]", endpoint: str, key: Key | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._socket = socket
        self._endpoint = endpoint
        self._key = key
        self._clock = clock
        self._handshakes = None if key is None else Handshakes(socket)
        self._again_s: float | None = None  # when to try again

    def close(self) -> None:
        """Watch no more; before the socket is closed."""
        if self._handshakes is not None:
            self._handshakes.close()

    def newest(self) -> str | None:
        """Why the last connection since the last call came to nothing; None if none did. It is to be called often."""
        failures = list(self._handshakes.failures()) if self._handshakes is not None else []
        if self._again_s is not None and self._clock() >= self._again_s:
            self._again_s = None
            with suppress(zmq.ZMQError):  # it may have forgotten the endpoint by itself
                self._socket.disconnect(self._endpoint)
            self._socket.connect(self._endpoint)
        if not failures or self._key is None:
            return None
        if failures[-1].is_final:
            self._again_s = self._clock() + _AGAIN_S
        if failures[-1].was_refused:
            return (
                f"the router does not let in the key {self._key.name} (role {self._key.role}); "
                "`tapfan keys` on its host shows whom it lets in"
            )
        if failures[-1].reason == _PROTOCOL[zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH]:
            return "the router does not encrypt there; it needs router.key"
        return f"the connection ended in the handshake: is `router` in {self._key.file} the public key of that router?"


def other_end(descriptor: int) -> tuple[str, str]:
    """The host at the other end of a connection of this process, and that with its port; empty when it has gone."""
    with suppress(OSError), ExitStack() as stack:
        copy = os.dup(descriptor)
        stack.callback(os.close, copy)  # it may be no socket: numbers are used again
        connection = sockets.socket(fileno=copy)
        stack.callback(connection.detach)
        host, port, *_ = connection.getpeername()
        host = host.removeprefix("::ffff:")
        return host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return "", ""
