"""Connections whose upstream is not open yet, or never is."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest

from listener.serving import connections
from listener.serving.connections import Forward
from tests.listener.forwarding import (
    LOOPBACK,
    RESET,
    Forwarding,
    answer_at_the_end,
    cut_off,
    echo,
    forwarding_by,
    forwarding_to,
    received,
    run,
    until,
    waits,
)


@asynccontextmanager
async def _opening_late(forwarding: Forwarding, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Forward]:
    """A client's side whose upstream is not opened before the end of the block."""
    loop = asyncio.get_running_loop()
    may_open = asyncio.Event()
    create_connection = loop.create_connection

    async def create_later(*arguments: Any, **options: Any) -> Any:
        await may_open.wait()
        return await create_connection(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "create_connection", create_later)
        await until(lambda: bool(forwarding.forwards) and "transport" in vars(forwarding.forwards[0]))
        yield forwarding.forwards[0]
        may_open.set()


@pytest.mark.parametrize("data", [b"", b"early" * 1000])
def test_what_a_client_says_before_the_upstream_is_open_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    async def scenario() -> None:
        async with forwarding_by(answer_at_the_end) as forwarding:
            with socket.create_connection(forwarding.address) as client:
                async with _opening_late(forwarding, monkeypatch) as forward:
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    client.setblocking(False)
                    await until(lambda: waits(forward) if data else forward.ended)
                assert await received(client) == b"answer to " + data

    run(scenario())


def test_a_client_that_is_gone_before_the_upstream_is_open_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        tasks = asyncio.all_tasks()
        async with forwarding_by(echo) as forwarding:
            with socket.create_connection(forwarding.address) as client:
                async with _opening_late(forwarding, monkeypatch) as forward:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    client.close()
                    await until(forward.transport.is_closing)
            await until(lambda: asyncio.all_tasks() == tasks)
            assert forward.other is None
            assert forwarding.failures == []

    run(scenario())


def test_where_the_upstream_is_down_the_client_is_cut_off_and_that_is_told() -> None:
    async def scenario() -> None:
        with socket.create_server((LOOPBACK, 0)) as closed:
            nobody = closed.getsockname()
        async with forwarding_to(nobody) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                await cut_off(reader)
            assert [type(error) for error in forwarding.failures] == [ConnectionRefusedError]

    run(scenario())


def test_an_upstream_with_a_name_that_cannot_be_is_told_like_one_that_is_down() -> None:
    async def scenario() -> None:
        async with forwarding_to(("a..b", 80)) as forwarding:
            reader, writer = await forwarding.connect()
            with closing(writer):
                await cut_off(reader)
            assert [type(error) for error in forwarding.failures] == [UnicodeError]

    run(scenario())


def test_where_the_upstream_does_not_answer_the_client_is_cut_off_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_UPSTREAM_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server((LOOPBACK, 0), backlog=0) as deaf:
            waiting = [socket.socket() for _ in range(4)]
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(deaf.getsockname())
            async with forwarding_to(deaf.getsockname()) as forwarding:
                reader, writer = await forwarding.connect()
                begun_s = loop.time()
                with closing(writer):
                    await cut_off(reader)
                assert loop.time() - begun_s < 5
                assert [type(error) for error in forwarding.failures] == [TimeoutError]
            for each in waiting:
                each.close()

    run(scenario())
