"""Real TCP connections to the listener."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor


def connections(count: int, port: int, address: str = "127.0.0.1", data: bytes = b"hello") -> list[int]:
    """Open so many connections, send the data on each, close them, and see the other end closed too.

    Gives their source ports.
    """

    def one(_: int) -> int:
        with socket.create_connection((address, port), timeout=20) as connection:
            source_port: int = connection.getsockname()[1]
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
            return source_port

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


def chatter(port: int, stopped: threading.Event) -> None:
    """Send many small segments on one connection, as fast as the other end takes them, until stopped."""
    with socket.create_connection(("127.0.0.1", port), timeout=0.2) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                connection.sendall(b"x")
