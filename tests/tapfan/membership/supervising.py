"""A real supervisord, of a small file."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.process.running import wait_for

FILE = """
[supervisord]
nodaemon = true
logfile = %(here)s/supervisord.log
pidfile = %(here)s/supervisord.pid

[unix_http_server]
file = %(here)s/s.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://%(here)s/s.sock

[program:router]
command = sleep 600
stdout_logfile = %(here)s/router.log
"""


@contextmanager
def supervisord(file: Path) -> Iterator[None]:
    """It runs, with that file, which says of itself what FILE does."""
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(file)],
        cwd=file.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for(lambda: _answers(file.parent / "s.sock"), "supervisord listens")
        try:
            yield
        finally:
            process.terminate()


def _answers(path: Path) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as client:
        return client.connect_ex(str(path)) == 0
