"""What the thread that stores finds out about Redis: by its checks, and by what becomes of the records."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tapfan.wire import packed_batch
from tests.process.running import wait_for
from tests.writers.servers import Server
from tests.writers.storer import (
    DEADLINE_S,
    ROUTER,
    TTL_S,
    UP,
    Outcome,
    Start,
    down,
    has_stored,
    health,
    share,
    shares,
)
from writers import layouts, storing
from writers.layouts import RecordLayout, Share
from writers.store import Store
from writers.storing import Health, StoredShare, Storing
from writers.vitals import Vitals


def test_health_is_told_before_there_is_anything_to_store(start: Start) -> None:
    assert start().until(bool) == [UP]
    assert start("OOM").until(bool) == [down(vitals=None)]


def test_a_change_of_health_is_told_once_and_another_reason_is_a_change(start: Start) -> None:
    storer = start("", "OOM", "OOM", "READONLY", "READONLY", "OOM", "")
    storer.add(ROUTER, 0, share(0, 1))
    storer.add(ROUTER, 1, share(1, 1))
    said = storer.until(has_stored(2))
    assert health(said) == [UP, down(), down("READONLY"), down(), UP]


def test_a_long_reason_is_cut_to_what_a_report_has_room_for(start: Start) -> None:
    (health,) = start("x" * 10_000).until(bool)
    assert isinstance(health, Health)
    assert len(health.reason) == 500


def test_an_idle_redis_is_checked_so_that_its_failure_and_return_are_told(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "_CHECK_PERIOD_S", 0.01)
    storer = start("", "", "OOM", "OOM", "")
    said = storer.until(lambda said: len(said) >= 3)
    assert said == [UP, down(vitals=None), UP], "what it had measured before is not told as if it were so now"
    assert storer.redis.calls[:5] == ["check"] * 5
    assert "set" not in storer.redis.calls


def test_health_is_told_on_a_change_and_not_at_each_check_nor_for_each_share(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "_CHECK_PERIOD_S", 0.01)
    storer = start()
    for number in range(5):
        storer.add(ROUTER, number, share(number, 1))
    storer.until(has_stored(5))
    wait_for(lambda: len(storer.redis.calls) > 20, "more checks")
    assert health(storer.said + storer.storing.outcomes()) == [UP]


def test_other_measurements_are_told_with_the_health_as_it_is(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "_CHECK_PERIOD_S", 0.01)
    storer = start()
    storer.until(bool)
    storer.redis.vitals = Vitals(200, 2**30, 2**31)
    assert storer.until(lambda said: len(said) > 1) == [UP, Health(True, "", Vitals(200, 2**30, 2**31))]


@pytest.mark.parametrize("measured", [None, Vitals(300, 2**31, 2**31)])
def test_what_refuses_records_is_measured_meanwhile(start: Start, measured: Vitals | None) -> None:
    storer = start("", "OOM")
    storer.redis.measured = measured
    storer.add(ROUTER, 0, share(0, 1))
    assert health(storer.until(has_stored(1)))[:2] == [UP, down(vitals=measured)]


def test_a_busy_redis_is_checked_between_two_slices(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "_SLICE_RECORDS", 4)
    storer = start()
    storer.until(bool)
    storer.add(ROUTER, 0, share(0, 4))
    storer.until(has_stored(1))
    assert storer.redis.calls == ["check", "set"], "while it is not time for one there is none"
    storer.let_time_go_by()
    storer.add(ROUTER, 1, share(4, 12))
    storer.until(has_stored(2))
    assert storer.redis.calls[2:8] == ["check", "set"] * 3


def test_while_a_share_is_refused_that_tells_of_redis_and_no_check_does(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check might pass, and Redis be called healthy between two failures."""
    monkeypatch.setattr(layouts, "_SLICE_RECORDS", 1)
    storer = start("", "", *["OOM"] * 5, "")
    storer.until(bool)
    storer.let_time_go_by()
    storer.add(ROUTER, 0, share(0, 2))
    said = storer.until(has_stored(1))
    assert storer.redis.calls[:10] == ["check", "check", *["set"] * 6, "check", "set"]
    assert health(said) == [UP, down(), UP]


