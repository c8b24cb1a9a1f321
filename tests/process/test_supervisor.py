"""`supervisord -c supervisord.conf`, as a user runs it."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from tapfan.control import ControlClient, ControlTimeoutError
from tests.process.running import DEADLINE_S, ROOT, free_port, wait_for
from tests.process.traffic import Load, connections

_BIN = Path(sys.executable).parent
_PROGRAMS = ["listener", "redis-a", "redis-b", "router", "writer-a", "writer-b"]


class Supervised:
    """The project's own supervisord.conf and tapfan.toml in another folder, on other ports.

    `under`: a command that becomes supervisord; `overrides`: more environment variables.
    """

    def __init__(self, folder: Path, under: Sequence[str] = (), **overrides: str) -> None:
        self.folder = folder
        self.port = free_port()
        (folder / "run").mkdir()
        for name in ("supervisord.conf", "tapfan.toml"):
            shutil.copy(ROOT / name, folder)
        self.environment = os.environ | {
            "PATH": f"{_BIN}:{os.environ['PATH']}",
            "TAPFAN_LISTENER__LISTEN": f"127.0.0.1:{self.port}",
            "TAPFAN_LISTENER__SOURCE": "accept",
            "TAPFAN_WRITERS__A__REDIS": f"redis://127.0.0.1:{free_port()}/0",
            "TAPFAN_WRITERS__B__REDIS": f"redis://127.0.0.1:{free_port()}/0",
            **overrides,
        }
        self._command = [*under, "supervisord", "-n", "-c", "supervisord.conf"]
        self.process = self._start()
        self.client = ControlClient(f"ipc://{folder}/run/control.ipc", 1.0)

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self._command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def restart(self) -> None:
        """Stop all of it, in order, and start it again."""
        self.process.terminate()
        self.process.wait(60)
        self.process = self._start()

    def run(self, *command: str) -> str:
        """What a command prints there."""
        finished = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        return finished.stdout + finished.stderr

    def states(self) -> dict[str, str]:
        """Each program's state, as supervisorctl shows it."""
        lines = self.run("supervisorctl", "status").splitlines()
        return {name: state for name, state, *_ in map(str.split, lines)}

    def pid(self, name: str) -> int:
        """A program's process id; 0 when it does not run."""
        return int(self.run("supervisorctl", "pid", name))

    def is_another(self, name: str, pid: int) -> bool:
        """Whether the program runs in another process than that."""
        return self.pid(name) not in (pid, 0)

    def log(self, name: str) -> str:
        """A program's log so far."""
        return (self.folder / f"run/{name}.log").read_text(encoding="utf-8")

    def ready(self) -> bool:
        """Whether all of it is."""
        try:
            status = self.client.status()
        except ControlTimeoutError:
            return False
        return bool(status["listeners"]) and all(writer["health"] == "up" for writer in status["writers"].values())

    def settled(self, records: int) -> bool:
        """Whether so many records were captured and are stored."""
        ledger = self.client.status()["ledger"]
        return bool(ledger["stored"] == records and ledger["in_flight"] == 0 and ledger["balanced"])


@contextmanager
def supervising(folder: Path, under: Sequence[str] = (), **overrides: str) -> Iterator[Supervised]:
    """Everything, ready; it is stopped afterwards."""
    made = Supervised(folder, under, **overrides)
    children: list[psutil.Process] = []
    try:
        wait_for(made.ready, "everything is ready", 40)
        children = psutil.Process(made.process.pid).children(recursive=True)
        yield made
    finally:
        made.client.close()
        made.process.terminate()
        try:
            made.process.wait(60)
        finally:
            for process in children:
                if process.is_running():
                    process.kill()
            made.process.kill()


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """Everything; each test leaves it running."""
    with supervising(tmp_path_factory.mktemp("supervised")) as made:
        yield made


def test_it_runs_stores_restarts_what_dies_and_stops_in_order(tmp_path: Path) -> None:
    with supervising(tmp_path) as supervised:
        _use(supervised)
        _stop(supervised)


