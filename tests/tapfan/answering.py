"""A router's control socket, answered by a function in a thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import zmq

from tapfan import sockets

_POLL_MS = 10

Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


@contextmanager
def answering(endpoint: str, answer: Answer) -> Iterator[list[dict[str, Any]]]:
    """Answers each request, or not where the answer is None; gives the requests, as they come in."""
    requests: list[dict[str, Any]] = []
    done = threading.Event()
    with zmq.Context() as context, sockets.bound(context, zmq.ROUTER, endpoint) as socket:

        def answer_requests() -> None:
            while not done.is_set():
                if socket.poll(_POLL_MS):
                    *envelope, message = socket.recv_multipart()
                    requests.append(msgpack.unpackb(message))
                    reply = answer(requests[-1])
                    if reply is not None:
                        socket.send_multipart([*envelope, msgpack.packb({"id": requests[-1]["id"]} | reply)])

        thread = threading.Thread(target=answer_requests)
        thread.start()
        try:
            yield requests
        finally:
            done.set()
            thread.join()
