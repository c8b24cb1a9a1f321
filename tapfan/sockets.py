"""The one place where ZeroMQ sockets are made: their limits, heartbeats, permissions and clear errors."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from tapfan import values
from tapfan.bounds import MAX_MESSAGE_BYTES
from tapfan.handshakes import Refusals
from tapfan.keys import Key
from tapfan.program import CannotRunError

_LINGER_MS = 1000  # what a closing socket may still take to send; the default waits for ever
_HEARTBEAT_MS = 2000  # tells a dead TCP peer; any traffic counts as one
_SEND_BUFFER_BYTES = 2**20  # a batch goes out at once, as far as the system's net.core.wmem_max allows
_AT_ONCE = int(zmq.DONTWAIT)  # as plain numbers: pyzmq's multipart calls and its enums take longer than ZeroMQ
_MORE_AT_ONCE = int(zmq.DONTWAIT | zmq.SNDMORE)

_KEEPALIVE_S = 5  # how often a silent TCP peer is asked by the system
_HANDSHAKE_MS = 3000  # by then a connection must have said who it is
_REFUSED_AGAIN_MS = 250  # how soon a client with a key tries again at first: each time costs both ends

Socket = zmq.Socket[bytes]

MAX_FRAMES = 16  # of a message: that many, or one more where it had more
_THROWN_AWAY_AT_ONCE = 1000  # frames beyond, which take two milliseconds


@dataclass(frozen=True)
class Bounds:
    """What a socket holds for each peer: messages that wait to be sent and to be taken, and the bytes of each frame.

    What is beyond the bytes ends the connection. The default is for senders that wait for acknowledgements: these
    bound what is in flight, and a mark would drop silently.
    """

    to_send: int = 0  # 0: any number
    to_take: int = 0
    frame_bytes: int = 4 * MAX_MESSAGE_BYTES  # what is a little too long is counted by us, what is far too long cut off


def bound(context: zmq.Context[Socket], kind: int, endpoint: str, bounds: Bounds = Bounds()) -> Socket:
    """A socket of that kind, bound, for programs of this host. Raises CannotRunError."""
    _refuse_other_hosts(endpoint)
    socket = _configured(context, kind, bounds)
    mask = os.umask(0o077)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise CannotRunError(f"cannot bind {endpoint}: {error.strerror}") from error
    finally:
        os.umask(mask)
    return socket


def open_to_others(socket: Socket, endpoint: str, key: Key, domain: str, bounds: Bounds) -> None:
    """Have a bound socket be there at a TCP endpoint, too, encrypted, for whom ZAP lets in. Raises CannotRunError.

    What is set here holds for this endpoint alone. `key`: the router's; `domain`: what ZAP is asked about.
    """
    _bound(socket, bounds)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, z85.decode(key.secret.get_secret_value().encode()))
    socket.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise CannotRunError(f"cannot bind {endpoint}: {error.strerror}") from error


def connected(
    context: zmq.Context[Socket], kind: int, endpoint: str, identity: bytes = b"", key: Key | None = None
) -> Socket:
    """A socket of that kind, connecting; the peer may come later. Raises CannotRunError.

    `key`: with it, encrypted, to the router that it trusts and no other.
    """
    socket = _for_connecting(context, kind, endpoint, identity, key)
    _connect(socket, endpoint)
    return socket


def watched(
    context: zmq.Context[Socket],
    kind: int,
    endpoint: str,
    identity: bytes,
    key: Key | None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Socket, Refusals]:
    """The same, with what tells why the router does not take the connection, from the first one on."""
    socket = _for_connecting(context, kind, endpoint, identity, key)
    refusals = Refusals(socket, endpoint, key, clock)
    _connect(socket, endpoint)
    return socket, refusals


def sent(socket: Socket, *frames: bytes) -> bool:
    """Send without waiting; False when no such peer is there now."""
    try:
        for frame in frames[:-1]:
            socket.send(frame, _MORE_AT_ONCE)
        socket.send(frames[-1], _AT_ONCE)
    except zmq.ZMQError as error:
        if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            return False
        raise
    return True


def received(socket: Socket) -> list[bytes] | None:
    """The frames of the next message; None when there is none now."""
    message = received_from(socket)
    return None if message is None else message[1]


def received_from(socket: Socket) -> tuple[zmq.Frame, list[bytes]] | None:
    """The same with the first frame itself, which knows whose it is.

    Of a message with more than MAX_FRAMES frames, the first one more than that are given. The others, which ZeroMQ has
    already, are thrown away at the next calls, which then may give None though there is more to come.
    """
    if not _is_at_begin(socket):
        return None
    try:
        frame = first = socket.recv(_AT_ONCE, copy=False)
    except zmq.Again:
        return None
    frames = [frame.bytes]
    while frame.more and len(frames) <= MAX_FRAMES:
        frame = socket.recv(_AT_ONCE, copy=False)
        frames.append(frame.bytes)
    return first, frames


def _is_at_begin(socket: Socket) -> bool:
    """Whether what is received next begins a message, once some of one that has too many frames is thrown away."""
    for _ in range(_THROWN_AWAY_AT_ONCE):
        if not socket.getsockopt(zmq.RCVMORE):
            return True
        socket.recv(_AT_ONCE)
    return False


def _for_connecting(context: zmq.Context[Socket], kind: int, endpoint: str, identity: bytes, key: Key | None) -> Socket:
    if key is None:
        _refuse_other_hosts(endpoint)
    socket = _configured(context, kind, Bounds())
    if key is not None:
        socket.setsockopt(zmq.CURVE_SERVERKEY, z85.decode(key.router.encode()))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, z85.decode(key.public.encode()))
        socket.setsockopt(zmq.CURVE_SECRETKEY, z85.decode(key.secret.get_secret_value().encode()))
        socket.setsockopt(zmq.RECONNECT_IVL, _REFUSED_AGAIN_MS)
    if identity:
        socket.setsockopt(zmq.IDENTITY, identity)
    if kind != zmq.SUB:
        # Only to peers that are there: what waits for a peer that went is lost with it, unseen by the sender. Not for
        # SUB: it would not subscribe before it is first read, and ZeroMQ aborts when the connection breaks between the
        # two frames of an event.
        socket.setsockopt(zmq.IMMEDIATE, 1)
    return socket


def _connect(socket: Socket, endpoint: str) -> None:
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise CannotRunError(f"cannot connect to {endpoint}: {error.strerror}") from error


def _configured(context: zmq.Context[Socket], kind: int, bounds: Bounds) -> Socket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.IPV6, 1)  # which takes IPv4, too
    socket.setsockopt(zmq.AFFINITY, 0b1)  # ZeroMQ's first thread, in a context that has others
    socket.setsockopt(zmq.LINGER, _LINGER_MS)
    socket.setsockopt(zmq.SNDBUF, _SEND_BUFFER_BYTES)
    _bound(socket, bounds)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    if kind == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A peer whose connection broke may be back before we see the old one's end; without this, what the new one
        # brings would be dropped for ever.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    return socket


def _bound(socket: Socket, bounds: Bounds) -> None:
    socket.setsockopt(zmq.SNDHWM, bounds.to_send)
    socket.setsockopt(zmq.RCVHWM, bounds.to_take)
    # libzmq 4.3.5 can end the process where a socket with both a bound and heartbeats is full as its connection breaks
    # (libzmq #3937, #4364). TCP's own keepalive tells a dead peer of the others.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 0 if bounds.to_take else _HEARTBEAT_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    socket.setsockopt(zmq.MAXMSGSIZE, bounds.frame_bytes)


def _refuse_other_hosts(endpoint: str) -> None:
    """Nothing goes over a network in the clear, whatever the caller thinks."""
    if not values.is_local(endpoint):
        raise CannotRunError(f"{endpoint} is for other hosts, and needs a key")
