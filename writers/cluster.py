"""A Redis Cluster as one place to store: redis-py knows which node has a key's slot, and follows where it goes."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import hiredis
import redis
from redis.cluster import ClusterNode
from redis.exceptions import AskError, MovedError, NoPermissionError, RedisClusterException

from tapfan.redis_connection import client, reason
from tapfan.settings import WriterSettings
from writers import store
from writers.commands import Commands
from writers.store import Store, StoreError, check_confirmed
from writers.vitals import CHECK, CHECK_REPLIES, UnfitError, Vitals, read_vitals

_ROUNDS = 5  # a slot may move, and the next one while the first is looked up
_NO_EVICTION = "noeviction"

Command = list[bytes]
T = TypeVar("T")


def store_for(settings: WriterSettings) -> "Store | ClusterStore":
    """What a writer with these settings stores to."""
    return ClusterStore(settings) if "+cluster://" in settings.redis else Store(settings)


class ClusterStore:
    """A `Store` whose keys are on many nodes. For one thread.

    Everything goes through redis-py's clients of the nodes, one pipeline for each: SETs, then WAIT on the same
    connection. After a failure the layout is looked up anew, from the URL's nodes, or the last ones known if none of
    them answers.
    """

    def __init__(self, settings: WriterSettings) -> None:
        self._settings = settings
        self._cluster: redis.RedisCluster | None = None
        self._known: list[tuple[str, int]] = []

    def set_all(self, commands: Commands) -> None:
        """Send each command to its node and check every reply; with `confirm`, replicas have all. Raises StoreError."""
        if commands.count:
            self._attempt(lambda cluster: self._set(cluster, _unpacked(commands.data, commands.count)))

    def check(self, trial: bool = False) -> Vitals:
        """See whether all of the cluster would take records: every slot is served, and every primary is fit.

        `trial`: see also whether each takes a SET. Gives the sums of their memory and keys, and the worst of the rest.
        Raises StoreError.
        """
        return self._attempt(lambda cluster: self._check(cluster, trial))

    def close(self) -> None:
        """Close all connections, if there are any."""
        if self._cluster is not None:
            self._known = [(node.host, node.port) for node in self._cluster.get_nodes()]
            self._cluster.close()
            self._cluster = None

    def _attempt(self, work: Callable[[redis.RedisCluster], T]) -> T:
        try:
            return work(self._connected())
        except StoreError:
            self.close()
            raise
        except (UnfitError, redis.RedisError, RedisClusterException, OSError, ValueError) as error:
            self.close()
            raise StoreError(reason(error)) from error

    def _connected(self) -> redis.RedisCluster:
        if self._cluster is None:
            try:
                self._cluster = self._client([])
            except redis.RedisError:
                if not self._known:
                    raise
                self._cluster = self._client(self._known)
        return self._cluster

    def _client(self, nodes: Sequence[tuple[str, int]]) -> redis.RedisCluster:
        made = client(self._settings, store.TIMEOUT_S, store.CONNECT_TIMEOUT_S, nodes)
        assert isinstance(made, redis.RedisCluster)
        return made

    def _set(self, cluster: redis.RedisCluster, left: Sequence[Command]) -> None:
        asking: dict[tuple[str, int], list[Command]] = {}
        for _ in range(_ROUNDS):
            groups = [(node, commands, False) for node, commands in _by_node(cluster, left)]
            groups += [(_node(cluster, *address), commands, True) for address, commands in asking.items()]
            left, asking = [], defaultdict(list)
            for node, commands, is_asking in groups:
                for command, reply in zip(commands, self._send(cluster, node, commands, is_asking), strict=True):
                    if isinstance(reply, MovedError):
                        left.append(command)
                    elif isinstance(reply, AskError):
                        asking[reply.host, reply.port].append(command)
                    elif reply != b"OK":
                        raise StoreError(f"refused by {node.name}: {reply}")
            if not left and not asking:
                return
            if left:
                cluster.nodes_manager.initialize()
        raise StoreError("slots of the cluster are moving: the nodes send each other's keys back and forth")

    def _send(
        self, cluster: redis.RedisCluster, node: ClusterNode, commands: Sequence[Command], is_asking: bool
    ) -> list[Any]:
        """Send to one node; gives the reply to each command. `is_asking`: their slots are moving there."""
        pipeline = cluster.get_redis_connection(node).pipeline(transaction=False)
        for command in commands:
            if is_asking:
                pipeline.execute_command("ASKING")
            pipeline.execute_command(*command)
        if self._settings.confirm == "replica":
            pipeline.execute_command("WAIT", 1, round(store.CONFIRM_S * 1000))
        replies = pipeline.execute(raise_on_error=False)
        if self._settings.confirm == "replica":
            check_confirmed(replies.pop())
        return replies[1::2] if is_asking else replies

    def _check(self, cluster: redis.RedisCluster, trial: bool) -> Vitals:
        if trial:
            self._set(cluster, _trials(cluster))
        self._check_slots(cluster)
        found = [self._check_primary(cluster, node) for node in cluster.get_primaries()]
        return _together(found)

    def _check_slots(self, cluster: redis.RedisCluster) -> None:
        pipeline = cluster.get_redis_connection(cluster.get_default_node()).pipeline(transaction=False)
        pipeline.execute_command(b"CLUSTER", b"INFO")
        (text,) = map(_allowed, pipeline.execute(raise_on_error=False))
        info = dict(line.split(":", 1) for line in (text or b"").decode(errors="replace").splitlines() if ":" in line)
        if info.get("cluster_state", "ok") != "ok":
            raise StoreError(f"the cluster is down: {info.get('cluster_slots_ok', 'some')} of 16384 slots are served")

    def _check_primary(self, cluster: redis.RedisCluster, node: ClusterNode) -> Vitals:
        begun_s, begun_ns = time.monotonic(), time.time_ns()
        pipeline = cluster.get_redis_connection(node).pipeline(transaction=False)
        for command in _unpacked(memoryview(CHECK), CHECK_REPLIES):
            pipeline.execute_command(*command)
        answers = [_allowed(answer) for answer in pipeline.execute(raise_on_error=False)]
        took_us = round((time.monotonic() - begun_s) * 1e6)
        try:
            vitals = read_vitals(answers, took_us, (begun_ns + time.time_ns()) // 2)
            self._send(cluster, node, [], False)
        except (UnfitError, StoreError) as error:
            raise StoreError(f"{node.name}: {error}") from error
        return vitals


def _unpacked(data: memoryview, count: int) -> list[Command]:
    reader = hiredis.Reader()
    reader.feed(bytes(data))
    return [reader.gets() for _ in range(count)]


def _by_node(cluster: redis.RedisCluster, commands: Sequence[Command]) -> list[tuple[ClusterNode, list[Command]]]:
    groups: dict[str, tuple[ClusterNode, list[Command]]] = {}
    for command in commands:
        node = cluster.get_node_from_key(command[1])
        groups.setdefault(node.name, (node, []))[1].append(command)
    return list(groups.values())


def _node(cluster: redis.RedisCluster, host: str, port: int) -> ClusterNode:
    """One that the cluster may not yet have slots on."""
    return cluster.get_node(host, port) or ClusterNode(host, port)


def _trials(cluster: redis.RedisCluster) -> list[Command]:
    """A SET for each primary that leaves nothing behind, as its time is over at once."""
    wanted = {node.name for node in cluster.get_primaries()}
    trials: dict[str, Command] = {}
    number = 0
    while trials.keys() < wanted:
        key = b"tcp:check%d" % number
        trials.setdefault(cluster.get_node_from_key(key).name, [b"SET", key, b"1", b"PXAT", b"1"])
        number += 1
    return list(trials.values())


def _allowed(answer: Any) -> Any:
    """An answer; None in place of one that the user may not have. Raises StoreError for another error."""
    if isinstance(answer, NoPermissionError):
        return None
    if isinstance(answer, Exception):
        raise StoreError(f"refused: {answer}")
    return answer


def _together(found: Sequence[Vitals]) -> Vitals:
    policies = {vitals.policy for vitals in found if vitals.policy is not None}
    maxima = [vitals.max_memory for vitals in found]
    return Vitals(
        max(vitals.round_trip_us for vitals in found),
        _sum([vitals.used_memory for vitals in found]),
        0 if 0 in maxima else _sum(maxima),
        min(policies, key=lambda policy: policy == _NO_EVICTION, default=None),
        _sum([vitals.expiring for vitals in found]),
        max((vitals.ahead_us for vitals in found if vitals.ahead_us is not None), key=abs, default=None),
    )


def _sum(values: Sequence[int | None]) -> int | None:
    """None where one is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
