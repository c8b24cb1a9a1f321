"""The master dies in the middle of a load: sentinels name another one, or the cluster makes one of a replica."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.conftest import StartPrograms
from tests.process.feeder import feeder
from tests.process.redis_servers import MASTER, SERVERS, RedisServer, clustered, replicated, watched
from tests.process.running import Programs, free_port, wait_for
from tests.process.steady import SteadyLoad, numbers


def _writer(start: StartPrograms, url: str, confirm: str) -> Programs:
    """A router and one writer, to that URL."""
    programs = start(weights={"a": 1}, given={"a": {"redis": url, "confirm": confirm}}, started=("router", "writer-a"))
    assert programs.status()["writers"]["a"]["redis"] == url
    return programs


@pytest.fixture
def start(programs: Callable[..., Programs]) -> StartPrograms:
    """Starts the programs that are named, and waits until they are ready."""

    def start_programs(started: tuple[str, ...], **options: object) -> Programs:
        made = programs(**options)
        made.start(*started)
        made.wait_ready()
        return made

    return start_programs


@pytest.fixture(params=SERVERS, ids=lambda server: server.name)
def program(request: pytest.FixtureRequest) -> Path:
    """Each server program of this machine."""
    found: Path = request.param
    return found


@pytest.fixture
def sentinel(tmp_path: Path, program: Path) -> Iterator[tuple[str, list[RedisServer]]]:
    """The URL of a master by its sentinels, one of whom is gone, and the servers: the master, then two replicas."""
    with replicated(tmp_path, 2, program) as servers, watched(tmp_path, servers[0], 2, program=program) as watching:
        yield f"redis+sentinel://127.0.0.1:{free_port()},{watching.address}/{MASTER}/0", servers


@pytest.fixture
def cluster(tmp_path: Path, program: Path) -> Iterator[tuple[str, list[RedisServer]]]:
    """The URL of a cluster by one of its nodes, which is the one that will be killed, and its nodes."""
    with clustered(tmp_path, program=program) as nodes:
        yield f"redis+cluster://{nodes[0].address}", nodes


def _is_master(server: RedisServer) -> bool:
    return bool(server.info("replication", "role") == "master")


def _found(*servers: RedisServer) -> set[int]:
    """The numbers of the records on these servers."""
    return {int(key[-12:], 16) for server in servers for key in server.client.scan_iter(count=1000)}


def _assert_all_is_told(programs: Programs, load: SteadyLoad) -> None:
    ledger = programs.status()["ledger"]
    assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (load.sent, load.sent, {})


@pytest.mark.timeout(120)
@pytest.mark.parametrize("confirm", ["none", "replica"])
def test_a_failover_by_sentinels_loses_nothing_that_was_confirmed(
    start: StartPrograms, sentinel: tuple[str, list[RedisServer]], confirm: str
) -> None:
    url, (master, *replicas) = sentinel
    programs = _writer(start, url, confirm)
    with feeder(programs) as feeding:
        load = SteadyLoad(feeding)
        load.until_more()
        master.kill()
        load.until(lambda: any(map(_is_master, replicas)), "a replica is master")
        after = load.sent
        load.until_more()
        load.finish()
    found = numbers(programs)
    assert set(range(after, load.sent)) <= found
    if confirm == "replica":
        assert found == set(range(load.sent))
    assert found == _found(*filter(_is_master, replicas))
    _assert_all_is_told(programs, load)


@pytest.mark.timeout(120)
def test_a_cluster_whose_node_dies_loses_nothing_that_was_confirmed(
    start: StartPrograms, cluster: tuple[str, list[RedisServer]]
) -> None:
    url, nodes = cluster
    programs = _writer(start, url, "replica")
    with feeder(programs) as feeding:
        load = SteadyLoad(feeding)
        load.until_more()
        assert all(node.client.dbsize() for node in nodes), "every node has its part"
        nodes[0].kill()
        load.until(lambda: _is_master(nodes[3]), "its replica takes its place")
        nodes[0].start()  # which is the replica now, without which nothing is confirmed
        load.until_more()
        load.finish()
    assert _found(*nodes[1:4]) == set(range(load.sent)) == numbers(programs)
    assert sum(node.client.dbsize() for node in nodes[1:4]) == load.sent, "each is on one node"
    assert not _is_master(nodes[0])
    _assert_all_is_told(programs, load)


def test_with_confirm_nothing_is_acknowledged_that_no_replica_has(
    start: StartPrograms, tmp_path: Path, program: Path
) -> None:
    """Records are acknowledged as soon as there is a replica again."""
    with replicated(tmp_path, 1, program) as (master, replica):
        programs = _writer(start, f"redis://{master.address}", "replica")
        with feeder(programs) as feeding:
            load = SteadyLoad(feeding)
            load.until_more()
            load.finish()
            before = load.acknowledged
            assert _found(replica) == set(range(before)), "what is acknowledged is there"
            replica.kill()
            load.until(lambda: programs.status()["writers"]["a"]["health"] == "down", "the writer is down")
            wait_for(lambda: "no replica has confirmed" in programs.status()["writers"]["a"]["reason"], "it says why")
            assert load.acknowledged == before
            replica.start()
            wait_for(lambda: programs.status()["writers"]["a"]["health"] == "up", "the writer is up again")
            load.finish()
        assert _found(master) == _found(replica) == set(range(load.sent))
