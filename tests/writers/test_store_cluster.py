"""A store on a real cluster: each key on its node, wherever its slot goes, and a check of all nodes."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from redis.cluster import ClusterNode
from redis.crc import key_slot

from tapfan.sections import Layout, WriterSettings
from tests.process.redis_servers import RedisServer, clustered
from tests.process.running import wait_for
from writers import cluster, store
from writers.cluster import ClusterStore, _together, store_for
from writers.commands import Commands
from writers.concerns import concerns
from writers.store import Store, StoreError
from writers.vitals import Vitals

_COUNT = 300


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CONFIRM_S", 0.2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """Three primaries without replicas."""
    with clustered(tmp_path_factory.mktemp("cluster"), replicas=0) as nodes:
        yield nodes


@pytest.fixture
def nodes(made: list[RedisServer]) -> list[RedisServer]:
    """The same, with nothing in it."""
    for node in made:
        node.run("FLUSHALL")
    return made


@pytest.fixture
def opened(nodes: list[RedisServer]) -> Iterator[ClusterStore]:
    """A store on it, by its first node's address."""
    with closing(_store(nodes[0])) as made:
        yield made


def _store(node: RedisServer, confirm: str = "none") -> ClusterStore:
    settings = {"name": "a", "redis": f"redis+cluster://{node.address}", "weight": 1, "confirm": confirm}
    made = store_for(WriterSettings.model_validate(settings))
    assert isinstance(made, ClusterStore)
    return made


def _commands(first: int = 0, count: int = _COUNT) -> Commands:
    keys = [b"tcp:%06d" % number for number in range(first, first + count)]
    data = b"".join(b"*3\r\n$3\r\nSET\r\n$10\r\n%s\r\n$4\r\nv\r\n\x00\r\n" % key for key in keys)
    return Commands(memoryview(data), count, 0)


def _keys(nodes: list[RedisServer]) -> list[str]:
    return sorted(key for node in nodes for key in node.client.scan_iter(count=1000))


def _wanted(count: int = _COUNT) -> list[str]:
    return [f"tcp:{number:06d}" for number in range(count)]


def test_a_url_with_cluster_leads_to_a_cluster(nodes: list[RedisServer]) -> None:
    assert isinstance(store_for(WriterSettings(name="a", redis=f"redis://{nodes[0].address}", weight=1)), Store)


def test_each_key_is_on_its_node_with_its_bytes(opened: ClusterStore, nodes: list[RedisServer]) -> None:
    opened.set_all(_commands())
    assert all(node.client.dbsize() > _COUNT / 5 for node in nodes)
    assert _keys(nodes) == _wanted()
    assert {node.client.get(key) for node in nodes for key in node.client.scan_iter()} == {"v\r\n\x00"}
    opened.set_all(Commands(memoryview(b""), 0, 5))


def test_a_large_value_comes_whole(opened: ClusterStore, nodes: list[RedisServer]) -> None:
    """As a block's is."""
    value = bytes(range(256)) * 4096
    data = b"*3\r\n$3\r\nSET\r\n$6\r\ntcpb:1\r\n$%d\r\n%s\r\n" % (len(value), value)
    opened.set_all(Commands(memoryview(data), 1, 0))
    assert [node.run("STRLEN", "tcpb:1") for node in nodes if node.client.dbsize()] == [len(value)]


@pytest.mark.parametrize("trial", [False, True])
def test_a_check_tells_the_sums_of_all_nodes(opened: ClusterStore, nodes: list[RedisServer], trial: bool) -> None:
    before = opened.check(trial)
    used = sum(node.info("memory", "used_memory") for node in nodes)
    assert before.used_memory == pytest.approx(used, rel=0.2)
    assert (before.max_memory, before.policy) == (0, "noeviction")
    assert before.round_trip_us > 0
    for node in nodes:
        node.client.config_set("maxmemory", 10**8)
    nodes[1].client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        after = opened.check(trial)
    finally:
        for node in nodes:
            node.client.config_set("maxmemory", 0)
            node.client.config_set("maxmemory-policy", "noeviction")
    assert (after.max_memory, after.policy) == (3 * 10**8, "allkeys-lru")
    wait_for(lambda: _keys(nodes) == [], "a trial leaves nothing behind")


