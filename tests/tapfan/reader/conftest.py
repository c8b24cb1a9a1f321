"""What the tests of the reader share: real Redis servers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.writers.servers import Server, starting

Servers = Callable[[], Server]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Starts real Redis servers, and ends them after the test."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture
def server(servers: Servers) -> Server:
    """A real Redis server."""
    return servers()
