"""The thread that stores: shares in, outcomes out. Apart from ZeroMQ, as a call to Redis may take seconds."""

import os
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue

from tapfan.messages import cut
from writers.cluster import ClusterStore
from writers.commands import Commands
from writers.layouts import Packed, Shaping, Share
from writers.load import Load
from writers.store import TIMEOUT_S, RefusedError, Store, StoreError
from writers.vitals import Vitals

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
    """Whether Redis takes records, and if not, why; and what it measured then, None where it does not answer."""

    healthy: bool
    reason: str = ""
    vitals: Vitals | None = None


class Storing:
    """Stores shares in the order in which they come, each until Redis has taken all of it.

    `ready_fd` becomes readable when there are outcomes to take.
    """

    def __init__(self, store: Store | ClusterStore, shaping: Shaping) -> None:
        self._store = store
        self._shaping = shaping
        self._shares: SimpleQueue[Share | None] = SimpleQueue()
        self._held: Share | None = None  # taken from the queue, and to be the next
        self._outcomes: deque[StoredShare | Health] = deque()
        self._health = Health(False, "connecting")
        self._wanted = ("", 0)  # the router whose shares are, and from which number on
        self._next_check_s = 0.0
        self._passed = False  # the last check
        self._refuses = False  # whether it has not taken the last records
        self._call_begun_s: float | None = None
        self.load = Load()
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

    def add(self, share: Share) -> None:
        """Store this share after those added before."""
        self._shares.put(share)

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
            share = self._next_share(max(0.0, self._next_check_s - time.monotonic()))
            if share is not None:
                self._store_all(self._gathered(share))
            elif time.monotonic() >= self._next_check_s:
                self._check()
        self._store.close()

    def _next_share(self, timeout_s: float) -> Share | None:
        """The next share; None when none comes in that time, or when we are to stop."""
        held, self._held = self._held, None
        if held is not None:
            return held
        try:
            return self._shares.get(timeout=timeout_s)
        except Empty:
            return None

    def _gathered(self, share: Share) -> list[Share]:
        """The share, and those that come within a short while and are to be stored together with it."""
        shares, records = [share], len(share)
        until_s = time.monotonic() + self._shaping.hold_s
        while records < self._shaping.enough:
            following = self._next_share(max(0.0, until_s - time.monotonic()))
            if following is None:
                break
            records += len(following)
            if (following.router, following.ttl_ms) != (share.router, share.ttl_ms) or records > self._shaping.most:
                self._held = following
                break
            shares.append(following)
        return shares

    def _is_wanted(self, share: Share) -> bool:
        router, base = self._wanted
        return share.router == router and share.number >= base

    def _store_all(self, shares: Sequence[Share]) -> None:
        """Store the shares, and tell of each that is: those that are not wanted any more are not told of."""
        stored: Counter[int] = Counter()
        expired: Counter[int] = Counter()
        for piece in self._shaping.pieces(shares):
            pause = _BACKOFF_S[0]
            while not self._stop.is_set() and (wanted := [share for share in piece if self._is_wanted(share)]):
                packed = self._shaping.packed(wanted)
                # What has expired says nothing about Redis, which need not be asked for it.
                if not packed.commands.count or (self._passes() and self._is_taken(packed.commands)):
                    for share, gone in zip(wanted, packed.expired, strict=True):
                        stored[share.number] += len(share) - gone
                        expired[share.number] += gone
                    self._count(wanted, packed)
                    break
                self._stop.wait(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, _BACKOFF_S[1])
            else:
                return
        for number, count in stored.items():
            self._tell(StoredShare(shares[0].router, number, count, expired[number]))

    def _count(self, shares: Sequence[Share], packed: Packed) -> None:
        if not packed.commands.count:
            return
        oldest_ns, newest_ns = zip(*(share.records.span_ns for share in shares), strict=True)
        self.load.add(
            sum(map(len, shares)) - packed.commands.expired,
            packed.commands.count,
            len(packed.commands.data),
            (min(oldest_ns), max(newest_ns)),
            shares[-1].ttl_ms / 1000,
        )

    def _passes(self) -> bool:
        """Whether Redis is fit to take records; while it refuses some, trying these again is the check."""
        if not self._refuses and (not self._passed or time.monotonic() >= self._next_check_s):
            self._check()
        return self._refuses or self._passed

    def _is_taken(self, commands: Commands) -> bool:
        self._refuses = not self._attempt(partial(self._set, commands))
        return not self._refuses

    def _set(self, commands: Commands) -> None:
        """Store them. Raises StoreError, of a Redis that refuses them with what it measures now."""
        try:
            self._store.set_all(commands)
        except RefusedError as error:
            raise StoreError(str(error), self._measured()) from error

    def _measured(self) -> Vitals | None:
        try:
            return self._store.measure()
        except StoreError as error:
            return error.vitals

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
            health = Health(False, cut(str(error)), error.vitals)
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