@pytest.mark.parametrize("trial", [False, True])
def test_one_node_without_memory_is_told_by_its_name(
    opened: ClusterStore, nodes: list[RedisServer], trial: bool
) -> None:
    nodes[2].client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreError, match=rf"{nodes[2].address}: .*(maxmemory|out of memory)"):
            opened.check(trial)
        with pytest.raises(StoreError, match=rf"refused by {nodes[2].address}: "):
            opened.set_all(_commands())
    finally:
        nodes[2].client.config_set("maxmemory", 0)
    opened.check(trial)
    opened.set_all(_commands())
    assert _keys(nodes) == _wanted()


_UNLIMITED = Vitals(1, 10, 0, "noeviction", 1, 0)
_EVICTING = Vitals(2, 20, 100, "allkeys-lru", 2, -5)


@pytest.mark.parametrize(
    ("found", "max_memory", "policy"),
    [
        ([_UNLIMITED, _EVICTING, _UNLIMITED], 300, "allkeys-lru"),
        ([_EVICTING, replace(_EVICTING, max_memory=90, policy="noeviction")], 180, "allkeys-lru"),
        ([_UNLIMITED, replace(_UNLIMITED, policy="allkeys-lru")], 0, "allkeys-lru"),
        ([replace(_EVICTING, max_memory=0), replace(_UNLIMITED, max_memory=100)], 200, "noeviction"),
        ([_EVICTING, Vitals(1)], None, "allkeys-lru"),
    ],
)
def test_a_cluster_has_room_until_its_smallest_node_is_full(
    found: list[Vitals], max_memory: int | None, policy: str
) -> None:
    """Whose policy is then what happens."""
    vitals = _together(found)
    assert (vitals.max_memory, vitals.policy) == (max_memory, policy)


def test_one_node_that_evicts_is_warned_of(opened: ClusterStore, nodes: list[RedisServer]) -> None:
    nodes[1].client.config_set("maxmemory", 10**8)
    nodes[1].client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert "eviction" in concerns(opened.check(), None)
        nodes[2].client.config_set("maxmemory", 1)
        with pytest.raises(StoreError, match="out of memory") as failure:
            opened.check()
    finally:
        for node in nodes:
            node.client.config_set("maxmemory", 0)
            node.client.config_set("maxmemory-policy", "noeviction")
    assert "eviction" in concerns(failure.value.vitals, None), "also while another node takes nothing"


@pytest.mark.parametrize(("layout", "keys"), [("record", "~tcp:*"), ("block", "~tcpb:*")])
def test_a_trial_keeps_to_the_keys_that_its_layout_has(nodes: list[RedisServer], layout: Layout, keys: str) -> None:
    settings = WriterSettings(name="a", redis=f"redis+cluster://tap:x@{nodes[0].address}", weight=1)
    for node in nodes:
        node.run("ACL", "SETUSER", "tap", "reset", "on", ">x", keys, "+@all")
    with closing(store_for(settings, layout)) as opened:
        assert opened.check(trial=True).used_memory


