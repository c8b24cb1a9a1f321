"""The connection to one Redis: packed commands in, every reply checked."""

import socket
import ssl
from typing import NoReturn

import hiredis
import redis
from redis.connection import AbstractConnection

from tapfan.redis_connection import pool
from tapfan.settings import WriterSettings
from writers.commands import Commands

TIMEOUT_S = 5.0  # for one answer of Redis
_CONNECT_TIMEOUT_S = 2.0
_OK = b"+OK\r\n"
_RECEIVE_BYTES = 65_536


class StoreError(Exception):
    """Raised when Redis did not take all commands; its text says why, without secrets. To be tried again."""


class Store:
    """One connection, made when it is first needed and after each failure. For one thread.

    redis-py connects (URL, AUTH, TLS, unix sockets). The bytes then go through its socket directly: its own
    packing and parsing cost more than Redis itself does for a SET.
    """

    def __init__(self, settings: WriterSettings) -> None:
        self._settings = settings
        self._connection: AbstractConnection | None = None

    def set_all(self, commands: Commands) -> None:
        """Send the commands and check every reply. Raises StoreError."""
        if commands.count:
            self._exchange(commands.data, _OK, commands.count)

    def probe(self) -> None:
        """See whether Redis answers. Raises StoreError."""
        self._exchange(memoryview(b"*1\r\n$4\r\nPING\r\n"), b"+PONG\r\n", 1)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _exchange(self, data: memoryview, reply: bytes, count: int) -> None:
        try:
            connection = self._connected()
            connection.send_packed_command([data], check_health=False)
            raw = connection._get_socket()  # redis-py has no public name for it
            if raw is None:
                raise StoreError("the connection closed")
            _expect(raw, reply, count)
        except StoreError:
            self.close()  # what stands behind the name may be another server next time
            raise
        except TimeoutError as error:
            self.close()
            raise StoreError(f"no answer within {TIMEOUT_S:g} s") from error
        except (redis.RedisError, OSError, hiredis.HiredisError, ValueError) as error:
            self.close()
            raise StoreError(_reason(error)) from error

    def _connected(self) -> AbstractConnection:
        if self._connection is None:
            connection = pool(self._settings, TIMEOUT_S, _CONNECT_TIMEOUT_S).make_connection()
            if not isinstance(connection, AbstractConnection):
                raise StoreError(f"redis-py connects by a {type(connection).__name__}, which has no socket")
            connection.connect()
            self._connection = connection
        return self._connection


def _expect(raw: socket.socket, reply: bytes, count: int) -> None:
    """Read `count` replies; all must be `reply`. Raises StoreError with the first that is not."""
    wanted = reply * count
    got = bytearray()
    while len(got) < len(wanted):
        _wake_for(raw, len(wanted) - len(got))
        data = raw.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("Redis closed the connection")
        got += data
        if not wanted.startswith(got[-len(data) :], len(got) - len(data)):
            _raise_first_error(raw, bytes(got))


def _wake_for(raw: socket.socket, size: int) -> None:
    """Let the next receiving wait for so many bytes: Redis answers in small parts, and each would wake us."""
    if not isinstance(raw, ssl.SSLSocket):  # whose bytes are not those that come in
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


def _raise_first_error(raw: socket.socket, begun: bytes) -> NoReturn:
    """Raise StoreError with the first of the replies that is not OK."""
    _wake_for(raw, 1)  # how many bytes there are to come is not known any more
    reader = hiredis.Reader()
    reader.feed(begun)
    while (reply := reader.gets()) in (False, b"OK"):
        if reply is False:
            data = raw.recv(_RECEIVE_BYTES)
            if not data:
                raise ConnectionError("Redis closed the connection")
            reader.feed(data)
    if not isinstance(reply, hiredis.ReplyError):
        raise StoreError("an answer that is neither OK nor an error")
    hint = "; SET with PXAT needs Redis 6.2 or newer" if "syntax error" in str(reply) else ""
    raise StoreError(f"refused: {reply}{hint}")


def _reason(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    return text or type(error).__name__