def test_what_refused_records_has_to_take_one_before_it_is_called_healthy(start: Start) -> None:
    """The share is given up, and a check alone might pass."""
    storer = start()
    storer.until(bool)
    storer.redis.refused = {0}
    storer.add(ROUTER, 0, share(0, 1))
    storer.until(lambda said: down("refused") in said)
    storer.let_time_go_by()
    storer.storing.want(ROUTER, 1)
    wait_for(lambda: "trial" in storer.redis.calls, "a trial")
    assert "check" not in storer.redis.calls[1 : storer.redis.calls.index("trial")]
    storer.until(lambda said: health(said)[-1].healthy)
    trials = storer.redis.calls.count("trial")
    wait_for(lambda: storer.redis.calls[-1] == "check", "a check as usual again")
    assert storer.redis.calls.count("trial") == trials


def test_an_answer_that_does_not_come_is_seen_while_it_is_waited_for(start: Start) -> None:
    storer = start()
    storer.until(bool)
    assert storer.storing.unanswered_s == 0
    storer.redis.may_go_on.clear()
    storer.add(ROUTER, 0, share(0, 1))
    assert storer.redis.called.wait(DEADLINE_S)
    begun_s, first_s = time.monotonic(), storer.storing.unanswered_s
    wait_for(lambda: storer.storing.unanswered_s > first_s + 0.05, "it grows")
    assert first_s + 0.05 < storer.storing.unanswered_s <= first_s + (time.monotonic() - begun_s) + 0.05
    storer.redis.may_go_on.set()
    storer.until(has_stored(1))
    assert storer.storing.unanswered_s == 0


def test_while_it_waits_to_try_again_no_answer_is_missing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "_BACKOFF_S", (600.0, 600.0))
    storer = start("", "OOM")
    storer.add(ROUTER, 0, share(0, 1))
    storer.until(lambda said: down() in said)
    assert storer.storing.unanswered_s == 0


@contextmanager
def _storing(server: Server) -> Iterator[Storing]:
    """A thread that stores to a real Redis."""
    made = Storing(Store(server.settings()), RecordLayout())
    made.want(ROUTER, 0)
    try:
        yield made
    finally:
        server.let_go_on()
        assert made.stop()
        os.close(made.ready_fd)


def _until(made: Storing, said: list[Outcome], healthy: bool) -> Health:
    """The first word on Redis's health, of those not looked at yet, that says so; what was said before is dropped."""

    def look() -> Health | None:
        said.extend(made.outcomes())
        while said:
            outcome = said.pop(0)
            if isinstance(outcome, Health) and outcome.healthy == healthy:
                return outcome
        return None

    return wait_for(look, f"healthy is {healthy}")


def _until_stored(made: Storing, said: list[Outcome]) -> StoredShare:
    """The first share that was said to be stored, of what was not looked at yet."""

    def look() -> list[StoredShare]:
        said.extend(made.outcomes())
        return shares(said)

    return wait_for(look, "a share is stored")[0]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "_CHECK_PERIOD_S", 0.02)
    monkeypatch.setattr(storing, "_BACKOFF_S", (0.01, 0.02))


@pytest.mark.usefixtures("_quick")
def test_a_real_redis_that_becomes_a_replica_and_a_master_again_loses_nothing(server: Server) -> None:
    said: list[Outcome] = []
    with _storing(server) as made:
        vitals = _until(made, said, healthy=True).vitals
        assert vitals is not None
        assert vitals.used_memory
        server.run("REPLICAOF", "127.0.0.1", "1")
        assert "replica" in _until(made, said, healthy=False).reason
        made.add(Share(ROUTER, 0, round(TTL_S * 1000), packed_batch(share(0, 100))))
        checks = server.client.info("commandstats")["cmdstat_info"]["calls"]
        wait_for(lambda: server.client.info("commandstats")["cmdstat_info"]["calls"] > checks + 20, "more checks")
        assert "cmdstat_set" not in server.client.info("commandstats")
        said += made.outcomes()
        assert not any(told.healthy for told in health(said))
        server.run("REPLICAOF", "NO", "ONE")
        assert _until_stored(made, said) == StoredShare(ROUTER, 0, 100, 0)
        assert health(said)[-1].healthy
    assert server.client.dbsize() == 100


