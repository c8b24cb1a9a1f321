"""Real TCP connections to the listener."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Self


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


class Load:
    """Small segments on one connection after another, as long as the block lasts, whoever does not listen meanwhile."""

    def __init__(self, port: int, pause_s: float = 0.001) -> None:
        self._port = port
        self._pause_s = pause_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.ports: list[int] = []  # of the connections that were opened, and answered by their end

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(50):
                    client.sendall(b"x")
                    self._stopped.wait(self._pause_s)
                client.shutdown(socket.SHUT_WR)
                if client.recv(1) == b"":
                    self.ports.append(client.getsockname()[1])
                continue
            self._stopped.wait(0.05)
