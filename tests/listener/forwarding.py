"""Connections through the listener's serving part, in one event loop with both their ends."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

from listener.serving import connections
from listener.serving.connections import Forward
from listener.serving.rows import Rows

_DEADLINE_S = 20.0
LOOPBACK = "127.0.0.1"
MANY = bytes(range(256)) * 2**17  # 32 MiB: more than the sockets' buffers hold
RESET = struct.pack("ii", 1, 0)  # struct linger: what is closed is reset
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
_Handler = Callable[[Reader, Writer], Awaitable[None]]
Address = tuple[str, int]


@dataclass
class Forwarding:
    """Where it listens, the client's side of each connection, and the errors that it told."""

    address: Address
    forwards: list[Forward] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    async def connect(self) -> tuple[Reader, Writer]:
        """A client's connection."""
        return await asyncio.open_connection(*self.address)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, _DEADLINE_S))


async def until(condition: Callable[[], bool]) -> None:
    """Returns as soon as the condition holds; `run` has the deadline."""
    while not condition():
        await asyncio.sleep(0.002)


@asynccontextmanager
async def serving(factory: Callable[[], asyncio.BaseProtocol]) -> AsyncIterator[Address]:
    server = await asyncio.get_running_loop().create_server(factory, LOOPBACK, 0, backlog=512)
    async with server:
        yield server.sockets[0].getsockname()


@asynccontextmanager
async def forwarding_to(upstream: Address, rows: Rows | None = None) -> AsyncIterator[Forwarding]:
    def make() -> Forward:
        forwarding.forwards.append(Forward(upstream, rows, forwarding.failures.append))
        return forwarding.forwards[-1]

    forwarding = Forwarding(("", 0))
    async with serving(make) as forwarding.address:
        yield forwarding
        await until(lambda: all(_is_closed(forward) for forward in forwarding.forwards))


def _is_closed(forward: Forward) -> bool:
    """Whether both sides of a connection are."""
    return forward.transport.is_closing() and (forward.other is None or forward.other.transport.is_closing())


@asynccontextmanager
async def forwarding_by(handler: _Handler, rows: Rows | None = None) -> AsyncIterator[Forwarding]:
    """Forwards to an upstream that does with each connection what the handler does, and then closes it."""

    async def handle(reader: Reader, writer: Writer) -> None:
        with closing(writer):
            await handler(reader, writer)

    server = await asyncio.start_server(handle, LOOPBACK, 0, backlog=512)
    async with server, forwarding_to(server.sockets[0].getsockname(), rows) as forwarding:
        yield forwarding


async def echo(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


async def answer_at_the_end(reader: Reader, writer: Writer) -> None:
    data = await reader.read()
    writer.write(b"answer to " + data)
    await writer.drain()


def waits(side: connections._Side | None) -> bool:
    """Whether that side, though open, is not read."""
    return side is not None and not side.transport.is_closing() and not side.transport.is_reading()


async def cut_off(reader: Reader) -> None:
    """Returns when the other end is gone, without having sent anything."""
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""


async def received(client: socket.socket) -> bytes:
    """All that comes to a client until its end."""
    loop = asyncio.get_running_loop()
    got = bytearray()
    while data := await loop.sock_recv(client, 2**20):
        got += data
    return bytes(got)
