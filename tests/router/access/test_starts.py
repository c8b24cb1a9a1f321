"""What a router needs to start with keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq
from structlog.testing import CapturingLogger

from router.access import Access
from tapfan import sockets
from tapfan.keyring import Keyring
from tapfan.logs import Repeated
from tapfan.program import CannotRunError
from tapfan.settings import Settings, load
from tests.router.access.gates import WRITERS, Clients, Router, key_of


def _settings(tmp_path: Path) -> Settings:
    file = tmp_path / "tapfan.toml"
    file.write_text(f'router.key = "keys/router.key"\n{WRITERS}')
    return load(file)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda _ring: None, "cannot read the key file .*No such file"),
        (lambda ring: ring.make_router().file.chmod(0o644), "others may read or write"),
        (
            lambda ring: (ring.make_router(), ring.make("x", "read").file.replace(ring.router_file)),
            "the key x has the role read; needed is router",
        ),
    ],
)
def test_it_does_not_start_without_good_keys(tmp_path: Path, change: Callable[[Keyring], object], problem: str) -> None:
    change(Keyring(tmp_path / "keys/router.key"))
    log: Any = CapturingLogger()
    with zmq.Context() as context, pytest.raises(CannotRunError, match=problem):
        Access(_settings(tmp_path), context, log, Repeated(log))


def test_an_endpoint_in_use_is_told(router: Router, clients: Clients) -> None:
    endpoint = router.settings.served("control")
    assert endpoint
    socket = clients.keep(router.context.socket(zmq.ROUTER))
    with pytest.raises(CannotRunError, match=f"cannot bind {endpoint}: Address already in use"):
        sockets.open_to_others(socket, endpoint, key_of(router, "router"), "control", sockets.Bounds())
