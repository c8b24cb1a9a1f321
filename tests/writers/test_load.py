"""What a writer's records will need in Redis: the rate, the bytes a record, and what there is for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.endpoints import IPV4_MAPPED_PREFIX
from tapfan.redis_warnings import TYPICAL_BYTES
from tapfan.sections import Layout
from tapfan.wire import packed_batch
from tests.writers.servers import Server
from writers.layouts import Share, shaping
from writers.load import Load, Measured, projection
from writers.store import Store
from writers.vitals import Vitals

_NOW_NS = 1_700_000_000 * 10**9
_TTL_S = 300.0
MEASURED = Measured(rate=1_000.0, bytes_a_record=100.0, bytes_a_key=200.0, ttl_s=10.0)  # needs 1,000,000 bytes


@dataclass
class _Clock:
    """Seconds since the beginning of the test."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def _add(load: Load, clock: _Clock, records: int, span_s: float = 0.0, age_s: float = 0.0) -> None:
    """Records captured over a while, until some time ago."""
    newest_ns = _NOW_NS + round((clock.now_s - age_s) * 1e9)
    load.add(records, records, 250 * records, (newest_ns - round(span_s * 1e9), newest_ns), _TTL_S)


def _run(load: Load, clock: _Clock, seconds: int, add: Callable[[], None]) -> Measured:
    for _ in range(10 * seconds):
        clock.now_s += 0.1
        add()
    measured = load.measured()
    assert measured is not None
    return measured


@pytest.mark.parametrize("seconds", [10, 30, 60, 200])
def test_a_steady_rate_is_measured_as_it_is(seconds: int) -> None:
    clock = _Clock()
    load = Load(clock)
    measured = _run(load, clock, seconds, lambda: _add(load, clock, 100))
    assert measured.rate == pytest.approx(1_000, rel=0.03)
    assert measured.bytes_a_record == measured.bytes_a_key == pytest.approx(250 * 1.1 + 40)
    assert measured.ttl_s == _TTL_S


def test_what_came_in_the_first_moment_is_not_taken_for_a_rate() -> None:
    clock = _Clock()
    load = Load(clock)
    clock.now_s = 0.1
    _add(load, clock, 1_000)
    assert load.measured() == Measured(100.0, 315.0, 315.0, _TTL_S)


def test_what_was_captured_over_ten_minutes_is_not_taken_for_a_minute_s() -> None:
    """After an outage, what waited is stored within seconds."""
    clock = _Clock()
    load = Load(clock)
    clock.now_s = 1_000.0
    for age_s in range(600, 0, -10):
        _add(load, clock, 10_000, span_s=10.0, age_s=age_s - 10)
        clock.now_s += 0.01
    measured = load.measured()
    assert measured is not None
    assert measured.rate == pytest.approx(1_000, rel=0.01)


@pytest.mark.parametrize(("silence_s", "measures"), [(0, True), (59, True), (60, False), (10_000, False)])
def test_what_was_stored_more_than_a_minute_ago_does_not_count(silence_s: float, measures: bool) -> None:
    clock = _Clock(100.0)
    load = Load(clock)
    _add(load, clock, 1)
    clock.now_s += silence_s
    assert (load.measured() is not None) == measures
    _add(load, clock, 600)
    measured = load.measured()
    assert measured is not None
    assert measured.rate == pytest.approx((600 + measures) / max(10.0, min(60.0, silence_s)))


def test_a_ttl_that_changes_counts_from_then_on() -> None:
    load = Load(_Clock())
    for ttl_s in (300.0, 600.0):
        load.add(1, 1, 250, (_NOW_NS, _NOW_NS), ttl_s)
    measured = load.measured()
    assert measured is not None
    assert measured.ttl_s == 600.0


def test_records_in_blocks_share_what_a_key_takes() -> None:
    load = Load(_Clock())
    load.add(2_000, 2, 20_000, (_NOW_NS, _NOW_NS), _TTL_S)
    assert load.measured() == Measured(200.0, 22_080 / 2_000, 22_080 / 2, _TTL_S)


