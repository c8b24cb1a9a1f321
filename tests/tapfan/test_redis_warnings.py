"""Warnings of a Redis that could lose records: when there is one, and in which words."""

from typing import Any

import pytest

from tapfan import redis_warnings
from tapfan.sections import Layout


@pytest.mark.parametrize(
    "policy",
    [
        *("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
        *("allkeys-lru", "allkeys-lfu", "allkeys-random"),
    ],
)
def test_every_policy_that_evicts_is_named_with_what_to_do(policy: str) -> None:
    assert redis_warnings.eviction(policy, 2 * 2**30) == (
        f"its maxmemory-policy {policy} evicts records before their time once its maxmemory (2.0 GiB) is used up; "
        "set maxmemory-policy noeviction"
    )


@pytest.mark.parametrize(
    ("policy", "max_memory"),
    [("noeviction", 10**9), ("allkeys-lru", 0), ("allkeys-lru", None), (None, 10**9), ("", 10**9), (None, None)],
)
def test_where_nothing_is_evicted_or_known_there_is_no_warning(policy: str | None, max_memory: int | None) -> None:
    assert redis_warnings.eviction(policy, max_memory) is None


def _projection(needed: int, available: int | None) -> dict[str, Any]:
    return {"rate": 12_345.6, "bytes_a_record": 310.0, "needed": needed, "available": available}


@pytest.mark.parametrize(
    "projection", [None, _projection(10**9, None), _projection(10**9, 10**9), _projection(0, 0), _projection(1, 2)]
)
def test_memory_that_holds_what_comes_in_or_is_not_known_is_no_warning(projection: dict[str, Any] | None) -> None:
    assert redis_warnings.memory(projection) is None


def test_memory_that_will_not_hold_what_comes_in_is_told_with_what_to_do() -> None:
    assert redis_warnings.memory(_projection(3 * 2**30, 3 * 2**30 - 1)) is not None
    assert redis_warnings.memory(_projection(3 * 2**30, 2**30)) == (
        "needs 3.0 GiB for 12,346 records/s over the ttl, and has 1.0 GiB for them; "
        "raise its maxmemory, lower its weight, or shorten the ttl"
    )


@pytest.mark.parametrize(
    ("ahead_us", "text"),
    [
        (1_500_000, "its clock is 1.5 s ahead of this host's: it ends records 1.5 s too early; set both by NTP"),
        (-3_600_000_000, "its clock is 3,600.0 s behind this host's: it keeps records 3,600.0 s too long"),
    ],
)
def test_a_clock_that_is_off_is_told_with_what_that_means(ahead_us: int, text: str) -> None:
    assert (redis_warnings.clock(ahead_us, 200) or "").startswith(text)


@pytest.mark.parametrize(
    ("ahead_us", "round_trip_us", "warned"),
    [
        (None, 0, False),
        (0, 0, False),
        (1_000_000, 0, False),
        (-1_000_000, 0, False),
        (1_000_001, 0, True),
        (-1_000_001, 0, True),
        (1_900_000, 2_000_000, False),
        (-2_000_001, 2_000_000, True),
    ],
)
def test_a_clock_is_off_only_when_the_round_trip_cannot_explain_it(
    ahead_us: int | None, round_trip_us: int, warned: bool
) -> None:
    assert (redis_warnings.clock(ahead_us, round_trip_us) is not None) == warned


@pytest.mark.parametrize(
    ("free", "layout", "ttl_s", "text"),
    [
        (2**30, "record", 300.0, "has 1.0 GiB of its maxmemory free, which hold about 11,546 records/s for 5m"),
        (2**30, "block", 300.0, "has 1.0 GiB of its maxmemory free, which hold about 178,957 records/s for 5m"),
        (0, "record", 1.0, "has 0 B of its maxmemory free, which hold about 0.0 records/s for 1s"),
    ],
)
def test_free_memory_is_told_as_the_rate_that_it_holds(free: int, layout: Layout, ttl_s: float, text: str) -> None:
    assert redis_warnings.holds(free, layout, ttl_s) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_500, "1,023.9 KiB"),
        (1_048_570, "1.0 MiB"),
        (5 * 2**40, "5.0 TiB"),
        (2**63, "8,192.0 PiB"),
    ],
)
def test_a_size_is_in_the_unit_that_fits(count: int, text: str) -> None:
    assert redis_warnings.size(count) == text
