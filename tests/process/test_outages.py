"""Redis servers that take no records for a while, and what the listener does meanwhile."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.conftest import MakePrograms, StartPrograms
from tests.process.running import Programs, wait_for
from tests.process.settling import assert_nothing_lost, share_of, wait_for_more
from tests.process.stored import identities
from tests.process.traffic import Load, connections

_SMALL_WINDOW = {"window_bytes": 2**16, "linger": "20ms"}  # 16 batches: more than that goes to the spool
_OUTAGE_S = 10.0


@pytest.mark.timeout(90)
def test_an_outage_of_all_redis_servers_goes_to_the_spool_and_is_stored_after_it(start: StartPrograms) -> None:
    programs = start(listener=_SMALL_WINDOW, durable=True)
    with Load(programs.port):
        wait_for_more(programs)
        for name in ("redis-a", "redis-b"):
            programs.kill(name)
        wait_for(lambda: programs.status()["ledger"]["spooled"] > 1000, "the window is full, and the spool fills")
        assert programs.status()["listeners"]["local"]["health"] == "spooling"
        assert "local is spooling: " in programs.command("status").stdout
        with pytest.raises(AssertionError, match="it ends"):
            wait_for(lambda: False, "it ends", _OUTAGE_S)
        assert programs.status()["ledger"]["balanced"]
        programs.start("redis-a", "redis-b")
        programs.wait_ready()
        wait_for(lambda: programs.status()["ledger"]["spooled"] == 0, "the spool is empty again")
        wait_for_more(programs)
    assert_nothing_lost(programs)


def test_a_full_spool_drops_the_oldest_and_counts_them(start: StartPrograms) -> None:
    programs = start(listener=_SMALL_WINDOW | {"spool_bytes": 2**16}, durable=True)
    with Load(programs.port):
        for name in ("redis-a", "redis-b"):
            programs.kill(name)
        wait_for(lambda: "event=spool_full" in programs.log("listener"), "the spool is full")
        before = programs.status()["ledger"]["captured"]
        wait_for(lambda: programs.status()["ledger"]["captured"] > before + 500, "it goes on")
        programs.start("redis-a", "redis-b")
        programs.wait_ready()
        wait_for(lambda: programs.status()["ledger"]["spooled"] == 0, "the spool is empty again")
    assert programs.stop("listener") == 0
    ledger = programs.wait_settled(1)["ledger"]
    found = {number for _, number in identities(programs)}
    assert ledger["dropped"] == ledger["lost"]["dropped_spool_full"] > 100
    assert len(found) == ledger["stored"] == ledger["captured"] - ledger["dropped"]
    assert {0, ledger["captured"] - 1} <= found, "neither the window nor the newest went"
    assert "lost: dropped spool full" in programs.command("status").stdout


def _fill_memory(programs: Programs) -> Callable[[], object]:
    client = programs.redis("a")
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    return lambda: client.config_set("maxmemory", "0")


def _make_replica(programs: Programs) -> Callable[[], object]:
    client = programs.redis("a")
    client.replicaof("127.0.0.1", "1")
    return lambda: client.replicaof("NO", "ONE")


def _change_password(programs: Programs) -> Callable[[], object]:
    client = programs.redis("a")
    client.config_set("requirepass", "changed")
    own = client.client_id()
    for other in client.client_list():
        if other["id"] != str(own):
            client.client_kill_filter(_id=other["id"])
    return lambda: client.config_set("requirepass", "")


def _forbid_set(programs: Programs) -> Callable[[], object]:
    client = programs.redis("a")
    client.execute_command("ACL", "SETUSER", "default", "-set")
    return lambda: client.execute_command("ACL", "SETUSER", "default", "+set")


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (_fill_memory, "maxmemory"),
        (_make_replica, "replica"),
        (_change_password, "Authentication required"),
        (_forbid_set, "NOPERM"),
    ],
)
def test_a_redis_that_refuses_records_has_them_stored_by_the_other_and_gets_its_share_back(
    start: StartPrograms, begin: Callable[[Programs], Callable[[], object]], reason: str
) -> None:
    programs = start(listener={"linger": "5ms"}, durable=True)
    with Load(programs.port):
        wait_for_more(programs)
        end = begin(programs)
        wait_for(lambda: share_of(programs, "a") == 0, "the other gets its share")
        wait_for_more(programs)
        wait_for(lambda: programs.status()["ledger"]["in_flight"] < 100, "nothing is held up")
        writer = programs.status()["writers"]["a"]
        assert writer["health"] == "down"
        assert reason in writer["reason"]
        end()
        wait_for(lambda: share_of(programs, "a") == 0.3, "it has its share again")
        before = programs.status()["writers"]["a"]["stored"]
        wait_for(lambda: programs.status()["writers"]["a"]["stored"] > before, "it stores again")
    assert_nothing_lost(programs)


@pytest.mark.parametrize("spool", ["overflow", "always"])
@pytest.mark.parametrize(
    "order", [("router", "writer-a", "writer-b", "listener"), ("writer-b", "listener", "router", "writer-a")]
)
def test_in_whichever_order_it_is_stopped_the_rest_is_stored_after_the_next_start(
    start: StartPrograms, order: tuple[str, ...], spool: str
) -> None:
    programs = start(listener={"spool": spool, "grace": "1s"}, durable=True)
    with Load(programs.port):
        wait_for_more(programs)
        for name in order:
            assert programs.stop(name) == 0
    programs.start(*order)
    programs.wait_ready()
    connections(50, programs.port)
    assert_nothing_lost(programs)


def test_what_all_programs_stopped_at_once_could_not_store_is_stored_after_the_next_start(
    start: StartPrograms,
) -> None:
    programs = start(listener={"grace": "1s"}, durable=True)
    for name in ("redis-a", "redis-b"):
        programs.kill(name)
    connections(500, programs.port)
    programs.stop_all("router", "writer-a", "writer-b", "listener")
    assert "event=stopped_with_records_in_the_spool" in programs.log("listener")
    programs.start()
    programs.wait_ready()
    assert_nothing_lost(programs)
    assert len(identities(programs)) == 1000


def test_what_was_in_a_spool_that_is_damaged_while_all_is_stopped_is_counted(start: StartPrograms) -> None:
    programs = start(listener={"grace": "1s"}, durable=True)
    connections(100, programs.port)
    programs.wait_settled(200)
    for name in ("redis-a", "redis-b"):
        programs.kill(name)
    connections(500, programs.port)
    wait_for(lambda: programs.status()["ledger"]["captured"] == 1200, "the router knows of all")
    programs.stop_all("router", "writer-a", "writer-b", "listener")
    spool = programs.run_dir / "spool-local.db"
    spool.write_bytes(os.urandom(spool.stat().st_size))
    programs.start()
    programs.wait_ready()
    ledger = programs.wait_settled(1200)["ledger"]
    assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (1200, 200, {"dropped_spool_damaged": 1000})


def test_a_damaged_spool_is_set_aside_and_capturing_goes_on(programs: MakePrograms) -> None:
    made = programs()
    spool = made.run_dir / "spool-local.db"
    spool.write_bytes(os.urandom(100_000))
    made.start()
    made.wait_ready()
    connections(100, made.port)
    made.wait_settled(200)
    assert made.log("listener").count("event=spool_damaged") == 1
    assert (made.run_dir / "spool-local.damaged").stat().st_size == 100_000
    assert made.stop("listener") == 0
    assert _count(spool) == 0


def _count(spool: Path) -> int:
    with sqlite3.connect(spool) as database:
        count: int = database.execute("SELECT count(*) FROM entry").fetchone()[0]
    database.close()
    return count
