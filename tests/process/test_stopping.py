"""A clean stop loses nothing, and a Redis that is away neither."""

import signal
import threading

from tests.process.conftest import MakePrograms, StartPrograms
from tests.process.feeder import feeder, records
from tests.process.running import wait_for
from tests.process.stored import sequences, stored
from tests.process.traffic import connections


def test_a_listener_that_is_stopped_under_load_sees_all_that_it_captured_stored(start: StartPrograms) -> None:
    programs = start(listener={"serve": "discard"})
    stopped = threading.Event()
    load = threading.Thread(target=_load_until, args=(programs.port, stopped))
    load.start()
    try:
        wait_for(lambda: programs.status()["ledger"]["captured"] > 500, "the load is on")
        assert programs.stop("listener") == 0
    finally:
        stopped.set()
        load.join()
    ledger = programs.status()["ledger"]
    assert ledger["in_flight"] == 0
    assert ledger["balanced"]
    assert [record.sequence for record in stored(programs)] == list(range(ledger["captured"]))


def test_everything_stops_cleanly_in_the_order_of_supervisord(start: StartPrograms) -> None:
    programs = start()
    connections(500, programs.port)
    serial = ["listener", "writer-b", "writer-a", "router"]
    assert [programs.stop(name) for name in serial] == [0, 0, 0, 0]
    found = [record.sequence for record in stored(programs)]
    assert found == list(range(1000))
    for name in serial:
        assert "event=stopped" in programs.log(name)
        assert "Traceback" not in programs.log(name)


def test_a_router_and_writers_that_restart_under_load_lose_nothing(start: StartPrograms) -> None:
    programs = start()
    stopped = threading.Event()
    load = threading.Thread(target=_load_until, args=(programs.port, stopped))
    load.start()
    try:
        for name in ("writer-a", "router", "writer-b", "router"):
            before = len(stored(programs))
            programs.stop(name)
            programs.start(name)
            programs.wait_ready()
            wait_for(lambda before=before: len(stored(programs)) > before + 100, f"more is stored after {name}")  # type: ignore[misc]
    finally:
        stopped.set()
        load.join()
    assert programs.stop("listener") == 0
    found = [record.sequence for record in stored(programs)]
    assert sorted(set(found)) == list(range(max(found) + 1))
    ledger = programs.status()["ledger"]
    assert (ledger["captured"], ledger["in_flight"], ledger["balanced"]) == (max(found) + 1, 0, True)


def test_the_router_tells_who_is_gone_and_who_is_back(start: StartPrograms) -> None:
    programs = start()
    for name in ("writer-a", "listener"):
        of = {"writer-a": "writer a", "listener": "listener local"}[name]
        programs.kill(name)
        wait_for(lambda of=of: f'of="{of}" now=absent' in programs.log("router"), "it is told as gone")  # type: ignore[misc]
        programs.start(name)
        wait_for(lambda of=of: programs.log("router").count(f'of="{of}" now=up') == 2, "it is told as back")  # type: ignore[misc]


def test_redis_servers_that_are_not_there_yet_are_waited_for(programs: MakePrograms) -> None:
    made = programs()
    made.start("router", "writer-a", "writer-b")
    for name in ("a", "b"):
        wait_for(lambda name=name: made.status()["writers"][name]["health"] == "down", "its Redis is down")  # type: ignore[misc]
        assert "Connection refused" in made.status()["writers"][name]["reason"]
    with feeder(made) as feeding:
        feeding.send(records(1000))
        wait_for(lambda: made.status()["ledger"]["in_flight"] == 1000, "the router holds the records")
        made.start("redis-a", "redis-b")
        feeding.wait_acknowledged()
    assert sorted(sequences(made, "a") + sequences(made, "b")) == list(range(1000))
    assert made.processes["writer-a"].poll() is None
    assert made.log("writer-a").count("event=redis_down") == 1


def test_the_part_of_a_redis_that_is_not_there_yet_goes_to_the_other(programs: MakePrograms) -> None:
    made = programs()
    made.start("redis-b", "router", "writer-a", "writer-b")
    wait_for(lambda: made.status()["writers"]["a"]["health"] == "down", "the writer says that its Redis is down")
    with feeder(made) as feeding:
        feeding.send(records(1000))
        feeding.wait_acknowledged()
        assert len(sequences(made, "b")) == 1000
        made.start("redis-a")
        wait_for(lambda: made.status()["writers"]["a"]["health"] == "up", "it is up")
        feeding.send(records(1000))
        feeding.wait_acknowledged()
    assert len(sequences(made, "a")) == 300


def test_a_redis_that_stands_still_holds_up_but_loses_nothing(start: StartPrograms) -> None:
    programs = start()
    programs.signal("redis-a", signal.SIGSTOP)
    connections(200, programs.port)
    programs.wait_settled(400)
    assert programs.status()["writers"]["a"]["health"] == "down"
    programs.signal("redis-a", signal.SIGCONT)
    wait_for(lambda: programs.status()["writers"]["a"]["health"] == "up", "it is back")
    assert {record.sequence for record in stored(programs)} == set(range(400))


def _load_until(port: int, stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            connections(50, port)
        except OSError:
            return  # the listener is gone
