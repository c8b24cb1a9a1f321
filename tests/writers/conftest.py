"""What the tests of the writers share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tapfan.sections import Layout
from tests.writers.servers import Server, starting
from tests.writers.storer import DEADLINE_S, ROUTER, ScriptedRedis, Start, Storer
from writers import storing
from writers.layouts import shaping
from writers.storing import Storing

_LINGER_S = 0.02


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Starts real Redis servers, and ends them after the test."""
    with starting(tmp_path) as start:
        yield start


@pytest.fixture
def server(servers: Callable[[], Server]) -> Server:
    """A real Redis server."""
    return servers()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a thread that stores what ROUTER sends, with the failures of its first calls to Redis.

    It does not wait long to try again, and checks Redis once, at its start.
    """
    monkeypatch.setattr(storing, "_BACKOFF_S", (0.001, 0.004))
    monkeypatch.setattr(storing, "_CHECK_PERIOD_S", 10 * DEADLINE_S)
    started: list[Storer] = []

    def begin(*failures: str, layout: Layout = "record") -> Storer:
        redis = ScriptedRedis(*failures)
        started.append(Storer(Storing(redis, shaping(layout, _LINGER_S)), redis))
        started[-1].storing.want(ROUTER, 0)
        return started[-1]

    yield begin
    for storer in started:
        storer.redis.may_go_on.set()
        assert storer.storing.stop()
