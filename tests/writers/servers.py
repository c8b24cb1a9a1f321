"""A real redis-server of a test's own, on a unix socket: no port to find, and at once there."""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from tapfan.embedded_redis import find_server
from tapfan.sections import WriterSettings
from tests.process.running import DEADLINE_S, wait_for


@contextlib.contextmanager
def starting(folder: Path) -> Iterator[Callable[[], "Server"]]:
    """Starts as many as are asked for, and ends them all."""
    with contextlib.ExitStack() as stack:
        made: list[Server] = []

        def start() -> Server:
            made.append(stack.enter_context(contextlib.closing(Server(folder / f"redis-{len(made)}"))))
            return made[-1]

        yield start


class Server:
    """Runs from its making to its closing, with nothing on disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "redis.sock"
        options = {"port": "0", "unixsocket": str(self.path), "dir": str(folder), "save": "", "appendonly": "no"}
        command = [str(find_server()), *(part for key, value in options.items() for part in (f"--{key}", value))]
        with (folder / "redis.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.client = redis.Redis(unix_socket_path=str(self.path), decode_responses=True, protocol=2)
        wait_for(self._answers, f"redis-server answers; its log is in {folder}")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "redis-server ended"
        with contextlib.suppress(redis.ConnectionError):
            return bool(self.client.ping())
        return False

    def settings(self, path: Path | None = None, **given_settings: Any) -> WriterSettings:
        """A writer to it, or to what stands at another path."""
        return WriterSettings(name="a", redis=f"unix://{path or self.path}?db=0", weight=1, **given_settings)

    def configure(self, **options: object) -> None:
        """Set options of its configuration, whose names have dashes."""
        for name, value in options.items():
            self.client.config_set(name.replace("_", "-"), str(value))

    def run(self, *command: str) -> Any:
        """Run one command."""
        return self.client.execute_command(*command)

    def hold_up(self) -> None:
        """Let it answer nothing until it is let go on."""
        self._process.send_signal(signal.SIGSTOP)

    def let_go_on(self) -> None:
        """Let it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self.client.close()
        self._process.kill()
        self._process.wait(DEADLINE_S)
