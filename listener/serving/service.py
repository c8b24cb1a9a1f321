"""The serving process: accepts connections on the endpoints until the listener goes."""

import asyncio
import contextlib
import errno
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from listener.serving.connections import Discard, Forward
from listener.serving.rows import Rows
from tapfan.logs import Repeated, open_log

_BACKLOG = 4096
_TELL_PERIOD_S = 5.0


async def serve(sockets: Sequence[int], upstream: str | None, rows_pipe: int | None) -> None:
    """Serve on listening sockets, given by descriptor, until standard input ends: the listener holds its other end."""
    # The listener stops us, by closing our input; a signal to the whole group of processes is for the listener.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _allow_many_connections()
    rows = Rows(rows_pipe) if rows_pipe is not None else None
    repeated = Repeated(open_log("listener"))
    factory = _factory(upstream, rows, repeated)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _tell(repeated, context))
    servers = []
    for descriptor in sockets:
        server = await loop.create_server(factory, sock=socket.socket(fileno=descriptor), backlog=_BACKLOG)
        servers.append(server)
    ended = asyncio.Event()
    await loop.connect_read_pipe(lambda: _UntilEnd(ended), sys.stdin)
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _TELL_PERIOD_S)
        repeated.tell()
    for server in servers:
        server.close()
    if rows is not None:
        with contextlib.suppress(BrokenPipeError):
            rows.flush()


def _factory(upstream: str | None, rows: Rows | None, repeated: Repeated) -> Callable[[], asyncio.BaseProtocol]:
    if upstream is None:
        return lambda: Discard(rows)
    host, _, port = upstream.rpartition(":")

    def failed(error: Exception) -> None:
        repeated.warn("upstream_failed", upstream=upstream, problem=str(error) or type(error).__name__)

    return lambda: Forward((host.strip("[]"), int(port)), rows, failed)


def _tell(repeated: Repeated, context: dict[str, Any]) -> None:
    """Warn of what asyncio would print a traceback of, once for each connection that waits."""
    error = context.get("exception")
    problem = context["message"] if error is None else f"{context['message']}: {error}"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        repeated.warn("too_many_connections", problem=problem, open_files_limit=limit, check="ulimit -n")
    else:
        repeated.warn("serving_failed", problem=problem)


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class _UntilEnd(asyncio.Protocol):
    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._ended.set()
