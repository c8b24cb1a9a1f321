"""Real TCP connections to the listener.

`python -m tests.process.traffic ADDRESS PORT CONNECTIONS` is what `Sending` runs.
"""

import contextlib
import fcntl
import json
import select
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from tests.cpus import one_cpu

_SEGMENTS_OUT_AT = 136  # of struct tcp_info, linux/tcp.h
_PAUSE_S = 0.005
_DEADLINE_S = 20.0


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


def segments_out(client: socket.socket) -> int:
    """How many segments the kernel has sent on a connection, by its own count."""
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SEGMENTS_OUT_AT + 4)
    segments: int = struct.unpack_from("=I", info, _SEGMENTS_OUT_AT)[0]
    return segments


def unacknowledged(client: socket.socket) -> int:
    """How many bytes the other end has not acknowledged, sent or not."""
    count = array("i", [0])
    fcntl.ioctl(client, termios.TIOCOUTQ, count)
    return count[0]


def inject(interface: str, content: Sequence[bytes]) -> int:
    """Send frames as they are on an interface, which come in in this order; gives how many."""
    with one_cpu(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((interface, 0))
        for frame in content:
            raw.send(frame)
    return len(content)


class Sending:
    """A process that sends segments on its own connections as long as the block lasts; `netns`: where it runs."""

    def __init__(self, address: str, port: int, connections: int, netns: str | None = None) -> None:
        self._command = [sys.executable, "-m", "tests.process.traffic", address, str(port), str(connections)]
        if netns:
            self._command = ["ip", "netns", "exec", netns, *self._command]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            pass

    def pause(self) -> dict[int, int]:
        """Send nothing until resumed; gives the segments sent so far, all acknowledged, by the source port."""
        self._say("pause")
        assert self._process.stdout
        found = json.loads(self._process.stdout.readline())
        return {int(port): segments for port, segments in found.items()}

    def resume(self) -> None:
        """Send again."""
        self._say("resume")

    def _say(self, word: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()


def _send(address: str, port: int, count: int) -> None:
    """Send a byte on each connection, again and again; each line on standard input pauses or resumes, its end ends."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection((address, port), timeout=_DEADLINE_S)) for _ in range(count)
        ]
        for client in clients:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            for client in clients:
                client.sendall(b"x")
            if not select.select([sys.stdin], [], [], _PAUSE_S)[0]:
                continue
            if not sys.stdin.readline():
                return
            end = time.monotonic() + _DEADLINE_S
            while any(map(unacknowledged, clients)) and time.monotonic() < end:
                time.sleep(_PAUSE_S)
            sys.stdout.write(json.dumps({client.getsockname()[1]: segments_out(client) for client in clients}) + "\n")
            sys.stdout.flush()
            if not sys.stdin.readline():
                return


if __name__ == "__main__":
    _send(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