def _use(supervised: Supervised) -> None:
    wait_for(lambda: supervised.states() == dict.fromkeys(_PROGRAMS, "RUNNING"), "all are RUNNING")

    connections(100, supervised.port)
    wait_for(lambda: supervised.settled(200), "all is stored")
    assert "balanced" in supervised.run("tapfan", "status")
    assert "70.0%" in supervised.run("tapfan", "weights", "a=70", "b=30")

    for name in ("writer-a", "listener"):
        pid = supervised.pid(name)
        os.kill(pid, signal.SIGKILL)
        wait_for(partial(supervised.is_another, name, pid), f"{name} runs again")
    wait_for(lambda: supervised.log("listener").count("event=ready") == 2, "the listener is ready again")
    wait_for(supervised.ready, "everything is ready again")
    connections(100, supervised.port)
    wait_for(lambda: supervised.settled(400), "all is stored")


def _stop(supervised: Supervised) -> None:
    everything = psutil.Process(supervised.process.pid).children(recursive=True)
    supervised.process.terminate()
    assert supervised.process.wait(60) == 0
    assert not [process for process in everything if process.is_running()]
    log = supervised.log("supervisord")
    stops = [line.split("stopped: ")[1].split()[0] for line in log.splitlines() if "stopped: " in line]
    assert stops[0] == "listener"
    assert set(stops[1:3]) == {"writer-a", "writer-b"}
    assert stops[3] == "router"
    assert "stopped_with_records_not_stored" not in supervised.log("listener")


def test_restarting_everything_at_once_under_load_loses_nothing(supervised: Supervised) -> None:
    """`restart all` stops the Redis servers, too: only what they had themselves is gone with them."""
    programs = ["router", "writer-a", "writer-b", "listener"]
    with Load(supervised.port):
        wait_for(lambda: supervised.client.status()["ledger"]["stored"] > 200, "the load is on")
        supervised.run("supervisorctl", "restart", *programs)
        wait_for(supervised.ready, "everything is ready again")
        before = supervised.client.status()["ledger"]["stored"]
        wait_for(lambda: supervised.client.status()["ledger"]["stored"] > before + 200, "more is stored")
        supervised.run("supervisorctl", "restart", "all")
        wait_for(supervised.ready, "everything is ready again")
    supervised.run("supervisorctl", "stop", "listener")
    wait_for(lambda: supervised.client.status()["ledger"]["in_flight"] == 0, "all is settled")
    ledger = supervised.client.status()["ledger"]
    assert (ledger["balanced"], ledger["lost"], ledger["spooled"]) == (True, {}, 0)
    assert ledger["stored"] == ledger["captured"] > 400
    supervised.run("supervisorctl", "start", "listener")
    wait_for(supervised.ready, "everything is ready again")


def test_what_dies_while_the_configuration_is_half_edited_is_back_when_that_is_done(supervised: Supervised) -> None:
    file = supervised.folder / "tapfan.toml"
    good = file.read_text(encoding="utf-8")
    file.write_text(f'{good}\n[[writers]]\nname = "c"\n', encoding="utf-8")
    killed = ("listener", "writer-a")
    starts = {name: supervised.log(name).count("event=ready") for name in killed}
    for name in killed:
        os.kill(supervised.pid(name), signal.SIGKILL)
    for name in killed:
        wait_for(partial(_says, supervised, name, "event=bad_configuration"), f"{name} says why it waits")
    assert "writers[2]" in supervised.log("listener")
    assert supervised.run("tapfan", "weights", "a=50", "b=50").count("warning") == 1, "steering goes on"
    file.write_text(good, encoding="utf-8")
    wait_for(lambda: all(supervised.log(name).count("event=ready") > starts[name] for name in killed), "both are back")
    wait_for(supervised.ready, "everything is ready")
    assert all(supervised.log(name).count("event=bad_configuration") == 1 for name in killed)


def _says(supervised: Supervised, name: str, text: str) -> bool:
    return text in supervised.log(name)


def test_nobody_else_can_reach_the_run_directory(supervised: Supervised) -> None:
    run_dir = supervised.folder / "run"
    assert run_dir.stat().st_mode & 0o777 == 0o700
    sockets = [path for path in run_dir.iterdir() if path.is_socket()]
    assert {path.name for path in sockets} >= {"control.ipc", "records.ipc", "shares.ipc", "supervisor.sock"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in sockets)
