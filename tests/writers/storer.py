"""A thread that stores, the Redis that it stores to, and what it has said so far."""

import json
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.blocks import PREFIX, Block, unpack
from tapfan.sections import WriterSettings
from tapfan.wire import packed_batch
from tests.writers.resp import commands_of
from writers.commands import Commands
from writers.layouts import Share
from writers.store import RefusedError, Store, StoreError
from writers.storing import Health, StoredShare, Storing
from writers.vitals import Vitals

DEADLINE_S = 20.0
TTL_S = 300.0
ROUTER = "0123abcd"
VITALS = Vitals(round_trip_us=100, used_memory=2**20, max_memory=0)
UP = Health(True, "", VITALS)

Outcome = StoredShare | Health


def down(reason: str = "OOM", vitals: Vitals | None = VITALS) -> Health:
    """What is told of a Redis that refused records."""
    return Health(False, reason, vitals)


class ScriptedRedis(Store):
    """Takes commands, apart from those calls that are told to fail, at the moments that a test chooses."""

    def __init__(self, *failures: str) -> None:
        super().__init__(WriterSettings(name="a", redis="redis://127.0.0.1:1/0", weight=1))
        self.failures = deque(failures)  # of the next calls, "" for one that succeeds
        self.refused: set[int] = set()  # source ports whose records are refused
        self.stored: list[int] = []  # the source ports
        self.blocks: list[Block] = []
        self.calls: list[str] = []  # "set", "check" or "trial", in order
        self.vitals = VITALS
        self.measured: Vitals | None = VITALS  # what it tells of itself while it refuses
        self.then: Callable[[], None] = lambda: None  # what happens during each call
        self.closed = threading.Event()
        self.called = threading.Event()  # with commands
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def set_all(self, commands: Commands) -> None:
        """Take the commands, or fail."""
        if not commands.count:
            return
        self.calls.append("set")
        self.called.set()
        assert self.may_go_on.wait(DEADLINE_S)
        self.then()
        self._fail(RefusedError)
        sets = [(key, value) for _, key, value, *_ in commands_of(bytes(commands.data))]
        assert len(sets) == commands.count
        blocks = [unpack(key, value) for key, value in sets if key.startswith(PREFIX)]
        ports = [json.loads(value)["sport"] for key, value in sets if not key.startswith(PREFIX)]
        ports += [int(port) for block in blocks for port in block.records.source_port]
        if self.refused & set(ports):
            raise RefusedError("refused")
        self.stored += ports
        self.blocks += blocks

    def check(self, trial: bool = False) -> Vitals:
        """Pass, or fail."""
        self.calls.append("trial" if trial else "check")
        self.then()
        self._fail(StoreError)
        return self.vitals

    def measure(self) -> Vitals:
        """Tell what it measures, or that it is unfit."""
        raise StoreError("unfit", self.measured)

    def close(self) -> None:
        """Note that."""
        self.closed.set()

    def _fail(self, error: type[StoreError]) -> None:
        if self.failures and (reason := self.failures.popleft()):
            raise error(reason)


@dataclass
class Storer:
    """A Storing and what it has said so far."""

    storing: Storing
    redis: ScriptedRedis
    said: list[Outcome] = field(default_factory=list)

    def add(self, router: str, number: int, batch: Batch) -> None:
        """Have a share stored."""
        self.storing.add(Share(router, number, round(TTL_S * 1000), packed_batch(batch)))

    def until(self, done: Callable[[list[Outcome]], bool]) -> list[Outcome]:
        """What was said, as soon as that is enough; the descriptor tells when there is more."""
        poller = select.poll()
        poller.register(self.storing.ready_fd, select.POLLIN)
        deadline_s = time.monotonic() + DEADLINE_S
        while not done(self.said):
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"only {self.said} within {DEADLINE_S:g} s"
            if poller.poll(left_s * 1000):
                self.said += self.storing.outcomes()
        return self.said

    def let_time_go_by(self) -> None:
        """Let it be time for the next check now, and again after each call to Redis."""

        def due() -> None:
            self.storing._next_check_s = 0.0

        self.redis.then = due
        due()


Start = Callable[..., Storer]  # with the failures of the first calls


def share(first: int, count: int, age_s: float = 0) -> Batch:
    """A share whose records' source ports are their sequence numbers."""
    columns = {name: np.ones((count, width)[: 1 + (width > 1)], dtype) for name, (dtype, width) in COLUMNS.items()}
    columns["source_port"] = np.arange(first, first + count, dtype=np.uint16)
    columns["timestamp"] = np.full(count, time.time_ns() - int(age_s * 10**9), np.uint64)
    return Batch("local.00000001", first, Records(**columns))


def shares(said: list[Outcome]) -> list[StoredShare]:
    """The shares that were said to be done."""
    return [outcome for outcome in said if isinstance(outcome, StoredShare)]


def health(said: list[Outcome]) -> list[Health]:
    """What was said of Redis's health."""
    return [outcome for outcome in said if isinstance(outcome, Health)]


def has_stored(count: int) -> Callable[[list[Outcome]], bool]:
    """Whether that many shares were said to be done."""
    return lambda said: len(shares(said)) >= count
