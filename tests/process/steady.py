"""A load of small batches that a test follows: which records are sent, which are acknowledged, which are in Redis."""

import contextlib
from collections.abc import Callable

import redis

from tapfan.redis_connection import client
from tapfan.settings import load
from tests.process.feeder import Feeder, records
from tests.process.running import Programs, wait_for

_BATCH = 50
_DEADLINE_S = 40.0  # for a failover, and for what the servers do after it


class SteadyLoad:
    """Sends batches while a test waits for something; a record's number is its place in the load."""

    def __init__(self, feeder: Feeder) -> None:
        self._feeder = feeder
        self.sent = 0

    @property
    def acknowledged(self) -> int:
        """All records below are."""
        return self.sent - self._feeder.outbox.unsettled

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Send until that is so."""

        def go_on() -> bool:
            self._feeder.send(records(_BATCH))
            self.sent += _BATCH
            return bool(condition())

        wait_for(go_on, what, _DEADLINE_S)

    def until_more(self, count: int = 500) -> None:
        """Send until so many more are acknowledged than were sent before."""
        wanted = self.sent + count
        self.until(lambda: self.acknowledged >= wanted, f"{wanted} records are acknowledged")

    def finish(self) -> None:
        """Wait until all are acknowledged."""
        self._feeder.wait_acknowledged()


def numbers(programs: Programs, writer: str = "a") -> set[int]:
    """The numbers of all records in a writer's Redis, or on all nodes of its cluster."""
    with contextlib.closing(client(load(programs.config).writer(writer), 5.0, 5.0)) as found:
        return {int(key[-12:], 16) for key in _keys(found)}


def _keys(found: redis.Redis | redis.RedisCluster) -> list[bytes]:
    return list(found.scan_iter(count=1000))