@pytest.mark.usefixtures("_quick")
def test_a_real_redis_that_hangs_is_noticed_before_it_times_out(server: Server) -> None:
    said: list[Outcome] = []
    with _storing(server) as made:
        _until(made, said, healthy=True)
        server.hold_up()
        made.add(Share(ROUTER, 0, round(TTL_S * 1000), packed_batch(share(0, 10))))
        wait_for(lambda: made.unanswered_s > 0.2, "no answer")
        server.let_go_on()
        assert _until_stored(made, said) == StoredShare(ROUTER, 0, 10, 0)
        wait_for(lambda: made.unanswered_s < 0.2, "answers again")
    assert made.unanswered_s == 0
    assert server.client.dbsize() == 10


@pytest.mark.usefixtures("_quick")
def test_a_real_redis_that_refused_records_is_not_called_healthy_for_its_answers(server: Server) -> None:
    """It takes no SET for a reason that no check asks for."""
    said: list[Outcome] = []
    with _storing(server) as made:
        _until(made, said, healthy=True)
        server.configure(min_replicas_to_write=1)
        made.add(Share(ROUTER, 0, round(TTL_S * 1000), packed_batch(share(0, 10))))
        assert "NOREPLICAS" in _until(made, said, healthy=False).reason
        made.want(ROUTER, 1)
        sets = _sets(server)
        wait_for(lambda: _sets(server) > sets + 3, "more trials")
        said += made.outcomes()
        assert not any(told.healthy for told in health(said))
        server.configure(min_replicas_to_write=0)
        assert _until(made, said, healthy=True)
    assert server.client.keys() == []


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("given_up", [False, True])
def test_of_a_real_redis_that_refuses_records_it_is_told_what_it_is_now(server: Server, given_up: bool) -> None:
    """Its policy is mended while it still takes nothing."""
    server.configure(maxmemory=2**40, maxmemory_policy="allkeys-lru")
    said: list[Outcome] = []
    with _storing(server) as made:
        _until(made, said, healthy=True)
        server.configure(min_replicas_to_write=1)
        made.add(Share(ROUTER, 0, round(TTL_S * 1000), packed_batch(share(0, 10))))
        assert _policy(_until(made, said, healthy=False)) == "allkeys-lru"
        if given_up:
            made.want(ROUTER, 1)
        server.configure(maxmemory_policy="noeviction")
        wait_for(lambda: _policy(_until(made, said, healthy=False)) == "noeviction", "the policy as it is now")


@pytest.mark.usefixtures("_quick")
def test_of_a_real_redis_that_is_unfit_it_is_told_what_it_is_and_of_one_that_is_gone_nothing(server: Server) -> None:
    server.configure(maxmemory=2**40, maxmemory_policy="allkeys-lru")
    said: list[Outcome] = []
    with _storing(server) as made:
        _until(made, said, healthy=True)
        server.run("REPLICAOF", "127.0.0.1", "1")
        assert _policy(_until(made, said, healthy=False)) == "allkeys-lru"
        server.configure(maxmemory_policy="noeviction")
        wait_for(lambda: _policy(_until(made, said, healthy=False)) == "noeviction", "the policy as it is now")
        server.close()
        wait_for(lambda: _until(made, said, healthy=False).vitals is None, "nothing is told")


def _policy(health: Health) -> str | None:
    return health.vitals.policy if health.vitals else None


def _sets(server: Server) -> int:
    stats = server.client.info("commandstats").get("cmdstat_set", {})
    return int(stats.get("calls", 0)) + int(stats.get("rejected_calls", 0))


def test_what_redis_took_is_counted_as_its_load_and_nothing_else(start: Start) -> None:
    storer = start("", "OOM")
    storer.add(ROUTER, 0, share(0, 5_000))
    storer.add(ROUTER, 1, share(5_000, 100, age_s=2 * TTL_S))
    storer.until(has_stored(2))
    measured = storer.storing.load.measured()
    assert measured is not None
    assert measured.rate == pytest.approx(5_000 / 10)
    assert 350 < measured.bytes_a_record == measured.bytes_a_key < 450
    assert measured.ttl_s == TTL_S
