"""A server on a real socket that answers commands as a test says, in the pieces that it says."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import hiredis

# Gives the pieces of the bytes to answer a command with; an empty piece closes the connection.
Answer = Callable[[list[bytes]], list[bytes]]
_DEADLINE_S = 20.0


def commands_of(data: bytes) -> list[list[bytes]]:
    """The commands, each with its arguments, that a client has sent."""
    reader = hiredis.Reader()
    reader.feed(data)
    commands = []
    while (command := reader.gets()) is not False:
        commands.append(command)
    return commands


@contextmanager
def serving(answer: Answer) -> Iterator[int]:
    """Serve one connection after the other; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(_DEADLINE_S)
        ending = threading.Event()
        thread = threading.Thread(target=_serve, args=(listening, answer, ending))
        thread.start()
        port: int = listening.getsockname()[1]
        try:
            yield port
        finally:
            ending.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join(_DEADLINE_S)


def _serve(listening: socket.socket, answer: Answer, ending: threading.Event) -> None:
    while not ending.is_set():
        connection, _ = listening.accept()
        with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):  # closed within an answer
            connection.settimeout(_DEADLINE_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _answer_all(connection, answer)


def _answer_all(connection: socket.socket, answer: Answer) -> None:
    """Answer commands until either side closes the connection."""
    reader = hiredis.Reader()
    while data := connection.recv(65_536):
        reader.feed(data)
        while (command := reader.gets()) is not False:
            # What redis-py says at the beginning is nothing that a test is about.
            for piece in [b"+OK\r\n"] if command[0] == b"CLIENT" else answer(command):
                if not piece:
                    return
                connection.sendall(piece)