def test_a_node_without_slots_yet_is_asked_by_a_connection_that_is_closed(
    opened: ClusterStore, nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = key_slot(b"tcp:000007")
    source = _owner(nodes, slot)
    target = (source + 1) % len(nodes)
    kept: list[ClusterNode] = []  # else Python closes what nobody has any more

    def made(host: str, port: int) -> ClusterNode:
        kept.append(ClusterNode(host, port))
        return kept[-1]

    monkeypatch.setattr(cluster, "ClusterNode", made)
    opened.check()
    assert opened._cluster is not None
    del opened._cluster.nodes_manager.nodes_cache[nodes[target].address]  # as one that has none is not known
    next(_move(nodes, slot, source, target))
    sent = _commands(7, 1)
    before = nodes[target].client.info("clients")["connected_clients"]
    for _ in range(3):
        opened.set_all(sent)
    assert _asked(nodes[target], "tcp:000007") == "v\r\n\x00"
    wait_for(lambda: nodes[target].client.info("clients")["connected_clients"] <= before, "none is left open")
    assert len(kept) == 3
    nodes[target].run("FLUSHALL")
    for at in (source, target):
        nodes[at].run("CLUSTER", "SETSLOT", slot, "STABLE")


def _move(nodes: list[RedisServer], slot: int, source: int, target: int) -> Iterator[None]:
    """Move a slot's ownership as redis-cli does; what is between the steps may be done meanwhile."""
    ids = [node.run("CLUSTER", "MYID") for node in nodes]
    nodes[target].run("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
    nodes[source].run("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
    yield
    for key in nodes[source].client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000):
        nodes[source].run("MIGRATE", "127.0.0.1", nodes[target].port, key, 0, 5000)
    for node in (nodes[target], nodes[source]):
        node.run("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
    yield


def _owner(nodes: list[RedisServer], slot: int) -> int:
    (entry,) = (entry for entry in nodes[0].run("CLUSTER", "SLOTS") if entry[0] <= slot <= entry[1])
    return [node.port for node in nodes].index(entry[2][1])


def test_keys_follow_a_slot_while_it_moves_and_after_it(opened: ClusterStore, nodes: list[RedisServer]) -> None:
    slot = key_slot(b"tcp:000007")
    source = _owner(nodes, slot)
    target = (source + 1) % len(nodes)
    moving = _move(nodes, slot, source, target)
    next(moving)
    opened.set_all(_commands())
    assert _asked(nodes[target], "tcp:000007") == "v\r\n\x00"
    next(moving)
    for node in nodes:
        node.run("FLUSHALL")
    opened.set_all(_commands())
    assert nodes[target].client.get("tcp:000007") == "v\r\n\x00"
    assert _keys(nodes) == _wanted()
    for _ in _move(nodes, slot, target, source):
        opened.set_all(_commands())
    assert _keys(nodes) == _wanted()


def _asked(node: RedisServer, key: str) -> object:
    """The value of a key whose slot is moving to that node."""
    pipeline = node.client.pipeline(transaction=False)
    pipeline.execute_command("ASKING")
    pipeline.get(key)
    return pipeline.execute()[1]


def test_with_confirm_a_cluster_without_replicas_takes_nothing(nodes: list[RedisServer]) -> None:
    with closing(_store(nodes[0], "replica")) as opened:
        calls: list[Callable[[], object]] = [lambda: opened.set_all(_commands()), opened.check]
        for call in calls:
            with pytest.raises(StoreError, match=r"no replica has confirmed within 0\.2 s"):
                call()


def test_a_cluster_that_misses_slots_is_down_and_up_again(opened: ClusterStore, nodes: list[RedisServer]) -> None:
    opened.check()
    assert opened._cluster is not None
    asked = [node.port for node in nodes].index(opened._cluster.get_default_node().port)
    slot = next(
        slot for slot in map(key_slot, (b"tcp:%06d" % at for at in range(_COUNT))) if _owner(nodes, slot) == asked
    )
    nodes[asked].run("CLUSTER", "DELSLOTS", slot)
    try:
        wait_for(lambda: nodes[asked].run("CLUSTER INFO")["cluster_state"] == "fail", "the node sees it")
        with pytest.raises(StoreError, match="the cluster is down: 16383 of 16384 slots are served"):
            opened.check()
        with pytest.raises(StoreError):
            opened.set_all(_commands())
    finally:
        nodes[asked].run("CLUSTER", "ADDSLOTS", slot)

    def stored() -> bool:
        try:
            opened.set_all(_commands())
            opened.check(trial=True)
        except StoreError:
            return False
        return True

    wait_for(stored, "it takes records again")
    assert _keys(nodes) == _wanted()


def test_when_the_nodes_of_the_url_are_gone_the_others_are_asked(tmp_path: Path) -> None:
    with clustered(tmp_path) as nodes, closing(_store(nodes[0])) as opened:
        opened.set_all(_commands())
        nodes[0].kill()
        with pytest.raises(StoreError):
            opened.set_all(_commands())

        def stored() -> bool:
            try:
                opened.set_all(_commands(_COUNT))
            except StoreError:
                return False
            return True

        wait_for(stored, "the replica has taken over")
        assert _wanted(2 * _COUNT)[_COUNT:] == [key for key in _keys(nodes[1:4]) if key >= f"tcp:{_COUNT:06d}"]
        with closing(_store(nodes[0])) as other, pytest.raises(StoreError, match="Connection refused"):
            other.check()


def test_a_node_that_hangs_is_told(
    opened: ClusterStore, nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "TIMEOUT_S", 0.3)
    opened.check()
    nodes[1].hold_up()
    try:
        with pytest.raises(StoreError, match="Timeout"):
            opened.set_all(_commands())
    finally:
        nodes[1].let_go_on()

    def stored() -> bool:
        try:
            opened.set_all(_commands())
        except (StoreError, redis.RedisError):
            return False
        return True

    wait_for(stored, "it takes records again")
    assert _keys(nodes) == _wanted()
