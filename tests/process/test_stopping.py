"""A clean stop loses nothing, and a Redis that is away neither."""

import signal
import threading

from tapfan.wire import MAX_RECORDS
from tests.process.conftest import StartPrograms
from tests.process.feeder import feeder, records
from tests.process.running import wait_for
from tests.process.stored import sequences, stored
from tests.process.test_starting import MakePrograms
from tests.process.traffic import chatter, connections


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


def test_a_redis_that_is_not_there_yet_is_waited_for(programs: MakePrograms) -> None:
    made = programs()
    made.start("redis-b", "router", "writer-a", "writer-b")
    wait_for(lambda: made.status()["writers"]["a"]["health"] == "down", "the writer says that its Redis is down")
    assert "Connection refused" in made.status()["writers"]["a"]["reason"]
    with feeder(made) as feeding:
        feeding.send(records(1000))
        wait_for(lambda: len(sequences(made, "b")) == 700, "the other part is stored")
        assert feeding.outbox.in_flight == 1000
        made.start("redis-a")
        feeding.wait_acknowledged()
    assert len(sequences(made, "a")) == 300
    assert made.processes["writer-a"].poll() is None
    assert made.log("writer-a").count("event=redis_down") == 1


def test_a_listener_whose_window_is_full_says_that_it_waits_and_loses_nothing(programs: MakePrograms) -> None:
    made = programs(listener={"window_records": MAX_RECORDS})
    made.start("redis-a", "redis-b", "router", "listener")
    made.wait_ready()
    stopped = threading.Event()
    load = threading.Thread(target=chatter, args=(made.port, stopped))
    load.start()
    try:
        wait_for(lambda: made.status()["listeners"]["local"]["health"] == "waiting", "the window is full", 50)
        assert "local is waiting: its window is full" in made.command("status").stdout
    finally:
        stopped.set()
        load.join()
    made.start("writer-a", "writer-b")
    made.wait_ready()
    assert made.stop("listener") == 0
    ledger = made.status()["ledger"]
    assert ledger["stored"] == ledger["captured"] >= MAX_RECORDS
    assert len(stored(made)) == ledger["stored"]


def test_a_redis_that_stands_still_holds_up_but_loses_nothing(start: StartPrograms) -> None:
    programs = start()
    programs.signal("redis-a", signal.SIGSTOP)
    connections(200, programs.port)
    wait_for(lambda: len(sequences(programs, "b")) == 280, "the other part is stored")
    wait_for(lambda: programs.status()["writers"]["a"]["health"] == "down", "the writer says so")
    programs.signal("redis-a", signal.SIGCONT)
    programs.wait_settled(400)
    assert [record.sequence for record in stored(programs)] == list(range(400))


def _load_until(port: int, stopped: threading.Event) -> None:
    while not stopped.is_set():
        try:
            connections(50, port)
        except OSError:
            return  # the listener is gone
