"""What a check asks of Redis, and what the answers say: whether it takes records, and what there is to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hiredis

_INFO = (b"replication", b"persistence", b"memory", b"keyspace")
CHECK = b"".join(b"*2\r\n$4\r\nINFO\r\n$%d\r\n%s\r\n" % (len(section), section) for section in _INFO)
CHECK += b"*1\r\n$4\r\nTIME\r\n"
CHECK_REPLIES = len(_INFO) + 1


class UnfitError(Exception):
    """Raised when Redis would take no records now; its text says why."""


@dataclass(frozen=True)
class Vitals:
    """What a check of Redis measured; None where Redis does not tell."""

    round_trip_us: int
    used_memory: int | None = None  # bytes
    max_memory: int | None = None  # bytes; 0: unlimited
    policy: str | None = None  # maxmemory-policy
    expiring: int | None = None  # keys that have a time to live
    ahead_us: int | None = None  # of our clock, by its own


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
    if info.get("role", "master") != "master":
        raise UnfitError(f"a replica ({info['role']}), which takes no records")
    if info.get("loading", "0") != "0":
        raise UnfitError("loading its data from disk")
    used, most, policy = _number(info, "used_memory"), _number(info, "maxmemory"), info.get("maxmemory_policy")
    if used is not None and most and used >= most and policy == "noeviction":
        raise UnfitError("out of memory: its maxmemory is used up, and its maxmemory-policy is noeviction")
    return Vitals(round_trip_us, used, most, policy, _expiring(info), _ahead_us(clock, middle_ns))


def _number(info: dict[str, str], key: str) -> int | None:
    return int(info[key]) if info.get(key, "").isdigit() else None


def _expiring(info: dict[str, str]) -> int | None:
    """The keys with a time to live, of all databases: `db0:keys=3,expires=2,avg_ttl=100`."""
    if "# Keyspace" not in info:
        return None
    databases = (dict(part.split("=", 1) for part in text.split(",") if "=" in part) for text in _databases(info))
    return sum(_number(fields, "expires") or 0 for fields in databases)


def _databases(info: dict[str, str]) -> list[str]:
    return [text for key, text in info.items() if key.startswith("db") and key.removeprefix("db").isdigit()]


def _ahead_us(clock: Any, middle_ns: int) -> int | None:
    """By how much Redis's clock is ahead of ours, by its answer to TIME: seconds and microseconds."""
    match clock:
        case [bytes(seconds), bytes(microseconds)] if seconds.isdigit() and microseconds.isdigit():
            return int(seconds) * 10**6 + int(microseconds) - middle_ns // 1000
    return None
