"""The thread that stores: shares in, outcomes out. Apart from ZeroMQ, as a call to Redis may take seconds."""

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from tapfan.batch import Batch
from writers.commands import Commands, pack
from writers.store import TIMEOUT_S, Store, StoreError, Vitals

_SLICE_RECORDS = 4096  # packed at once: 1 MiB of commands
_CHECK_PERIOD_S = 0.5
_BACKOFF_S = (0.1, 2.0)  # the first and the longest pause after a failure
STOP_TIMEOUT_S = TIMEOUT_S + 1.0


@dataclass(frozen=True)
class StoredShare:
    """A share is done: how many of its records are stored, and how many had expired before."""

    router: str
    number: int
    stored: int
    expired: int


@dataclass(frozen=True)
class Health:
    """Whether Redis takes records, and if not, why; and what the last check that it answered has measured."""

    healthy: bool
    reason: str = ""
    vitals: Vitals | None = None


class Storing:
    """Stores one share after the other, each until Redis has taken all of it.

    `ready_fd` becomes readable when there are outcomes to take.
    """

    def __init__(self, store: Store, ttl_s: float) -> None:
        self._store = store
        self._ttl_ms = round(ttl_s * 1000)
        self._shares: SimpleQueue[tuple[str, int, Batch] | None] = SimpleQueue()
        self._outcomes: deque[StoredShare | Health] = deque()
        self._health = Health(False, "connecting")
        self._wanted = ("", 0)  # the router whose shares are, and from which number on
        self._next_check_s = 0.0
        self._passed = False  # the last check
        self._refuses = False  # whether it has not taken the last records
        self._call_begun_s: float | None = None
        self._stop = threading.Event()
        self.ready_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="storing", daemon=True)
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether the thread does; only a fault of ours ends it before it is stopped."""
        return self._thread.is_alive()

    @property
    def unanswered_s(self) -> float:
        """For how long Redis has not answered the call at hand; 0 when there is none."""
        begun_s = self._call_begun_s
        return 0.0 if begun_s is None else time.monotonic() - begun_s

    def want(self, router: str, base: int) -> None:
        """Only shares of this router's are still to be stored, and of those none below `base`: others have them."""
        self._wanted = (router, base)

    def add(self, router: str, number: int, share: Batch) -> None:
        """Store this share after those added before."""
        self._shares.put((router, number, share))

    def outcomes(self) -> list[StoredShare | Health]:
        """What has happened since the last call."""
        try:
            os.eventfd_read(self.ready_fd)
        except BlockingIOError:
            return []
        taken = []
        while self._outcomes:
            taken.append(self._outcomes.popleft())
        return taken

    def stop(self) -> bool:
        """Finish the slice at hand, no more; False when Redis holds it up for longer than its timeout."""
        self._stop.set()
        self._shares.put(None)
        self._thread.join(STOP_TIMEOUT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._check()
        while not self._stop.is_set():
            try:
                entry = self._shares.get(timeout=max(0.0, self._next_check_s - time.monotonic()))
            except Empty:
                self._check()
                continue
            if entry is not None:
                self._store_share(*entry)
        self._store.close()

    def _is_wanted(self, router: str, number: int) -> bool:
        wanted_router, base = self._wanted
        return router == wanted_router and number >= base

    def _store_share(self, router: str, number: int, share: Batch) -> None:
        stored = expired = 0
        for start in range(0, len(share), _SLICE_RECORDS):
            part = share[start : start + _SLICE_RECORDS]
            pause = _BACKOFF_S[0]
            while not self._stop.is_set() and self._is_wanted(router, number):
                commands = pack(part, self._ttl_ms, time.time_ns() // 1_000_000)
                # What has expired says nothing about Redis, which need not be asked for it.
                if not commands.count or (self._passes() and self._is_taken(commands)):
                    stored += commands.count
                    expired += commands.expired
                    break
                self._stop.wait(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, _BACKOFF_S[1])
            else:
                return
        self._tell(StoredShare(router, number, stored, expired))

    def _passes(self) -> bool:
        """Whether Redis is fit to take records; while it refuses some, trying these again is the check."""
        if not self._refuses and (not self._passed or time.monotonic() >= self._next_check_s):
            self._check()
        return self._refuses or self._passed

    def _is_taken(self, commands: Commands) -> bool:
        self._refuses = not self._attempt(partial(self._store.set_all, commands))
        return not self._refuses

    def _check(self) -> None:
        self._next_check_s = time.monotonic() + _CHECK_PERIOD_S
        self._passed = self._attempt(partial(self._store.check, trial=self._refuses))
        self._refuses &= not self._passed

    def _attempt(self, call: Callable[[], Vitals | None]) -> bool:
        """Make a call to Redis; what it shows of Redis's health is told."""
        self._call_begun_s = time.monotonic()
        try:
            vitals = call()
        except StoreError as error:
            health = Health(False, str(error)[:400], self._health.vitals)
        else:
            health = Health(True, "", vitals or self._health.vitals)
        finally:
            self._call_begun_s = None
        if health != self._health:
            self._health = health
            self._tell(health)
        return health.healthy

    def _tell(self, outcome: StoredShare | Health) -> None:
        self._outcomes.append(outcome)
        os.eventfd_write(self.ready_fd, 1)
