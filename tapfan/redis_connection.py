"""How a writer's Redis is reached: redis-py connects (URL, AUTH, TLS, unix sockets)."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tapfan.settings import WriterSettings

OLDEST_VERSION = (6, 2)  # SET … PXAT


def pool(writer: WriterSettings, timeout_s: float, connect_timeout_s: float) -> redis.ConnectionPool:
    """Connections to that writer's Redis; none is made yet, and none retries by itself.

    Raises OSError when the password's file cannot be read.
    """
    options = {}
    if writer.password_file is not None:
        options["password"] = writer.password_file.read_text(encoding="utf-8").strip()
    elif writer.password is not None:
        options["password"] = writer.password.get_secret_value()
    return redis.ConnectionPool.from_url(
        writer.redis,
        protocol=2,
        socket_timeout=timeout_s,
        socket_connect_timeout=connect_timeout_s,
        retry=Retry(NoBackoff(), 0),
        client_name=f"tapfan-{writer.name}",
        **options,
    )
