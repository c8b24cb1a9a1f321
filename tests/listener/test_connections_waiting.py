"""Connections of which one end does not read, or goes away."""

import asyncio
import socket
from contextlib import closing

import pytest

from tests.listener.forwarding import MANY, RESET, Reader, Writer, cut_off, forwarding_by, received, run, until, waits

_BUFFERED = 2**20  # at most, of a connection that waits


def test_a_client_that_does_not_read_makes_the_upstream_wait() -> None:
    async def send(_: Reader, writer: Writer) -> None:
        writer.write(MANY)
        await writer.drain()

    async def scenario() -> None:
        async with forwarding_by(send) as forwarding:
            with socket.create_connection(forwarding.address) as client:
                client.setblocking(False)
                await until(lambda: bool(forwarding.forwards) and waits(forwarding.forwards[0].other))
                assert forwarding.forwards[0].transport.get_write_buffer_size() < _BUFFERED
                assert await received(client) == MANY

    run(scenario())


def test_an_upstream_that_does_not_read_makes_the_client_wait() -> None:
    may_read = asyncio.Event()
    got = asyncio.Queue[bytes]()

    async def wait(reader: Reader, _: Writer) -> None:
        await may_read.wait()
        got.put_nowait(await reader.read())

    async def scenario() -> None:
        async with forwarding_by(wait) as forwarding:
            _, writer = await forwarding.connect()
            with closing(writer):
                writer.write(MANY)
                writer.write_eof()
                await until(lambda: bool(forwarding.forwards) and forwarding.forwards[0].other is not None)
                await until(lambda: waits(forwarding.forwards[0]))
                upstream = forwarding.forwards[0].other
                assert upstream
                assert upstream.transport.get_write_buffer_size() < _BUFFERED
                may_read.set()
                assert await got.get() == MANY

    run(scenario())


def test_a_client_that_reads_slowly_gets_the_end_of_what_an_upstream_sent_before_it_closed() -> None:
    answer = MANY[:40_000]

    async def send_at_the_end(reader: Reader, writer: Writer) -> None:
        await reader.read()
        writer.write(answer)

    async def scenario() -> None:
        async with forwarding_by(send_at_the_end) as forwarding:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(forwarding.address)
                await until(lambda: bool(forwarding.forwards) and forwarding.forwards[0].other is not None)
                forward = forwarding.forwards[0]
                forward.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                client.shutdown(socket.SHUT_WR)
                client.setblocking(False)
                await until(forward.transport.is_closing)
                assert forward.transport.get_write_buffer_size() > 0
                assert await received(client) == answer

    run(scenario())


def test_a_client_that_resets_its_connection_ends_the_upstreams() -> None:
    ended = asyncio.Event()

    async def wait(reader: Reader, _: Writer) -> None:
        await cut_off(reader)
        ended.set()

    async def scenario() -> None:
        async with forwarding_by(wait) as forwarding:
            _, writer = await forwarding.connect()
            await until(lambda: bool(forwarding.forwards) and forwarding.forwards[0].other is not None)
            _reset(writer)
            await ended.wait()

    run(scenario())


def test_an_upstream_s_reset_is_a_reset_for_the_client() -> None:
    async def reset(reader: Reader, writer: Writer) -> None:
        await reader.readexactly(1)
        _reset(writer)

    async def scenario() -> None:
        async with forwarding_by(reset) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                writer.write(b"x")
                with pytest.raises(ConnectionResetError):
                    await reader.read()
            assert forwarding.failures == []

    run(scenario())


def _reset(writer: Writer) -> None:
    """Close a connection by a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
