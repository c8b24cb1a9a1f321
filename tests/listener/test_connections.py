"""Connections that are discarded or forwarded, on loopback, in one event loop with both their ends."""

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from listener.accepting import AcceptSource
from listener.serving import connections
from listener.serving.connections import Discard, Forward
from listener.serving.rows import ACK, PSH, SYN, Rows
from tapfan.endpoints import packed
from tests.listener import frames
from tests.listener.frames import Record

_DEADLINE_S = 20.0
_LOOPBACK = "127.0.0.1"
_MANY = bytes(range(256)) * 2**17  # 32 MiB: more than the sockets' buffers hold
_RESET = struct.pack("ii", 1, 0)  # struct linger: what is closed is reset
_BUFFERED = 2**20  # at most, of a connection that waits

_Reader = asyncio.StreamReader
_Writer = asyncio.StreamWriter
_Handler = Callable[[_Reader, _Writer], Awaitable[None]]
_Address = tuple[str, int]


@dataclass
class _Forwarding:
    """Where it listens, the client's side of each connection, and the errors that it told."""

    address: _Address
    forwards: list[Forward] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    async def connect(self) -> tuple[_Reader, _Writer]:
        """A client's connection."""
        return await asyncio.open_connection(*self.address)


def _run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, _DEADLINE_S))


async def _until(condition: Callable[[], bool]) -> None:
    """Returns as soon as the condition holds; `_run` has the deadline."""
    while not condition():
        await asyncio.sleep(0.002)


@asynccontextmanager
async def _serving(factory: Callable[[], asyncio.BaseProtocol]) -> AsyncIterator[_Address]:
    server = await asyncio.get_running_loop().create_server(factory, _LOOPBACK, 0, backlog=512)
    async with server:
        yield server.sockets[0].getsockname()


@asynccontextmanager
async def _forwarding_to(upstream: _Address, rows: Rows | None = None) -> AsyncIterator[_Forwarding]:
    def make() -> Forward:
        forwarding.forwards.append(Forward(upstream, rows, forwarding.failures.append))
        return forwarding.forwards[-1]

    forwarding = _Forwarding(("", 0))
    async with _serving(make) as forwarding.address:
        yield forwarding
        await _until(lambda: all(_is_closed(forward) for forward in forwarding.forwards))


def _is_closed(forward: Forward) -> bool:
    """Whether both sides of a connection are."""
    return forward.transport.is_closing() and (forward.other is None or forward.other.transport.is_closing())


@asynccontextmanager
async def _forwarding(handler: _Handler, rows: Rows | None = None) -> AsyncIterator[_Forwarding]:
    """Forwards to an upstream that does with each connection what the handler does, and then closes it."""

    async def handle(reader: _Reader, writer: _Writer) -> None:
        with closing(writer):
            await handler(reader, writer)

    server = await asyncio.start_server(handle, _LOOPBACK, 0, backlog=512)
    async with server, _forwarding_to(server.sockets[0].getsockname(), rows) as forwarding:
        yield forwarding


async def _echo(reader: _Reader, writer: _Writer) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


async def _answer_at_the_end(reader: _Reader, writer: _Writer) -> None:
    data = await reader.read()
    writer.write(b"answer to " + data)
    await writer.drain()


async def _exchange(forwarding: _Forwarding, data: bytes) -> bytes:
    """What comes back when the data and its end are sent."""
    reader, writer = await forwarding.connect()

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    with closing(writer):
        _, got = await asyncio.gather(send(), reader.read())
    return got


@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
def test_bytes_are_forwarded_unchanged_both_ways(size: int) -> None:
    data = os.urandom(size)

    async def scenario() -> None:
        async with _forwarding(_echo) as forwarding:
            assert await _exchange(forwarding, data) == data

    _run(scenario())


def test_the_clients_end_is_passed_on_and_the_answer_still_comes() -> None:
    async def scenario() -> None:
        async with _forwarding(_answer_at_the_end) as forwarding:
            assert await _exchange(forwarding, b"question") == b"answer to question"

    _run(scenario())


def test_the_upstreams_end_is_passed_on_and_the_client_may_still_send() -> None:
    got = asyncio.Queue[bytes]()

    async def greet(reader: _Reader, writer: _Writer) -> None:
        writer.write(b"welcome")
        writer.write_eof()
        got.put_nowait(await reader.read())

    async def scenario() -> None:
        async with _forwarding(greet) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                assert await reader.read() == b"welcome"
                writer.write(b"thank you")
                writer.write_eof()
                assert await got.get() == b"thank you"

    _run(scenario())


