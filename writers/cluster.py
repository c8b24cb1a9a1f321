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
from tapfan.redis_warnings import EVICTS_NOTHING
from tapfan.sections import Layout, WriterSettings
from writers import store
from writers.commands import Commands
from writers.store import TRIAL_KEYS, RefusedError, Store, StoreError, check_confirmed
from writers.vitals import CHECK, CHECK_REPLIES, UnfitError, Vitals, read_vitals

_ROUNDS = 5  # a slot may move, and the next one while the first is looked up

Command = list[bytes]
T = TypeVar("T")


def store_for(settings: WriterSettings, layout: Layout = "record") -> "Store | ClusterStore":
    """What a writer with these settings stores to, in that layout."""
    return ClusterStore(settings, layout) if "+cluster://" in settings.redis else Store(settings, layout)


class ClusterStore:
    """A `Store` whose keys are on many nodes. For one thread.

    Everything goes through redis-py's clients of the nodes, one pipeline for each: SETs, then WAIT on the same
    connection. After a failure the layout is looked up anew, from the URL's nodes, or the last ones known if none of
    them answers.
    """

    def __init__(self, settings: WriterSettings, layout: Layout = "record") -> None:
        self._settings = settings
        self._trial_key = TRIAL_KEYS[layout]
        self._cluster: redis.RedisCluster | None = None
        self._known: list[tuple[str, int]] = []

    def set_all(self, commands: Commands) -> None:
        """Send each command to its node and check every reply; with `confirm`, replicas have all.

        Raises StoreError, and RefusedError where a node says no.
        """
        if commands.count:
            self._attempt(lambda cluster: self._set(cluster, _unpacked(commands.data, commands.count)))

    def check(self, trial: bool = False) -> Vitals:
        """See whether all of the cluster would take records: every slot is served, and every primary is fit.

        `trial`: see also whether each takes a SET. Gives what they use and hold in sum, and the worst of the rest.
        Raises StoreError.
        """
        vitals = self.measure()
        try:
            self._attempt(lambda cluster: self._try(cluster, trial))
        except StoreError as error:
            raise StoreError(str(error), vitals) from error
        return vitals

    def measure(self) -> Vitals:
        """The part of a check that only asks. Raises StoreError."""
        return self._attempt(self._measure)

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
        except (redis.RedisError, RedisClusterException, OSError, ValueError) as error:
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
                send = self._ask if is_asking else self._send
                for command, reply in zip(commands, send(cluster, node, commands), strict=True):
                    if isinstance(reply, MovedError):
                        left.append(command)
                    elif isinstance(reply, AskError):
                        asking[reply.host, reply.port].append(command)
                    elif reply != b"OK":
                        raise RefusedError(f"refused by {node.name}: {reply}")
            if not left and not asking:
                return
            if left:
                cluster.nodes_manager.initialize()
        raise StoreError("slots of the cluster are moving: the nodes send each other's keys back and forth")

    def _ask(self, cluster: redis.RedisCluster, node: ClusterNode, commands: Sequence[Command]) -> list[Any]:
        """Send to one to which the commands' slots are moving; the cluster's client may not know it yet."""
        try:
            return self._send(cluster, node, [part for command in commands for part in ([b"ASKING"], command)])[1::2]
        finally:
            if node.redis_connection is not None and cluster.get_node(node.host, node.port) is None:
                node.redis_connection.close()

    def _send(self, cluster: redis.RedisCluster, node: ClusterNode, commands: Sequence[Command]) -> list[Any]:
        """Send to one node; gives the reply to each command."""
        pipeline = cluster.get_redis_connection(node).pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        if self._settings.confirm == "replica":
            pipeline.execute_command("WAIT", 1, round(store.CONFIRM_S * 1000))
        replies = pipeline.execute(raise_on_error=False)
        if self._settings.confirm == "replica":
            check_confirmed(replies.pop())
        return replies

    def _try(self, cluster: redis.RedisCluster, trial: bool) -> None:
        if trial:
            self._set(cluster, _trials(cluster, self._trial_key))
        if self._settings.confirm == "replica":
            for node in cluster.get_primaries():
                try:
                    self._send(cluster, node, [])
                except StoreError as error:
                    raise StoreError(f"{node.name}: {error}") from error

    def _measure(self, cluster: redis.RedisCluster) -> Vitals:
        self._check_slots(cluster)
        found: list[Vitals] = []
        problem = ""
        for node in cluster.get_primaries():
            try:
                found.append(self._measure_primary(cluster, node))
            except UnfitError as error:
                found += [error.vitals] if error.vitals else []
                problem = problem or f"{node.name}: {error}"
        if problem:
            raise StoreError(problem, _together(found) if found else None)
        return _together(found)

    def _check_slots(self, cluster: redis.RedisCluster) -> None:
        pipeline = cluster.get_redis_connection(cluster.get_default_node()).pipeline(transaction=False)
        pipeline.execute_command(b"CLUSTER", b"INFO")
        (text,) = map(_allowed, pipeline.execute(raise_on_error=False))
        info = dict(line.split(":", 1) for line in (text or b"").decode(errors="replace").splitlines() if ":" in line)
        if info.get("cluster_state", "ok") != "ok":
            raise StoreError(f"the cluster is down: {info.get('cluster_slots_ok', 'some')} of 16384 slots are served")

    def _measure_primary(self, cluster: redis.RedisCluster, node: ClusterNode) -> Vitals:
        begun_s, begun_ns = time.monotonic(), time.time_ns()
        pipeline = cluster.get_redis_connection(node).pipeline(transaction=False)
        for command in _unpacked(memoryview(CHECK), CHECK_REPLIES):
            pipeline.execute_command(*command)
        answers = [_allowed(answer) for answer in pipeline.execute(raise_on_error=False)]
        took_us = round((time.monotonic() - begun_s) * 1e6)
        return read_vitals(answers, took_us, (begun_ns + time.time_ns()) // 2)


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


def _trials(cluster: redis.RedisCluster, begun: bytes) -> list[Command]:
    """A SET for each primary that leaves nothing behind, as its time is over at once; `begun`: how its key begins."""
    wanted = {node.name for node in cluster.get_primaries()}
    trials: dict[str, Command] = {}
    number = 0
    while trials.keys() < wanted:
        key = b"%s%d" % (begun, number)
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
    """Those of all nodes as one Redis's. Keys spread evenly, so that there is room until the smallest node is full."""
    bounded = [vitals for vitals in found if vitals.max_memory] or found
    policies = {vitals.policy for vitals in bounded if vitals.policy is not None}
    maxima = [vitals.max_memory for vitals in found]
    return Vitals(
        max(vitals.round_trip_us for vitals in found),
        _sum([vitals.used_memory for vitals in found]),
        None if None in maxima else len(found) * min((vitals.max_memory or 0) for vitals in bounded),
        min(policies, key=lambda policy: policy == EVICTS_NOTHING, default=None),
        _sum([vitals.expiring for vitals in found]),
        max((vitals.ahead_us for vitals in found if vitals.ahead_us is not None), key=abs, default=None),
    )


def _sum(values: Sequence[int | None]) -> int | None:
    """None where one is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
