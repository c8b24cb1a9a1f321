"""tapfan on two hosts: the router on this one, with a writer and a listener, and another of each in a namespace."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapfan import keys
from tapfan.control import ControlClient
from tapfan.keyring import Keyring
from tapfan.keys import ClientRole, Key
from tapfan.reach import ENDPOINTS, EndpointName
from tests.process.namespace import Namespace
from tests.process.running import DEADLINE_S, ROOT, Programs, free_port, wait_for
from tests.process.traffic import connections
from tests.writers.servers import Server

_SETTINGS = {"records": "router.records", "shares": "router.shares"}
_SETTINGS |= {"control": "control.endpoint", "events": "control.events"}
EDGE_PORT = 9000
_KEYS: dict[str, ClientRole] = {"edge": "listener", "store": "writer", "laptop": "admin", "reader": "read"}


@dataclass
class TwoHosts:
    """`here`: the router's host, whose configuration has the writers a and b; `there`: the other one.

    There are the listener `edge` and the writer b, whose Redis is `server`, with the keys edge.key and store.key, and
    the command with laptop.key, of the role admin; reader.key may only read.
    """

    here: Programs
    there: Programs
    space: Namespace
    server: Server
    endpoints: dict[EndpointName, str]
    sent: int = 0  # records, by `send`

    @property
    def address(self) -> str:
        """Where the router is, for the other host."""
        return self.space.address.removesuffix("2") + "1"

    def start(self) -> None:
        """Make the keys, start everything, and wait until the router knows all."""
        self.keyring.make_router()
        for name, role in _KEYS.items():
            self.keyring.make(name, role).file.rename(self.there.folder / f"{name}.key")
        self.here.start("redis-a", "router", "writer-a", "listener")
        self.here.wait_ready()
        self.start_there("listener", "writer-b")
        wait_for(lambda: self.is_up("edge") and self.is_up("b"), f"all are up; logs in {self.there.run_dir}")

    def start_there(self, *names: str) -> None:
        """Start programs on the other host."""
        self.there.start(*names, under=["ip", "netns", "exec", self.space.name])

    def is_up(self, name: str) -> bool:
        """Whether the router says so of a listener or a writer."""
        status = self.here.status()
        known = status["listeners"] | status["writers"]
        return name in known and known[name]["health"] == "up"

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the `tapfan` command on the other host."""
        inside = ["ip", "netns", "exec", self.space.name, sys.executable, "-m", "tapfan.cli"]
        return subprocess.run(
            [*inside, *arguments, "--config", str(self.there.config)],
            cwd=ROOT,
            env=os.environ | {"COLUMNS": "80"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def send(self, count: int) -> None:
        """Make so many connections to the listener of the other host: two records each."""
        connections(count, EDGE_PORT, self.space.address)
        self.sent += 2 * count

    def wait_stored(self) -> dict[str, Any]:
        """The status once all that was sent is stored."""
        status = self.here.wait_settled(self.sent)
        assert status["ledger"]["stored"] == status["ledger"]["captured"] == self.sent
        return status

    @property
    def keyring(self) -> Keyring:
        """The router's keys."""
        return Keyring(self.here.folder / "keys" / "router.key")

    def key(self, name: str) -> Key:
        """A key of the other host, by its name."""
        return keys.read(self.there.folder / f"{name}.key")

    def client(self, key: Key, timeout_s: float = 5.0) -> ControlClient:
        """A client of the encrypted endpoint, from an address that is not loopback."""
        return ControlClient(self.endpoints["control"], timeout_s, key)

    def wait_logged(self, *texts: str) -> str:
        """The router's log once it has a line with all of these texts; gives the line."""

        def line() -> str | None:
            lines = self.here.log("router").splitlines()
            return next((line for line in lines if all(text in line for text in texts)), None)

        return wait_for(line, f"logged: {texts}; the log: {self.here.log('router')[-3000:]}")

    def secrets(self) -> list[str]:
        """All secrets that were made."""
        files = [*self.here.folder.glob("keys/*.key"), *self.there.folder.glob("*.key")]
        return [keys.read(file).secret.get_secret_value() for file in files]


@contextlib.contextmanager
def two_hosts(folder: Path, space: Namespace) -> Iterator[TwoHosts]:
    """Two hosts, nothing of them started yet; ended afterwards."""
    address = space.address.removesuffix("2") + "1"
    endpoints: dict[EndpointName, str] = {name: f"tcp://{address}:{free_port(address)}" for name in ENDPOINTS}
    top = {_SETTINGS[name]: endpoint for name, endpoint in endpoints.items()}
    for name in ("here", "there"):
        (folder / name).mkdir()
    with contextlib.closing(Server(folder / "redis-b")) as server:
        redis = {"redis": f"unix://{server.path}?db=0"}
        here = Programs(folder / "here", top=top | {"router.key": "keys/router.key"}, given={"b": redis})
        there = Programs(
            folder / "there",
            {"name": "edge", "listen": [f"{space.address}:{EDGE_PORT}"], "key": "edge.key"},
            top | {"control.key": "laptop.key"},
            {"b": 70},
            given={"b": redis | {"key": "store.key"}},
        )
        with contextlib.closing(here), contextlib.closing(there):
            yield TwoHosts(here, there, space, server, endpoints)
