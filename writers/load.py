"""What a writer stores over time, and what memory that will need once records expire as fast as they come in."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tapfan.messages import Projection
from writers.vitals import Vitals

_SPAN_S = 60
_SHORTEST_S = 10  # a rate over less would say little
# What Redis 7.0 takes in used_memory for one SET: so much of the command's bytes, and so many more. Within 10 % of what
# it took for keys of one record, IPv4 and IPv6, and for blocks of 1 to 20,000 records (jemalloc, 64 bit).
_OF_COMMAND = 1.1
_A_KEY = 40


@dataclass(frozen=True)
class Measured:
    """What was stored over the last minute, and how long that lives."""

    rate: float  # records/s
    bytes_a_record: float
    bytes_a_key: float
    ttl_s: float


@dataclass
class _Second:
    """What was stored in one second; the capture times in ns."""

    number: int
    records: int = 0
    keys: int = 0
    command_bytes: int = 0
    oldest_ns: int = 2**63
    newest_ns: int = 0


class Load:
    """Counts for a minute what the storing thread stores; read by another thread. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun_s = clock()
        self._seconds: deque[_Second] = deque()
        self._ttl_s = 0.0
        self._lock = threading.Lock()

    def add(self, records: int, keys: int, command_bytes: int, captured_ns: tuple[int, int], ttl_s: float) -> None:
        """So many records, the oldest and the newest captured then, were stored now by commands of that size."""
        oldest_ns, newest_ns = captured_ns
        with self._lock:
            self._forget()
            number = int(self._clock())
            if not self._seconds or self._seconds[-1].number != number:
                self._seconds.append(_Second(number))
            second = self._seconds[-1]
            second.records += records
            second.keys += keys
            second.command_bytes += command_bytes
            second.oldest_ns = min(second.oldest_ns, oldest_ns)
            second.newest_ns = max(second.newest_ns, newest_ns)
            self._ttl_s = ttl_s

    def measured(self) -> Measured | None:
        """None when nothing was stored over the last minute."""
        with self._lock:
            self._forget()
            records = sum(second.records for second in self._seconds)
            if not records:
                return None
            keys = sum(second.keys for second in self._seconds)
            taken = sum(second.command_bytes for second in self._seconds) * _OF_COMMAND + keys * _A_KEY
            # What was captured in ten minutes and stored in one, after an outage, will not go on to come so fast.
            captured_ns = max(second.newest_ns for second in self._seconds) - min(
                second.oldest_ns for second in self._seconds
            )
            span_s = max(_SHORTEST_S, min(_SPAN_S, self._clock() - self._begun_s), captured_ns / 1e9)
            return Measured(records / span_s, taken / records, taken / keys, self._ttl_s)

    def _forget(self) -> None:
        while self._seconds and self._seconds[0].number <= int(self._clock()) - _SPAN_S:
            self._seconds.popleft()


def projection(measured: Measured | None, vitals: Vitals | None) -> Projection | None:
    """What the records will need at that rate, and what there is for them; None when nothing was stored."""
    if measured is None:
        return None
    needed = measured.rate * measured.ttl_s * measured.bytes_a_record
    return Projection(
        rate=round(measured.rate, 3),
        bytes_a_record=round(measured.bytes_a_record, 1),
        needed=round(needed),
        available=None if vitals is None else _available(vitals, measured.bytes_a_key),
    )


def _available(vitals: Vitals, bytes_a_key: float) -> int | None:
    """The bytes that Redis has for records: the free ones, and those of records, which come free; None if unlimited.

    What has a TTL counts as a record, as those of an earlier start are not known otherwise.
    """
    if not vitals.max_memory or vitals.used_memory is None or vitals.expiring is None:
        return None
    others = max(0, vitals.used_memory - round(vitals.expiring * bytes_a_key))
    return max(0, vitals.max_memory - others)
