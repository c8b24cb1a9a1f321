"""What is done with a connection: read to its end and discarded, or passed on to an upstream and back."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import cast

from listener.serving.rows import ACK, PSH, SYN, Rows

_DISCARD_BYTES = 256 * 1024
_UPSTREAM_TIMEOUT_S = 10.0


class Accepted:
    """Records a connection's accepting and its chunks, where that is the source of records."""

    def __init__(self, rows: Rows | None, transport: asyncio.Transport) -> None:
        self._rows = rows
        if rows is not None:
            self._addresses = rows.addresses(transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
            rows.add(time.time_ns(), self._addresses, SYN)

    def chunk(self) -> None:
        """A chunk was read."""
        if self._rows is not None:
            self._rows.add(time.time_ns(), self._addresses, PSH | ACK)


class Discard(asyncio.BufferedProtocol):
    """Reads to the end, into one buffer that all connections share, as nobody looks at it."""

    _buffer = memoryview(bytearray(_DISCARD_BYTES))

    def __init__(self, rows: Rows | None) -> None:
        self._rows = rows

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self._accepted = Accepted(self._rows, cast(asyncio.Transport, transport))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: D102, ARG002
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102, ARG002
        self._accepted.chunk()


def _reset(transport: asyncio.Transport) -> None:
    """Close with a reset, so that the peer does not take it for the end."""
    if transport.is_closing():
        return
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Side(asyncio.Protocol):
    """One side of a forwarded connection: passes bytes, their end, and the need to wait on to the other side."""

    transport: asyncio.Transport
    other: "_Side | None" = None
    ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if self.other:
            if self.other.ended:
                self.transport.close()  # flushes first, and then closes the other side
            else:
                with contextlib.suppress(OSError):  # it may be gone already
                    self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other and exc is None:
            self.other.transport.close()
        elif self.other:
            _reset(self.other.transport)


class Forward(_Side):
    """The client's side of a forwarded connection; it opens the upstream's.

    `failed` is told when the upstream cannot be reached; the client is then cut off.
    """

    def __init__(self, upstream: tuple[str, int], rows: Rows | None, failed: Callable[[Exception], None]) -> None:
        self._upstream = upstream
        self._rows = rows
        self._failed = failed
        self._early = b""  # what came before the upstream was open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        super().connection_made(transport)
        self._accepted = Accepted(self._rows, self.transport)
        self._opening = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_UPSTREAM_TIMEOUT_S):
                await loop.create_connection(lambda: _Upstream(self), *self._upstream)
        except (OSError, UnicodeError) as error:  # the latter: a host's name that cannot be one
            self._failed(error)
            _reset(self.transport)

    def opened(self, upstream: _Side) -> None:
        """The upstream is there."""
        self.other = upstream
        upstream.transport.write(self._early)
        if self.ended:
            upstream.transport.write_eof()
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:  # noqa: D102
        self._accepted.chunk()
        if self.other:
            super().data_received(data)
        else:
            # Not before: Python 3.11.2 forgets a pause that connection_made asks for.
            self.transport.pause_reading()
            self._early += data

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._opening.cancel()
        super().connection_lost(exc)


class _Upstream(_Side):
    """The upstream's side; it may speak first."""

    def __init__(self, client: Forward) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.other = self._client
        self._client.opened(self)
