"""The Redis servers that hold a writer's keys: one, or all primaries of a cluster."""

from dataclasses import dataclass

import redis

from tapfan import redis_connection
from tapfan.settings import WriterSettings

_CONNECT_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Node:
    """One server: what to call it in front of a user, and how it is reached."""

    title: str
    pool: redis.ConnectionPool


def nodes(writer: WriterSettings, timeout_s: float) -> list[Node]:
    """The servers of that writer. Raises OSError or redis.RedisError when they cannot be known."""
    client = redis_connection.client(writer, timeout_s, _CONNECT_TIMEOUT_S)
    if isinstance(client, redis.Redis):
        return [Node(title(writer), client.connection_pool)]
    client.disconnect_connection_pools()  # those that it looked the layout up by
    return [
        Node(f"{title(writer)}, node {primary.name}", client.get_redis_connection(primary).connection_pool)
        for primary in client.get_primaries()
    ]


def title(writer: WriterSettings) -> str:
    """What a writer's Redis is called."""
    return f"the Redis of writer {writer.name} ({writer.redacted})"
