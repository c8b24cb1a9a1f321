"""Asking the router in a thread of its own, so that no key waits for an answer."""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tapfan.control import ControlClient

_REST_S = 1.0  # after a refusal that comes at once, as of a key that was revoked


@dataclass(frozen=True)
class Answer:
    """What came of a request: a result, or why there is none. `is_change`: of a request that changes something.

    An error that is neither of ControlError, ControlTimeoutError and CannotRunError is a bug.
    """

    command: str
    is_change: bool
    result: Mapping[str, Any] | None
    error: Exception | None = None


class Asker:
    """Asks one request after the other; `wake`: a file descriptor to write a byte to when an answer is there."""

    def __init__(self, client: ControlClient, wake: int) -> None:
        self._client = client
        self._wake = wake
        self._requests: queue.SimpleQueue[tuple[str, Mapping[str, Any], bool]] = queue.SimpleQueue()
        self._answers: deque[Answer] = deque()
        self._pending: set[str] = set()
        self._rests_until_s = 0.0
        # A daemon: one that waits for a router that is away must hold up nobody who quits.
        threading.Thread(target=self._run, daemon=True).start()

    def ask(self, command: str, arguments: Mapping[str, Any]) -> None:
        """Ask what changes something."""
        self._requests.put((command, arguments, True))

    def look(self, command: str, **arguments: Any) -> None:
        """Ask what changes nothing, if that is not asked already, and not at once again after an error."""
        if command not in self._pending and time.monotonic() >= self._rests_until_s:
            self._pending.add(command)
            self._requests.put((command, arguments, False))

    def answers(self) -> list[Answer]:
        """Those that came since the last call."""
        found = [self._answers.popleft() for _ in range(len(self._answers))]
        self._pending -= {answer.command for answer in found if not answer.is_change}
        if any(answer.error is not None and not answer.is_change for answer in found):
            self._rests_until_s = time.monotonic() + _REST_S
        return found

    def _run(self) -> None:
        while True:
            command, arguments, is_change = self._requests.get()
            try:
                request = self._client.change if is_change else self._client.request
                answer = Answer(command, is_change, request(command, **arguments))
            except Exception as error:  # for the other thread, which shows or raises it
                answer = Answer(command, is_change, None, error)
            self._answers.append(answer)
            with suppress(BlockingIOError):  # it is full: whoever reads it wakes up all the same
                os.write(self._wake, b"\0")
