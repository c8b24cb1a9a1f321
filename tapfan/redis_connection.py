"""How a writer's Redis is reached: redis-py connects (URL, AUTH, TLS, unix sockets, Sentinel, Cluster)."""

import re
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import RedisClusterException
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from tapfan import redis_urls
from tapfan.sections import WriterSettings

OLDEST_VERSION = (6, 2)  # SET … PXAT
# Redis's answers to SELECT; in a database's place in a URL there is nothing but digits.
_NO_DATABASE = re.compile("DB index|out of range|SELECT is not allowed")
_CLUSTER_TRIES_AGAIN = 2  # a call to a cluster's node that has gone, with the layout looked up again before


def pool(writer: WriterSettings, timeout_s: float, connect_timeout_s: float) -> redis.ConnectionPool:
    """Connections to that writer's Redis, each new one to whom the sentinels name then, where it has some.

    None is made yet, and none retries by itself. Raises OSError when the password's file cannot be read, and
    ValueError for a cluster, which has no such pool.
    """
    group = redis_urls.group(writer.redis)
    options = _options(writer, timeout_s, connect_timeout_s) | {"retry": Retry(NoBackoff(), 0)}
    if group is None:
        return redis.ConnectionPool.from_url(writer.redis, **options)
    if group.kind == "cluster":
        raise ValueError("a cluster has no single pool of connections")
    own = ("protocol", "retry", "socket_timeout", "socket_connect_timeout")
    asked = Sentinel(group.hosts, sentinel_kwargs={key: options[key] for key in own} | group.sentinel_options)
    return SentinelConnectionPool(group.master, asked, **options | group.options)


def client(
    writer: WriterSettings, timeout_s: float, connect_timeout_s: float, nodes: Sequence[tuple[str, int]] = ()
) -> redis.Redis | redis.RedisCluster:
    """A client of that writer's Redis. Of a cluster, it looks up the layout at once; the others connect when needed.

    `nodes`: those of the cluster to ask, in place of the URL's. Raises OSError when the password's file cannot be
    read, and redis.RedisError when no node of a cluster answers.
    """
    group = redis_urls.group(writer.redis)
    if group is None or group.kind != "cluster":
        return redis.Redis.from_pool(pool(writer, timeout_s, connect_timeout_s))
    options = _options(writer, timeout_s, connect_timeout_s) | group.options
    try:
        return redis.RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in nodes or group.hosts],
            retry=Retry(NoBackoff(), _CLUSTER_TRIES_AGAIN),
            **options,
        )
    except RedisClusterException as error:
        raise _cause(error) from error


def reason(error: Exception) -> str:
    """What went wrong, for people."""
    if isinstance(error, MasterNotFoundError):  # which goes on with how redis-py is connected to each sentinel
        return f"{str(error).partition(' : ')[0]}: no sentinel that answers knows one that is up"
    return text(error)


def lacks_database(error: Exception) -> bool:
    """Whether it is the server's answer to SELECT that it has no database of that number."""
    return isinstance(error, redis.ResponseError) and _NO_DATABASE.search(str(error)) is not None


def text(error: Exception) -> str:
    """What an error says, without the arguments of a command unknown to Redis, which it repeats: AUTH's are secret."""
    return str(error).partition(", with args beginning with")[0].strip().rstrip(".") or type(error).__name__


def _options(writer: WriterSettings, timeout_s: float, connect_timeout_s: float) -> dict[str, Any]:
    """The keywords of every connection; what the URL itself says goes before them."""
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connect_timeout_s,
        "client_name": f"tapfan-{writer.name}",
    }
    if writer.password_file is not None:
        options["password"] = writer.password_file.read_text(encoding="utf-8").strip()
    elif writer.password is not None:
        options["password"] = writer.password.get_secret_value()
    return options


def _cause(error: BaseException) -> redis.RedisError:
    """What a node answered, or why it did not: redis-py wraps it in what is no RedisError."""
    found = redis.RedisError(str(error))
    step: BaseException | None = error
    while step is not None:
        if isinstance(step, redis.RedisError):
            found = step
        step = step.__cause__ or step.__context__
    return found
