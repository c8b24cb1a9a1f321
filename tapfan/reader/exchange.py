"""Commands and replies on one connection: redis-py connects, the bytes go through its socket and hiredis directly."""

import contextlib
import socket
from collections.abc import Iterable, Sequence
from typing import Any

import hiredis
import redis
from redis.connection import AbstractConnection

from tapfan import redis_connection

_RECEIVE_BYTES = 256 * 1024
# Of one reply. Ours are far smaller: only keys that are themselves millions of bytes long lead there.
_MOST_BYTES = 64 * 1024 * 1024

FAILURES = (redis.RedisError, OSError, hiredis.HiredisError)


class RefusedError(Exception):
    """Raised when Redis answers a command with an error; its text is Redis's."""


class Connection:
    """One connection, made at once. Each call raises one of FAILURES or RefusedError where Redis cannot be used.

    For one thread; `interrupt` may be called from another.
    """

    def __init__(self, pool: redis.ConnectionPool) -> None:
        connection = pool.make_connection()
        if not isinstance(connection, AbstractConnection):
            raise ConnectionError(f"redis-py connects by a {type(connection).__name__}, which has no socket")
        self._connection = connection
        connection.connect()
        raw = connection._get_socket()  # redis-py has no public name for it
        if raw is None:
            raise ConnectionError("the connection closed")
        self.socket: socket.socket = raw
        self._reader = hiredis.Reader()
        self._unread = 0

    def send(self, command: bytes) -> None:
        """Send packed commands."""
        self.socket.sendall(command)

    def receive(self) -> Any:
        """The next reply; an error is one of its own kind, not raised."""
        while (reply := self._reader.gets()) is False:
            self._receive_some()
        self._unread = 0
        return reply

    def beginning(self) -> bytes:
        """The first bytes of the next reply, which is still to be received; empty where they came with the last one."""
        return b"" if self._reader.has_data() else self._receive_some()

    def _receive_some(self) -> bytes:
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("Redis closed the connection")
        self._unread += len(data)
        if self._unread > _MOST_BYTES:
            raise ConnectionError(f"a reply of more than {_MOST_BYTES} bytes")
        self._reader.feed(data)
        return data

    def receive_within(self, seconds: float) -> Any:
        """The next reply; None where it is not there in time."""
        usual_s = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            return self.receive()
        except TimeoutError:
            return None
        finally:
            self.socket.settimeout(usual_s)

    def accept(self) -> Any:
        """The next reply. Raises RefusedError for an error."""
        reply = self.receive()
        if isinstance(reply, hiredis.ReplyError):
            raise RefusedError(str(reply))
        return reply

    def run(self, *command: bytes) -> Any:
        """Send one command and accept its reply."""
        self.send(packed(*command))
        return self.accept()

    def values(self, keys: Sequence[bytes], most: Iterable[int]) -> list[Any]:
        """Each key's value, and of one that is longer than its `most` bytes only those and one more.

        Empty where there is no such key; an error where it holds no text.
        """
        self.send(b"".join(map(_getrange, keys, most)))
        answers: list[Any] = []
        while len(answers) < len(keys):
            answers.append(self.receive())
            while len(answers) < len(keys) and (reply := self._reader.gets()) is not False:
                answers.append(reply)
        return answers

    def interrupt(self) -> None:
        """Let whoever waits for a reply fail."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it."""
        self._connection.disconnect()


def unexpected(reply: object, due: str) -> hiredis.ProtocolError:
    """What to raise for a reply that is not what its command gives."""
    return hiredis.ProtocolError(f"{type(reply).__name__} where {due} is due")


def trouble(error: Exception, timeout_s: float) -> str:
    """What a user is told of one of FAILURES or RefusedError."""
    if isinstance(error, hiredis.HiredisError | redis.InvalidResponse):
        return f"answers, but not as a Redis does: {error}"
    return reason(error, timeout_s)


def packed(*command: bytes) -> bytes:
    """A command in the protocol's form."""
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in command)


def _getrange(key: bytes, most: int) -> bytes:
    end = b"%d" % most
    return b"*4\r\n$8\r\nGETRANGE\r\n$%d\r\n%b\r\n$1\r\n0\r\n$%d\r\n%b\r\n" % (len(key), key, len(end), end)


def reason(error: Exception, timeout_s: float) -> str:
    """What a user is told of it."""
    if isinstance(error, TimeoutError | redis.TimeoutError):
        return f"does not answer within {timeout_s:g} s"
    text = redis_connection.text(error)
    refused = isinstance(error, RefusedError | redis.AuthenticationError | redis.ResponseError)
    return f"refuses: {text}" if refused else f"does not answer: {text}"
