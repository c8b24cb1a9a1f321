"""The connection to one Redis: packed commands in, every reply checked. See `cluster` for several as one."""

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import hiredis
import redis
from redis.connection import AbstractConnection

from tapfan import blocks
from tapfan.redis_connection import pool, reason
from tapfan.sections import Layout, WriterSettings
from writers.commands import Commands
from writers.vitals import CHECK, CHECK_REPLIES, UnfitError, Vitals, read_vitals

TIMEOUT_S = 5.0  # for one answer of Redis
CONNECT_TIMEOUT_S = 2.0
CONFIRM_S = 1.0  # for a replica to say that it has what was stored
_OK = b"+OK\r\n"
_RECEIVE_BYTES = 65_536
# Of a SET that leaves nothing behind, as its time is over at once. They begin as the layout's, as a user may be kept to
# those.
TRIAL_KEYS: Mapping[Layout, bytes] = {"record": b"tcp:check", "block": blocks.PREFIX + b"check"}

T = TypeVar("T")


class StoreError(Exception):
    """Raised when Redis did not take all commands; its text says why, without secrets. To be tried again.

    `vitals`: what a check had measured before it failed.
    """

    def __init__(self, reason: str, vitals: Vitals | None = None) -> None:
        super().__init__(reason)
        self.vitals = vitals


class RefusedError(StoreError):
    """Raised when Redis answered, and did not take all."""


class Store:
    """One connection, made when it is first needed and after each failure. For one thread.

    redis-py connects (URL, AUTH, TLS, unix sockets), each time to whom the sentinels name then, where the URL has
    some. The bytes then go through its socket directly: its own packing and parsing cost more than Redis itself does
    for a SET.
    """

    def __init__(self, settings: WriterSettings, layout: Layout = "record") -> None:
        self._settings = settings
        self._trial = _trial(TRIAL_KEYS[layout])
        self._connection: AbstractConnection | None = None
        self._begun = (0.0, 0)  # the last sending: seconds of the monotonic clock, and ns of the usual one

    def set_all(self, commands: Commands) -> None:
        """Send the commands and check every reply; with `confirm`, a replica has them, too.

        Raises StoreError, and RefusedError where Redis says no.
        """
        if commands.count:
            self._exchange(commands.data, lambda raw: _expect(raw, _OK, commands.count))
            self._confirm()

    def check(self, trial: bool = False) -> Vitals:
        """See whether Redis would take records: it answers, is no replica, loads nothing, and has memory left.

        `trial`: see also whether it takes a SET. Of a user that may not ask for INFO it is only known that it reaches
        Redis. With `confirm` it has a replica, too. Raises StoreError.
        """
        vitals = self.measure()
        try:
            if trial:
                self._exchange(memoryview(self._trial), lambda raw: _expect(raw, _OK, 1))
            self._confirm()
        except StoreError as error:
            raise StoreError(str(error), vitals) from error
        return vitals

    def measure(self) -> Vitals:
        """The part of a check that only asks. Raises StoreError."""
        return self._exchange(memoryview(CHECK), self._vitals)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _confirm(self) -> None:
        """Wait until a replica has what this connection has written: WAIT looks at no other's writes."""
        if self._settings.confirm == "replica":
            milliseconds = b"%d" % round(CONFIRM_S * 1000)
            wait = b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$%d\r\n%s\r\n" % (len(milliseconds), milliseconds)
            self._exchange(memoryview(wait), lambda raw: check_confirmed(*_read(raw, 1)))

    def _exchange(self, data: memoryview, receive: Callable[[socket.socket], T]) -> T:
        try:
            connection = self._connected()
            self._begun = time.monotonic(), time.time_ns()
            connection.send_packed_command([data], check_health=False)
            raw = connection._get_socket()  # redis-py has no public name for it
            if raw is None:
                raise StoreError("the connection closed")
            return receive(raw)
        except StoreError:
            self.close()  # what stands behind the name may be another server next time
            raise
        except UnfitError as error:
            self.close()
            raise StoreError(str(error), error.vitals) from error
        except TimeoutError as error:
            self.close()
            raise StoreError(f"no answer within {TIMEOUT_S:g} s") from error
        except (redis.RedisError, OSError, hiredis.HiredisError, ValueError) as error:
            self.close()
            raise StoreError(reason(error)) from error

    def _vitals(self, raw: socket.socket) -> Vitals:
        """What Redis answers to CHECK, which was just sent. Raises UnfitError when it would take no records."""
        answers = _read(raw, CHECK_REPLIES)
        begun_s, begun_ns = self._begun
        return read_vitals(answers, round((time.monotonic() - begun_s) * 1e6), (begun_ns + time.time_ns()) // 2)

    def _connected(self) -> AbstractConnection:
        if self._connection is None:
            connection = pool(self._settings, TIMEOUT_S, CONNECT_TIMEOUT_S).make_connection()
            if not isinstance(connection, AbstractConnection):
                raise StoreError(f"redis-py connects by a {type(connection).__name__}, which has no socket")
            connection.connect()
            self._connection = connection
        return self._connection


def _trial(key: bytes) -> bytes:
    return b"*5\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$1\r\n1\r\n$4\r\nPXAT\r\n$1\r\n1\r\n" % (len(key), key)


def check_confirmed(reply: Any) -> None:
    """Raises RefusedError unless an answer to WAIT says that a replica has all."""
    if isinstance(reply, Exception):
        raise RefusedError(f"refused: {reply}")
    if not isinstance(reply, int) or reply < 1:
        raise RefusedError(f'no replica has confirmed within {CONFIRM_S:g} s; see confirm = "replica" of this writer')


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
    """Raise RefusedError with the first error of the replies; StoreError where one is neither that nor OK."""
    _wake_for(raw, 1)  # how many bytes there are to come is not known any more
    reader = hiredis.Reader()
    reader.feed(begun)
    while (reply := _next_reply(reader, raw)) == b"OK":
        pass
    if not isinstance(reply, hiredis.ReplyError):
        raise StoreError("an answer that is neither OK nor an error")
    hint = "; SET with PXAT needs Redis 6.2 or newer" if "syntax error" in str(reply) else ""
    raise RefusedError(f"refused: {reply}{hint}")


def _read(raw: socket.socket, count: int) -> list[Any]:
    """The next replies, whatever they are."""
    _wake_for(raw, 1)
    reader = hiredis.Reader()
    return [_next_reply(reader, raw) for _ in range(count)]


def _next_reply(reader: hiredis.Reader, raw: socket.socket) -> Any:
    while (reply := reader.gets()) is False:
        data = raw.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionError("Redis closed the connection")
        reader.feed(data)
    return reply