def test_an_upstream_that_speaks_first_is_heard() -> None:
    async def greet(reader: _Reader, writer: _Writer) -> None:
        writer.write(b"welcome")
        await reader.read()

    async def scenario() -> None:
        async with _forwarding(greet) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                assert await reader.readexactly(7) == b"welcome"

    _run(scenario())


@asynccontextmanager
async def _opening_late(forwarding: _Forwarding, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Forward]:
    """A client's side whose upstream is not opened before the end of the block."""
    loop = asyncio.get_running_loop()
    may_open = asyncio.Event()
    create_connection = loop.create_connection

    async def create_later(*arguments: Any, **options: Any) -> Any:
        await may_open.wait()
        return await create_connection(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "create_connection", create_later)
        await _until(lambda: bool(forwarding.forwards) and "transport" in vars(forwarding.forwards[0]))
        yield forwarding.forwards[0]
        may_open.set()


@pytest.mark.parametrize("data", [b"", b"early" * 1000])
def test_what_a_client_says_before_the_upstream_is_open_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    async def scenario() -> None:
        async with _forwarding(_answer_at_the_end) as forwarding:
            with socket.create_connection(forwarding.address) as client:
                async with _opening_late(forwarding, monkeypatch) as forward:
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    client.setblocking(False)
                    await _until(lambda: _waits(forward) if data else forward.ended)
                assert await _received(client) == b"answer to " + data

    _run(scenario())


def test_a_client_that_is_gone_before_the_upstream_is_open_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        tasks = asyncio.all_tasks()
        async with _forwarding(_echo) as forwarding:
            with socket.create_connection(forwarding.address) as client:
                async with _opening_late(forwarding, monkeypatch) as forward:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    client.close()
                    await _until(forward.transport.is_closing)
            await _until(lambda: asyncio.all_tasks() == tasks)
            assert forward.other is None
            assert forwarding.failures == []

    _run(scenario())


def test_where_the_upstream_is_down_the_client_is_cut_off_and_that_is_told() -> None:
    async def scenario() -> None:
        with socket.create_server((_LOOPBACK, 0)) as closed:
            nobody = closed.getsockname()
        async with _forwarding_to(nobody) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                await _cut_off(reader)
            assert [type(error) for error in forwarding.failures] == [ConnectionRefusedError]

    _run(scenario())


def test_an_upstream_with_a_name_that_cannot_be_is_told_like_one_that_is_down() -> None:
    async def scenario() -> None:
        async with _forwarding_to(("a..b", 80)) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                await _cut_off(reader)
            assert [type(error) for error in forwarding.failures] == [UnicodeError]

    _run(scenario())


def test_where_the_upstream_does_not_answer_the_client_is_cut_off_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_UPSTREAM_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server((_LOOPBACK, 0), backlog=0) as deaf:
            waiting = [socket.socket() for _ in range(4)]
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(deaf.getsockname())
            async with _forwarding_to(deaf.getsockname()) as forwarding:
                reader, writer = await forwarding.connect()
                begun_s = loop.time()
                with closing(writer):
                    await _cut_off(reader)
                assert loop.time() - begun_s < 5
                assert [type(error) for error in forwarding.failures] == [TimeoutError]
            for each in waiting:
                each.close()

    _run(scenario())


def test_a_client_that_does_not_read_makes_the_upstream_wait() -> None:
    async def send(_: _Reader, writer: _Writer) -> None:
        writer.write(_MANY)
        await writer.drain()

    async def scenario() -> None:
        async with _forwarding(send) as forwarding:
            with socket.create_connection(forwarding.address) as client:
                client.setblocking(False)
                await _until(lambda: bool(forwarding.forwards) and _waits(forwarding.forwards[0].other))
                assert forwarding.forwards[0].transport.get_write_buffer_size() < _BUFFERED
                assert await _received(client) == _MANY

    _run(scenario())


def test_an_upstream_that_does_not_read_makes_the_client_wait() -> None:
    may_read = asyncio.Event()
    got = asyncio.Queue[bytes]()

    async def wait(reader: _Reader, _: _Writer) -> None:
        await may_read.wait()
        got.put_nowait(await reader.read())

    async def scenario() -> None:
        async with _forwarding(wait) as forwarding:
            _, writer = await forwarding.connect()
            with closing(writer):
                writer.write(_MANY)
                writer.write_eof()
                await _until(lambda: bool(forwarding.forwards) and forwarding.forwards[0].other is not None)
                await _until(lambda: _waits(forwarding.forwards[0]))
                upstream = forwarding.forwards[0].other
                assert upstream
                assert upstream.transport.get_write_buffer_size() < _BUFFERED
                may_read.set()
                assert await got.get() == _MANY

    _run(scenario())


