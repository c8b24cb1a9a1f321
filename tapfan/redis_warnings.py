"""What could make a Redis lose records before their time, or keep them longer: in words, for people."""

from collections.abc import Mapping
from typing import Any

from tapfan import durations
from tapfan.sections import Layout

# Bytes of Redis 7.0's used_memory for an IPv4 record, where nothing is measured: 304 to 348, and in blocks of 2,000
# records 12 (of one service) to 20 (of many). tests/writers/test_load.py measures them again.
TYPICAL_BYTES: Mapping[Layout, int] = {"record": 310, "block": 20}
EVICTS_NOTHING = "noeviction"
_CLOCKS_DIFFER_US = 1_000_000
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def eviction(policy: str | None, max_memory: int | None) -> str | None:
    """A warning when Redis evicts records once its memory is used up: each has a TTL, so every policy but one does.

    `max_memory`: bytes; 0 is unlimited, None unknown.
    """
    if not policy or not max_memory or policy == EVICTS_NOTHING:
        return None
    return (
        f"its maxmemory-policy {policy} evicts records before their time once its maxmemory ({size(max_memory)}) is "
        f"used up; set maxmemory-policy {EVICTS_NOTHING}"
    )


def memory(projection: Mapping[str, Any] | None) -> str | None:
    """A warning when Redis will not hold what comes in; `projection`: the fields of a `tapfan.messages.Projection`."""
    if projection is None or projection["available"] is None or projection["needed"] <= projection["available"]:
        return None
    return (
        f"needs {size(projection['needed'])} for {rate(projection['rate'])} over the ttl, and has "
        f"{size(projection['available'])} for them; raise its maxmemory, lower its weight, or shorten the ttl"
    )


def clock(ahead_us: int | None, round_trip_us: int) -> str | None:
    """A warning when Redis's clock, which ends records, is surely more than a second ahead of ours, or behind.

    `ahead_us`: by its answer to TIME, against the middle of the round trip; None: unknown.
    """
    if ahead_us is None or abs(ahead_us) - round_trip_us / 2 <= _CLOCKS_DIFFER_US:
        return None
    differs = f"{abs(ahead_us) / 1e6:,.1f} s"
    where, then = ("ahead of", "ends") if ahead_us > 0 else ("behind", "keeps")
    when = "too early" if ahead_us > 0 else "too long"
    return f"its clock is {differs} {where} this host's: it {then} records {differs} {when}; set both by NTP"


def holds(free: int, layout: Layout, ttl_s: float) -> str:
    """How much of the typical records the free bytes hold."""
    records_s = free / TYPICAL_BYTES[layout] / ttl_s
    return f"has {size(free)} of its maxmemory free, which hold about {rate(records_s)} for {durations.text(ttl_s)}"


def need(projection: Mapping[str, Any]) -> str:
    """What a writer's records need, of what there is for them: "needs 1.2 GiB of 2.0 GiB"."""
    available = projection["available"]
    return f"needs {size(projection['needed'])}" + ("" if available is None else f" of {size(available)}")


def size(count: int) -> str:
    """Bytes in the unit that fits: "1.2 GiB"."""
    amount, unit = float(count), 0
    while amount >= 1023.95 and unit < len(_UNITS) - 1:  # what would be shown as 1024.0 is one of the next unit
        amount, unit = amount / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{amount:,.1f} {_UNITS[unit]}"


def rate(records_s: float) -> str:
    """Records a second, in two digits at least."""
    return f"{records_s:,.0f} records/s" if records_s >= 10 else f"{records_s:.1f} records/s"
