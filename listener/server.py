"""The listener's handle on the process that serves its endpoints: started, restarted when it dies, stopped."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import time

from tapfan.endpoints import Endpoint
from tapfan.logs import Logger
from tapfan.program import CannotRunError
from tapfan.sections import ListenerSettings

_BIND_TIMEOUT_S = 3.0  # the process of a listener that was killed gives the port back a moment later
_BIND_RETRY_S = 0.1
_BACKLOG = 4096
_STOP_TIMEOUT_S = 2.0
_RESTART_PAUSE_S = 1.0
_PIPE_BYTES = 2**20


class Server:
    """Binds the endpoints, and serves them in a process of its own once started. Raises CannotRunError.

    With `records`, the process writes a row for each accept and chunk to `pipe`.
    """

    def __init__(self, settings: ListenerSettings, log: Logger, records: bool) -> None:
        self._settings = settings
        self._log = log
        self._sockets: list[socket.socket] = []
        try:
            for endpoint in settings.listen:
                self._sockets.append(_listening(endpoint))
        except CannotRunError:
            self._close_sockets()
            raise
        self._rows: int | None = None
        self._rows_end: int | None = None
        if records:
            self._rows, self._rows_end = _pipe()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._stop_by_s = 0.0

    @property
    def pipe(self) -> int:
        """The descriptor that rows can be read from, without waiting."""
        if self._rows is None:
            raise ValueError("this server makes no records")
        return self._rows

    def start(self) -> None:
        """Start the process; it has our rights."""
        self._process = self._popen()
        self._started_s = time.monotonic()

    def look_after(self) -> None:
        """Start the process again if it died."""
        if self._process is None or self._process.poll() is None:
            return
        if time.monotonic() - self._started_s < _RESTART_PAUSE_S:
            return
        self._log.error("serving_died", exit_code=self._process.returncode, then="started again")
        self.start()

    def stop(self) -> None:
        """Accept nothing more, and close all connections; what was recorded stays readable in the pipe."""
        self._stop_by_s = time.monotonic() + _STOP_TIMEOUT_S
        self._close_sockets()
        if self._process and self._process.stdin:
            self._process.stdin.close()
        if self._rows_end is not None:
            os.close(self._rows_end)
            self._rows_end = None

    def has_stopped(self) -> bool:
        """Whether the process has ended after `stop`; it is killed when it takes too long."""
        if self._process is None:
            return True
        if self._process.poll() is None and time.monotonic() > self._stop_by_s:
            self._process.kill()
            self._process.wait()
        return self._process.poll() is not None

    def _popen(self) -> subprocess.Popen[bytes]:
        descriptors = [str(listening.fileno()) for listening in self._sockets]
        command = [sys.executable, "-m", "listener.serving", "--sockets", *descriptors]
        passed = [listening.fileno() for listening in self._sockets]
        if self._settings.upstream is not None:
            command += ["--upstream", self._settings.upstream]
        if self._rows_end is not None:
            command += ["--rows", str(self._rows_end)]
            passed.append(self._rows_end)
        return subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=passed)

    def _close_sockets(self) -> None:
        for listening in self._sockets:
            listening.close()


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return reading, writing


def _listening(endpoint: Endpoint) -> socket.socket:
    deadline = time.monotonic() + _BIND_TIMEOUT_S
    while True:
        family = socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((str(endpoint.address), endpoint.port))
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            if time.monotonic() < deadline and error.errno == errno.EADDRINUSE:
                time.sleep(_BIND_RETRY_S)
                continue
            raise CannotRunError(f"cannot serve {endpoint}: {error.strerror}; {_advice(error)}") from error
        return listening


def _advice(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE"
    return (
        'see who has it with `ss -ltnp`, or set serve = "none" under [listener] to capture beside that server'
        if error.errno == errno.EADDRINUSE
        else "listen under [listener] must name addresses of this host"
    )
