"""The programs as real processes on ports, sockets and folders of their own."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import redis

from tapfan.control import ControlClient, ControlTimeoutError
from tapfan.embedded_redis import configuration, find_server

DEADLINE_S = 20.0
_PAUSE_S = 0.02
ROOT = Path(__file__).parents[2]
READING = "reading"  # the program that reads a capture file

_MAX_WORKERS = 8
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _MAX_WORKERS
_random = random.SystemRandom()  # which hypothesis does not begin anew
_given_ports: deque[int] = deque(maxlen=100)

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], what: str | Callable[[], str], deadline_s: float = DEADLINE_S) -> T:
    """The condition's value as soon as it is true. Raises AssertionError at the deadline, with how things are then."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(_PAUSE_S)
    return value


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that nobody uses now, below those that the kernel gives to clients.

    Nor was it given a moment ago, to be used soon; those of other workers of pytest are others.
    """
    while True:
        port = _random.randrange(15_000 + _WORKER, 32_000, _MAX_WORKERS)
        if port in _given_ports:
            continue
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as trial,
        ):
            trial.bind((address, port))
            _given_ports.append(port)
            return port


class Programs:
    """Starts and ends tapfan's programs, by the names that supervisord.conf gives them.

    A name such as `listener-second` is that of one more listener, of the same configuration, that serves nobody.
    `listener`, `top`: what to put into the configuration's [listener] and before all sections; `weights`: the
    writers; `netns`: the network namespace that the listener runs in; `durable`: with Redis servers that lose nothing
    when they are killed; `given`: what else to put into a writer's section, of those whose Redis the test itself runs.
    """

    def __init__(
        self,
        folder: Path,
        listener: Mapping[str, Any] | None = None,
        top: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        netns: str | None = None,
        *,
        durable: bool = False,
        given: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.run_dir.mkdir(mode=0o700, exist_ok=True)
        self.port = free_port()
        self._writers = weights or {"a": 30, "b": 70}
        self.redis_ports = {name: free_port() for name in self._writers if name not in (given or {})}
        self.config = folder / "tapfan.toml"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ready_before: dict[str, int] = {}  # how often a program had said so before its last start
        self._netns = netns
        self._durable = durable
        self._listener = (listener or {}).get("name", "local")
        options = {"listen": [f"127.0.0.1:{self.port}"], "source": "accept"} | dict(listener or {})
        sections = [f"{key} = {json.dumps(value)}" for key, value in (top or {}).items()]
        sections += ["[listener]", *(f"{key} = {json.dumps(value)}" for key, value in options.items())]
        for name, weight in self._writers.items():
            redis_keys = {"redis": f"redis://127.0.0.1:{self.redis_ports[name]}/0"} if name in self.redis_ports else {}
            keys = {"name": name, "weight": weight} | redis_keys | dict((given or {}).get(name, {}))
            sections += ["[[writers]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        self.config.write_text("\n".join(sections) + "\n", encoding="utf-8")

    @property
    def names(self) -> list[str]:
        """All programs, in the order of starting."""
        redises = [f"redis-{name}" for name in self.redis_ports]
        return [*redises, "router", *(f"writer-{name}" for name in self._writers), "listener"]

    def start(self, *names: str, under: Sequence[str] = (), as_shipped: bool = False) -> None:
        """Start programs, all of them when none is named; `under`: a command that becomes them.

        A Redis is started as what `tapfan.embedded_redis` becomes; `as_shipped`: by that, as supervisord does it.
        """
        for name in names or self.names:
            if name.startswith("redis-") and not as_shipped:
                self._spawn(name, self._redis_server(name.removeprefix("redis-")), {})
            else:
                self._start(name, under)

    def _start(self, name: str, under: Sequence[str]) -> None:
        kind, _, argument = name.partition("-")
        module = {"redis": "tapfan.embedded_redis", "writer": "writers"}.get(kind, kind)
        environment = {}
        if kind == "listener" and argument:
            environment = {"TAPFAN_LISTENER__NAME": argument, "TAPFAN_LISTENER__SERVE": "none"}
            argument = ""
        command = [*under, sys.executable, "-m", module, *([argument] if argument else [])]
        command += ["--config", str(self.config)]
        if self._netns and kind == "listener":
            command = ["ip", "netns", "exec", self._netns, *command]
        self._spawn(name, command, environment)

    def read(self, *arguments: str, stdin: int | IO[bytes] = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
        """Start the listener that reads a capture file, as `reading`; `arguments`: from `--read` on."""
        self._spawn(READING, [sys.executable, "-m", "listener", "--config", str(self.config), *arguments], {}, stdin)
        return self.processes[READING]

    def wait_read(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait until that has ended by itself; gives its exit code."""
        return self.processes.pop(READING).wait(deadline_s)

    def _spawn(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        stdin: int | IO[bytes] = subprocess.DEVNULL,
    ) -> None:
        self._ready_before[name] = self._times_ready(name)
        with self.log_file(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | environment,
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _redis_server(self, writer: str) -> list[str]:
        """A server that keeps nothing on disk; or a durable one, that writes each command to its file first."""
        port = self.redis_ports[writer]
        if not self._durable:
            file = self.run_dir / f"redis-{writer}.conf"
            file.write_text(configuration(port, self.run_dir), encoding="utf-8")
            return [str(find_server()), str(file)]
        folder = self.folder / f"redis-{writer}"
        folder.mkdir(exist_ok=True)
        options = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": ""}
        options |= {"appendonly": "yes", "appendfsync": "no"}
        return [str(find_server()), *(str(part) for key, value in options.items() for part in (f"--{key}", value))]

    def failed_start(self, name: str, under: Sequence[str] = ()) -> tuple[int, str]:
        """Start a program that cannot run; gives its exit code and its output."""
        before = self._ready_before.get(name, 0)
        self._start(name, under)
        self._ready_before[name] = before
        code = self.processes[name].wait(DEADLINE_S)  # one that runs all the same is ended by `close`
        del self.processes[name]
        return code, self.log(name)

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the `tapfan` command on an 80 columns wide terminal."""
        return subprocess.run(
            [sys.executable, "-m", "tapfan.cli", *arguments, "--config", str(self.config)],
            cwd=ROOT,
            env=os.environ | {"COLUMNS": "80"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def wait_ready(self) -> None:
        """Wait until those that were started are ready: Redis servers answer, writers are up, the router knows all."""
        starting = dict.fromkeys(self.processes)

        def ready() -> bool:
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended:\n{self.log(name)}"
            for name in [*starting]:
                if not self._has_started(name):
                    return False
                del starting[name]
            with contextlib.suppress(ControlTimeoutError):
                status = self.status(timeout_s=1.0)
                up = {f"writer-{name}" for name, writer in status["writers"].items() if writer["health"] == "up"}
                up |= {self._program(name) for name in status["listeners"]}
                return all(name in up for name in self.processes if name.startswith(("writer", "listener")))
            return False

        wait_for(ready, f"all ready; logs in {self.run_dir}")

    def _program(self, listener: str) -> str:
        """The program that is a listener with this name."""
        return "listener" if listener == self._listener else f"listener-{listener}"

    def _has_started(self, name: str) -> bool:
        """Whether a program says so itself, a Redis by its answer, once it has loaded what it had."""
        if not name.startswith("redis"):
            return self._times_ready(name) > self._ready_before[name]
        with contextlib.suppress(redis.ConnectionError), self.redis(name.removeprefix("redis-")) as client:
            return bool(client.ping())
        return False

    def _times_ready(self, name: str) -> int:
        return self.log(name).count("event=ready") if self.log_file(name).exists() else 0

    def log_file(self, name: str) -> Path:
        """Where a program's output goes."""
        return self.run_dir / f"{name}.log"

    def log(self, name: str) -> str:
        """A program's output so far."""
        return self.log_file(name).read_text(encoding="utf-8", errors="replace")

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program."""
        self.processes[name].send_signal(number)

    def stop(self, name: str) -> int:
        """Ask a program to end, and wait for it; gives its exit code."""
        self.signal(name, signal.SIGTERM)
        return self.processes.pop(name).wait(DEADLINE_S)

    def stop_all(self, *names: str) -> None:
        """Ask programs to end, all at once, and wait for them."""
        for name in names:
            self.signal(name, signal.SIGTERM)
        for name in names:
            assert self.processes.pop(name).wait(DEADLINE_S) == 0, name

    def kill(self, name: str) -> None:
        """End a program at once."""
        self.signal(name, signal.SIGKILL)
        self.processes.pop(name).wait(DEADLINE_S)

    def close(self) -> None:
        """End all that still runs, and whatever they started."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(DEADLINE_S)
        self.processes.clear()

    def endpoint(self, name: str) -> str:
        """One of the router's ZeroMQ endpoints."""
        return f"ipc://{self.run_dir}/{name}.ipc"

    @contextlib.contextmanager
    def control(self, timeout_s: float = 5.0) -> Iterator[ControlClient]:
        """A client of the control channel."""
        with ControlClient(self.endpoint("control"), timeout_s) as client:
            yield client

    def status(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """The router's status."""
        with self.control(timeout_s) as client:
            return client.status()

    def wait_settled(self, captured: int, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """The status once so many records were captured, at least, and all of them are stored or expired."""

        def settled() -> dict[str, Any] | None:
            status = self.status()
            ledger = status["ledger"]
            done = ledger["captured"] >= captured and ledger["in_flight"] == 0 and ledger["balanced"]
            return status if done else None

        def how_it_is() -> str:
            status = self.status()
            drops = {name: each["kernel_drops"] for name, each in status["listeners"].items()}
            return f"{captured} records settled, but {status['ledger']}, kernel drops {drops}"

        return wait_for(settled, how_it_is, deadline_s)

    def redis(self, name: str) -> redis.Redis:
        """A client of a writer's Redis."""
        return redis.Redis(port=self.redis_ports[name], decode_responses=True, protocol=2)

    def keys(self, name: str) -> list[str]:
        """All keys of a writer's Redis."""
        with self.redis(name) as client:
            return list(client.scan_iter(count=1000))


@contextlib.contextmanager
def everything_runs(folder: Path, **options: Any) -> Iterator[Programs]:
    """All programs, with these options (of `Programs`), ready; they are ended afterwards."""
    programs = Programs(folder, **options)
    try:
        programs.start()
        programs.wait_ready()
        yield programs
    finally:
        programs.close()
