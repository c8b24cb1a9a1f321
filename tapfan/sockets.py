"""The one place where ZeroMQ sockets are made: their limits, heartbeats, permissions and clear errors."""

import os

import zmq

from tapfan.program import CannotRunError
from tapfan.wire import MAX_MESSAGE_BYTES

_LINGER_MS = 1000  # what a closing socket may still take to send; the default waits for ever
_HEARTBEAT_MS = 2000  # tells a dead TCP peer; any traffic counts as one
_SEND_BUFFER_BYTES = 2**20  # a batch goes out at once, as far as the system's net.core.wmem_max allows
_UNBOUNDED = 0  # high-water mark: acknowledgements bound what is in flight, and a mark would drop silently

Socket = zmq.Socket[bytes]


def bound(context: zmq.Context[Socket], kind: int, endpoint: str) -> Socket:
    """A socket of that kind, bound. Raises CannotRunError."""
    socket = _configured(context, kind)
    mask = os.umask(0o077)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise CannotRunError(f"cannot bind {endpoint}: {error.strerror}") from error
    finally:
        os.umask(mask)
    return socket


def connected(context: zmq.Context[Socket], kind: int, endpoint: str, identity: bytes = b"") -> Socket:
    """A socket of that kind, connecting; the peer may come later. Raises CannotRunError."""
    socket = _configured(context, kind)
    if identity:
        socket.setsockopt(zmq.IDENTITY, identity)
    # Only to peers that are there: what waits for a peer that went is lost with it, unseen by the sender.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise CannotRunError(f"cannot connect to {endpoint}: {error.strerror}") from error
    return socket


def sent(socket: Socket, *frames: bytes) -> bool:
    """Send without waiting; False when no such peer is there now."""
    try:
        socket.send_multipart(frames, flags=zmq.DONTWAIT, copy=True)
    except zmq.ZMQError as error:
        if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            return False
        raise
    return True


def received(socket: Socket) -> list[bytes] | None:
    """The frames of the next message; None when there is none now."""
    try:
        return socket.recv_multipart(flags=zmq.DONTWAIT)
    except zmq.Again:
        return None


def _configured(context: zmq.Context[Socket], kind: int) -> Socket:
    socket = context.socket(kind)
    socket.setsockopt(zmq.IPV6, 1)  # which takes IPv4, too
    socket.setsockopt(zmq.LINGER, _LINGER_MS)
    socket.setsockopt(zmq.SNDBUF, _SEND_BUFFER_BYTES)
    socket.setsockopt(zmq.SNDHWM, _UNBOUNDED)
    socket.setsockopt(zmq.RCVHWM, _UNBOUNDED)
    # Four times what is read: what is a little too long is counted by us, what is far too long cut off by ZeroMQ.
    socket.setsockopt(zmq.MAXMSGSIZE, 4 * MAX_MESSAGE_BYTES)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    if kind == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A peer whose connection broke may be back before we see the old one's end; without this, what the new one
        # brings would be dropped for ever.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    return socket
