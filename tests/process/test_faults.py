"""Nothing captured is lost, whichever processes are killed or stand still under load.

The Redis servers write to disk before they answer, so that a kill does not take with it what they had.
"""

import signal
from itertools import combinations

import pytest

from tests.process.conftest import StartPrograms
from tests.process.running import wait_for
from tests.process.settling import assert_nothing_lost, share_of, wait_for_more
from tests.process.stored import stored
from tests.process.traffic import Load

_PROCESSES = ("redis-a", "redis-b", "router", "writer-a", "writer-b", "listener")
_ALWAYS = {"spool": "always", "linger": "5ms"}
_STILL_S = 3.0  # longer than a writer may be silent before others get its share


@pytest.mark.timeout(120)
@pytest.mark.parametrize("layout", ["record", "block"])
def test_each_process_killed_under_load_loses_nothing(start: StartPrograms, layout: str) -> None:
    programs = start(listener=_ALWAYS, top={"layout": layout}, durable=True)
    with Load(programs.port) as load:
        for name in _PROCESSES:
            wait_for_more(programs)
            programs.kill(name)
            programs.start(name)
            programs.wait_ready()
        wait_for_more(programs)
    assert_nothing_lost(programs)
    assert len(load.ports) > 10


@pytest.mark.timeout(240)
def test_each_pair_of_processes_killed_at_once_under_load_loses_nothing(start: StartPrograms) -> None:
    programs = start(listener=_ALWAYS, durable=True)
    with Load(programs.port):
        for pair in combinations(_PROCESSES, 2):
            wait_for_more(programs)
            for name in pair:
                programs.kill(name)
            programs.start(*pair)
            programs.wait_ready()
        wait_for_more(programs)
    assert_nothing_lost(programs, untracked=True)


@pytest.mark.timeout(120)
def test_each_process_that_stands_still_under_load_loses_nothing(start: StartPrograms) -> None:
    programs = start(listener=_ALWAYS, durable=True)
    with Load(programs.port):
        for name in _PROCESSES:
            wait_for_more(programs)
            programs.signal(name, signal.SIGSTOP)
            with pytest.raises(AssertionError, match="it ends"):
                wait_for(lambda: False, "it ends", _STILL_S)
            programs.signal(name, signal.SIGCONT)
            programs.wait_ready()
        wait_for_more(programs)
    assert_nothing_lost(programs)


@pytest.mark.parametrize("name", ["redis-a", "writer-a"])
def test_the_share_of_one_that_is_gone_goes_to_the_others_until_it_is_back(start: StartPrograms, name: str) -> None:
    programs = start(listener=_ALWAYS, durable=True)
    with Load(programs.port):
        programs.kill(name)
        wait_for(lambda: share_of(programs, "a") == 0, "the others get its share")
        wait_for(lambda: programs.status()["writers"]["a"]["in_flight"] == 0, "and what it had not stored")
        wait_for_more(programs)
        weights = programs.status()["writers"]["a"]
        assert (weights["weight"], weights["configured"]) == (30, 30)
        programs.start(name)
        wait_for(lambda: share_of(programs, "a") == 0.3, "it has its share again")
        before = programs.status()["writers"]["a"]["stored"]
        wait_for(lambda: programs.status()["writers"]["a"]["stored"] > before, "it stores again")
    assert_nothing_lost(programs)
    assert programs.status()["version"] == 1


@pytest.mark.parametrize("name", ["redis-a", "writer-a"])
def test_one_that_stands_still_holds_nobody_up_for_longer_than_it_takes_to_be_down(
    start: StartPrograms, name: str
) -> None:
    """Whatever is captured meanwhile is stored by the others, though it stands still all the time."""
    programs = start(listener={"linger": "5ms"})
    with Load(programs.port):
        programs.signal(name, signal.SIGSTOP)
        wait_for(lambda: share_of(programs, "a") == 0, "the others get its share")
        captured = programs.status()["ledger"]["captured"]
        wait_for(lambda: programs.status()["ledger"]["stored"] > captured, "all of it is stored by the others")
    programs.wait_settled(captured)
    programs.signal(name, signal.SIGCONT)
    assert_nothing_lost(programs)


def test_a_redis_that_is_killed_takes_with_it_only_what_it_had(start: StartPrograms) -> None:
    programs = start(listener=_ALWAYS)
    with Load(programs.port):
        wait_for_more(programs)
        programs.kill("redis-a")
        wait_for(lambda: share_of(programs, "a") == 0, "the others get its share")
    ledger = programs.wait_settled(1)["ledger"]
    gone = programs.status()["writers"]["a"]["stored"]
    assert 0 < gone < ledger["captured"]
    assert len({(record.stream, record.sequence) for record in stored(programs, "b")}) >= ledger["captured"] - gone