def _available(used: int | None, most: int | None, expiring: int | None) -> int | None:
    vitals = Vitals(100, used_memory=used, max_memory=most, expiring=expiring)
    told = projection(MEASURED, vitals)
    assert told is not None
    assert (told.rate, told.bytes_a_record, told.needed) == (1_000.0, 100.0, 1_000_000)
    return told.available


@pytest.mark.parametrize(
    ("used", "most", "expiring", "available"),
    [
        (1_000_000, 5_000_000, 0, 4_000_000),  # all of it is others'
        (1_000_000, 5_000_000, 4_000, 4_800_000),  # of which 800,000 come free
        (1_000_000, 5_000_000, 5_000, 5_000_000),
        (1_000_000, 5_000_000, 10**9, 5_000_000),  # never more than there is
        (6_000_000, 5_000_000, 0, 0),
        (1_000_000, 0, 0, None),  # unlimited
        (None, 5_000_000, 0, None),
        (1_000_000, None, 0, None),
        (1_000_000, 5_000_000, None, None),
    ],
)
def test_what_there_is_for_records_is_what_is_free_and_what_records_take(
    used: int | None, most: int | None, expiring: int | None, available: int | None
) -> None:
    assert _available(used, most, expiring) == available


def test_before_anything_is_known_of_redis_only_the_need_is() -> None:
    told = projection(MEASURED, None)
    assert told is not None
    assert (told.needed, told.available) == (1_000_000, None)


def test_where_nothing_is_stored_nothing_is_projected() -> None:
    assert projection(None, Vitals(100, 1, 1, "noeviction", 1)) is None
    assert projection(Load().measured(), None) is None


@pytest.mark.parametrize("factor", [1, 2**20])
def test_a_projection_of_any_load_fits_into_a_report(factor: int) -> None:
    """A month of a million blocks' worth a second."""
    measured = replace(MEASURED, rate=1_000.0 * factor, ttl_s=31 * 86_400.0)
    assert projection(measured, None) is not None


def _share(first: int, count: int, ipv6: bool) -> Share:
    """Records of many clients and services."""
    random = np.random.default_rng(first)
    columns = {
        name: random.integers(0, 2 ** min(16, 8 * dtype.itemsize), (count, width)[: 1 + (width > 1)]).astype(dtype)
        for name, (dtype, width) in COLUMNS.items()
    }
    columns["timestamp"] = (time.time_ns() + np.arange(count) * 1_000).astype(np.uint64)
    if not ipv6:
        for name in ("source", "destination"):
            columns[name][:, : len(IPV4_MAPPED_PREFIX)] = np.frombuffer(IPV4_MAPPED_PREFIX, np.uint8)
    columns["segments"][:] = 1
    return Share("0123abcd", 0, 3_600_000, packed_batch(Batch("local.00000001", first, Records(**columns))))


@pytest.mark.parametrize(
    ("layout", "in_share", "shares", "ipv6"),
    [
        ("record", 4_096, 16, False),
        ("record", 4_096, 16, True),
        ("block", 10, 1_000, False),
        ("block", 100, 1_000, False),
        ("block", 2_000, 200, False),
        ("block", 20_000, 30, False),
    ],
)
def test_what_is_projected_a_record_is_what_a_real_redis_takes(
    server: Server, layout: Layout, in_share: int, shares: int, ipv6: bool
) -> None:
    store, load, shape = Store(server.settings()), Load(), shaping(layout, 0.02)
    store.check()
    before = int(server.client.info("memory")["used_memory"])
    for number in range(shares):
        share = _share(number * in_share, in_share, ipv6)
        commands = shape.packed([share]).commands
        store.set_all(commands)
        load.add(in_share, commands.count, len(commands.data), share.records.span_ns, 3_600.0)
    vitals, measured = store.check(), load.measured()
    store.close()
    assert vitals.used_memory is not None
    assert measured is not None
    taken = (vitals.used_memory - before) / (in_share * shares)
    assert measured.bytes_a_record == pytest.approx(taken, rel=0.12)
    assert vitals.expiring == server.client.dbsize()
    if not ipv6 and in_share >= 2_000:
        assert TYPICAL_BYTES[layout] == pytest.approx(taken, rel=0.2)
