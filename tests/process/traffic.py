"""Real TCP connections to the listener."""

import socket
from concurrent.futures import ThreadPoolExecutor


def connections(count: int, port: int, address: str = "127.0.0.1", data: bytes = b"hello") -> None:
    """Open so many connections, send the data on each, close them, and see the other end closed too."""

    def one(_: int) -> None:
        with socket.create_connection((address, port), timeout=20) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count)))
