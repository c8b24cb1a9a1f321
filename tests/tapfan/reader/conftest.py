"""What the tests of the reader share: real Redis servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.writers.servers import Server

Servers = Callable[[], Server]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Starts real Redis servers, and ends them after the test."""
    with ExitStack() as stack:
        made: list[Server] = []

        def start() -> Server:
            made.append(stack.enter_context(closing(Server(tmp_path / f"redis-{len(made)}"))))
            return made[-1]

        yield start


@pytest.fixture
def server(servers: Servers) -> Server:
    """A real Redis server."""
    return servers()
