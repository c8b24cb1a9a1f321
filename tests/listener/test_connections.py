"""Connections that are discarded or forwarded: what comes through, and what is recorded of them."""

import asyncio
import os
import time
from contextlib import closing

import pytest

from listener.accepting import AcceptSource
from listener.serving.connections import Discard
from listener.serving.rows import ACK, PSH, SYN, Rows
from tapfan.endpoints import packed
from tests.listener import frames
from tests.listener.forwarding import (
    MANY,
    Address,
    Forwarding,
    Reader,
    Writer,
    answer_at_the_end,
    echo,
    forwarding_by,
    run,
    serving,
)
from tests.listener.frames import Record


async def _exchange(forwarding: Forwarding, data: bytes) -> bytes:
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
        async with forwarding_by(echo) as forwarding:
            assert await _exchange(forwarding, data) == data

    run(scenario())


def test_the_clients_end_is_passed_on_and_the_answer_still_comes() -> None:
    async def scenario() -> None:
        async with forwarding_by(answer_at_the_end) as forwarding:
            assert await _exchange(forwarding, b"question") == b"answer to question"

    run(scenario())


def test_the_upstreams_end_is_passed_on_and_the_client_may_still_send() -> None:
    got = asyncio.Queue[bytes]()

    async def greet(reader: Reader, writer: Writer) -> None:
        writer.write(b"welcome")
        writer.write_eof()
        got.put_nowait(await reader.read())

    async def scenario() -> None:
        async with forwarding_by(greet) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                assert await reader.read() == b"welcome"
                writer.write(b"thank you")
                writer.write_eof()
                assert await got.get() == b"thank you"

    run(scenario())


def test_an_upstream_that_speaks_first_is_heard() -> None:
    async def greet(reader: Reader, writer: Writer) -> None:
        writer.write(b"welcome")
        await reader.read()

    async def scenario() -> None:
        async with forwarding_by(greet) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                assert await reader.readexactly(7) == b"welcome"

    run(scenario())


def test_two_hundred_connections_at_once_are_kept_apart() -> None:
    sent = [f"connection {number} ".encode() * 1000 for number in range(200)]

    async def scenario() -> None:
        async with forwarding_by(answer_at_the_end) as forwarding:
            got = await asyncio.gather(*(_exchange(forwarding, data) for data in sent))
            assert got == [b"answer to " + data for data in sent]
            assert len(forwarding.forwards) == 200

    run(scenario())


def test_a_discarded_connection_is_read_to_its_end_and_closed() -> None:
    async def scenario() -> None:
        async with serving(lambda: Discard(None)) as address:
            clients = [await asyncio.open_connection(*address) for _ in range(10)]
            for reader, writer in clients:
                writer.write(MANY[: 2**22])
                await writer.drain()
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()

    run(scenario())


@pytest.mark.parametrize("serve", ["discard", "forward"])
def test_an_accept_and_each_chunk_make_a_record(serve: str) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    source = AcceptSource(reading)
    rows = Rows(writing)
    before_ns = time.time_ns()

    async def scenario() -> None:
        if serve == "forward":
            async with forwarding_by(echo, rows) as forwarding:
                await send_chunks(forwarding.address)
        else:
            async with serving(lambda: Discard(rows)) as address:
                await send_chunks(address)

    async def send_chunks(address: Address) -> None:
        reader, writer = await asyncio.open_connection(*address)
        with closing(writer):
            own = writer.get_extra_info("sockname")
            for flags in (SYN, PSH | ACK, PSH | ACK):
                await expect(flags, own, address)
                writer.write(b"chunk")
            writer.write_eof()
            await reader.read()

    async def expect(flags: int, own: Address, address: Address) -> None:
        found: list[Record] = []
        while not found:
            await asyncio.sleep(0.002)
            found = frames.rows(records) if (records := source.read()) else []
        assert found == [Record(found[0].timestamp, packed(own[0]), packed(address[0]), own[1], address[1], flags, 1)]
        assert before_ns < found[0].timestamp < time.time_ns()

    run(scenario())
    rows._file.close()
    source.close()
