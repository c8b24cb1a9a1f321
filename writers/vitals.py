"""What a check asks of Redis, and what the answers say: whether it takes records, and what there is to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hiredis

from tapfan.redis_warnings import EVICTS_NOTHING

_INFO = (b"replication", b"persistence", b"memory", b"keyspace")
CHECK = b"".join(b"*2\r\n$4\r\nINFO\r\n$%d\r\n%s\r\n" % (len(section), section) for section in _INFO)
CHECK += b"*1\r\n$4\r\nTIME\r\n"
CHECK_REPLIES = len(_INFO) + 1
_MOST_DIGITS = 15  # of a number: far beyond what there is, and the sum over a cluster stays below 2**63
_LONGEST_POLICY = 40


@dataclass(frozen=True)
class Vitals:
    """What a check of Redis measured; None where Redis does not tell."""

    round_trip_us: int
    used_memory: int | None = None  # bytes
    max_memory: int | None = None  # bytes; 0: unlimited
    policy: str | None = None  # maxmemory-policy
    expiring: int | None = None  # keys that have a time to live
    ahead_us: int | None = None  # of our clock, by its own


class UnfitError(Exception):
    """Raised when Redis would take no records now; its text says why, `vitals` what it measured all the same."""

    def __init__(self, reason: str, vitals: Vitals | None = None) -> None:
        super().__init__(reason)
        self.vitals = vitals


def read_vitals(answers: Sequence[Any], round_trip_us: int, middle_ns: int) -> Vitals:
    """What the answers to CHECK say; `middle_ns`: our clock in the middle of the round trip. Raises UnfitError."""
    *sections, clock = answers
    info: dict[str, str] = {}
    for answer in sections:
        if isinstance(answer, hiredis.ReplyError) and not str(answer).startswith("NOPERM"):
            raise UnfitError(f"refused: {answer}")
        if isinstance(answer, bytes):
            pairs = (line.partition(":") for line in answer.decode(errors="replace").splitlines())
            info |= {key: value for key, _, value in pairs}
    used, most = _number(info.get("used_memory")), _number(info.get("maxmemory"))
    policy = info.get("maxmemory_policy")
    if policy is not None and len(policy) > _LONGEST_POLICY:
        policy = None
    vitals = Vitals(round_trip_us, used, most, policy, _expiring(info), _ahead_us(clock, middle_ns))
    if info.get("role", "master") != "master":
        raise UnfitError(f"a replica ({info['role']}), which takes no records", vitals)
    if info.get("loading", "0") != "0":
        raise UnfitError("loading its data from disk", vitals)
    # Redis, too, leaves out its buffers for replicas and for the AOF.
    buffers = _number(info.get("mem_not_counted_for_evict")) or 0
    if used is not None and most and used - buffers >= most and policy == EVICTS_NOTHING:
        reason = f"out of memory: its maxmemory is used up, and its maxmemory-policy is {EVICTS_NOTHING}"
        raise UnfitError(reason, vitals)
    return vitals


def _number(text: str | bytes | None) -> int | None:
    """None also for what is larger than any could be."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _expiring(info: dict[str, str]) -> int | None:
    """The keys with a time to live, of all databases: `db0:keys=3,expires=2,avg_ttl=100`."""
    if "# Keyspace" not in info:
        return None
    databases = (dict(part.split("=", 1) for part in text.split(",") if "=" in part) for text in _databases(info))
    return sum(_number(fields.get("expires")) or 0 for fields in databases)


def _databases(info: dict[str, str]) -> list[str]:
    return [text for key, text in info.items() if key.startswith("db") and key.removeprefix("db").isdigit()]


def _ahead_us(clock: Any, middle_ns: int) -> int | None:
    """By how much Redis's clock is ahead of ours, by its answer to TIME: seconds and microseconds."""
    match clock:
        case [bytes(first), bytes(second)]:
            seconds, microseconds = _number(first), _number(second)
            if seconds is not None and microseconds is not None:
                return seconds * 10**6 + microseconds - middle_ns // 1000
    return None