def test_a_client_that_reads_slowly_gets_the_end_of_what_an_upstream_sent_before_it_closed() -> None:
    answer = _MANY[:40_000]

    async def send_at_the_end(reader: _Reader, writer: _Writer) -> None:
        await reader.read()
        writer.write(answer)

    async def scenario() -> None:
        async with _forwarding(send_at_the_end) as forwarding:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(forwarding.address)
                await _until(lambda: bool(forwarding.forwards) and forwarding.forwards[0].other is not None)
                forward = forwarding.forwards[0]
                forward.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                client.shutdown(socket.SHUT_WR)
                client.setblocking(False)
                await _until(forward.transport.is_closing)
                assert forward.transport.get_write_buffer_size() > 0
                assert await _received(client) == answer

    _run(scenario())


def test_a_client_that_resets_its_connection_ends_the_upstreams() -> None:
    ended = asyncio.Event()

    async def wait(reader: _Reader, _: _Writer) -> None:
        await _cut_off(reader)
        ended.set()

    async def scenario() -> None:
        async with _forwarding(wait) as forwarding:
            _, writer = await forwarding.connect()
            await _until(lambda: bool(forwarding.forwards) and forwarding.forwards[0].other is not None)
            _reset(writer)
            await ended.wait()

    _run(scenario())


def test_an_upstream_s_reset_is_a_reset_for_the_client() -> None:
    async def reset(reader: _Reader, writer: _Writer) -> None:
        await reader.readexactly(1)
        _reset(writer)

    async def scenario() -> None:
        async with _forwarding(reset) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                writer.write(b"x")
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            assert forwarding.failures == []

    _run(scenario())


def test_two_hundred_connections_at_once_are_kept_apart() -> None:
    sent = [f"connection {number} ".encode() * 1000 for number in range(200)]

    async def scenario() -> None:
        async with _forwarding(_answer_at_the_end) as forwarding:
            got = await asyncio.gather(*(_exchange(forwarding, data) for data in sent))
            assert got == [b"answer to " + data for data in sent]
            assert len(forwarding.forwards) == 200

    _run(scenario())


def test_a_discarded_connection_is_read_to_its_end_and_closed() -> None:
    async def scenario() -> None:
        async with _serving(lambda: Discard(None)) as address:
            clients = [await asyncio.open_connection(*address) for _ in range(10)]
            for reader, writer in clients:
                writer.write(_MANY[: 2**22])
                await writer.drain()
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()

    _run(scenario())


@pytest.mark.parametrize("serve", ["discard", "forward"])
def test_an_accept_and_each_chunk_make_a_record(serve: str) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    source = AcceptSource(reading)
    rows = Rows(writing)
    before_ns = time.time_ns()

    async def scenario() -> None:
        if serve == "forward":
            async with _forwarding(_echo, rows) as forwarding:
                await send_chunks(forwarding.address)
        else:
            async with _serving(lambda: Discard(rows)) as address:
                await send_chunks(address)

    async def send_chunks(address: _Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        with closing(writer):
            own = writer.get_extra_info("sockname")
            for flags in (SYN, PSH | ACK, PSH | ACK):
                await expect(flags, own, address)
                writer.write(b"chunk")
            writer.write_eof()
            await reader.read()

    async def expect(flags: int, own: _Address, address: _Address) -> None:
        found: list[Record] = []
        while not found:
            await asyncio.sleep(0.002)
            found = frames.rows(records) if (records := source.read()) else []
        assert found == [Record(found[0].timestamp, packed(own[0]), packed(address[0]), own[1], address[1], flags, 1)]
        assert before_ns < found[0].timestamp < time.time_ns()

    _run(scenario())
    rows._file.close()
    source.close()


def _waits(side: connections._Side | None) -> bool:
    """Whether that side, though open, is not read."""
    return side is not None and not side.transport.is_closing() and not side.transport.is_reading()


async def _cut_off(reader: _Reader) -> None:
    """Returns when the other end is gone, without having sent anything."""
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""


async def _received(client: socket.socket) -> bytes:
    """All that comes to a client until its end."""
    loop = asyncio.get_running_loop()
    got = bytearray()
    while data := await loop.sock_recv(client, 2**20):
        got += data
    return bytes(got)


def _reset(writer: _Writer) -> None:
    """Close a connection by a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
