"""A router with what is configured, and a client of it."""

from collections.abc import Iterator

import pytest

from tests.process.control.asked import CONFIGURED, READY
from tests.process.control.plain_client import Control
from tests.process.running import Programs, everything_runs


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with everything_runs(tmp_path_factory.mktemp("controlled"), weights=CONFIGURED) as programs:
        yield programs


@pytest.fixture
def control(running: Programs) -> Iterator[Control]:
    """The client, of a router with what is configured."""
    with Control(running.endpoint("control")) as client:
        for name in client.do("weights")["weights"].keys() - CONFIGURED.keys():
            client.do("remove", name=name, force=True)
        client.do("state", states=READY)
        client.do("weights", weights=CONFIGURED)
        client.do("ttl", ttl="5m")
        yield client
