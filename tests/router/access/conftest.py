"""A router that is open to other hosts, and clients of it, on loopback."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from structlog.testing import CapturingLogger

from router.access import IO_THREADS
from tapfan import keys
from tapfan.keyring import Keyring
from tapfan.keys import ClientRole
from tapfan.reach import ENDPOINTS
from tapfan.settings import load
from tests.process.running import free_port
from tests.router.access.gates import WRITERS, Clients, Context, Router


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    """A router with a key and every role's client, `admin`, `read`, `listener`, `writer`; on loopback."""
    ring = Keyring(tmp_path / "keys/router.key")
    ring.make_router()
    roles: tuple[ClientRole, ...] = keys.CLIENT_ROLES
    for role in roles:
        ring.make(role, role)
    places = {name: f"tcp://127.0.0.1:{free_port()}" for name in ENDPOINTS}
    file = tmp_path / "tapfan.toml"
    file.write_text(
        f'router.key = "keys/router.key"\nrouter.records = "{places["records"]}"\n'
        f'router.shares = "{places["shares"]}"\n'
        f'control.endpoint = "{places["control"]}"\ncontrol.events = "{places["events"]}"\n' + WRITERS
    )
    (tmp_path / "run").mkdir()
    context: Context = zmq.Context(IO_THREADS)
    try:
        yield Router(load(file), ring, context, CapturingLogger())
    finally:
        context.destroy(linger=0)


@pytest.fixture
def clients() -> Iterator[Clients]:
    """What clients have."""
    with contextlib.closing(Clients()) as made:
        yield made
