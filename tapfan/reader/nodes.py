"""The Redis servers that hold a writer's keys: one, or all primaries of a cluster."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

import redis

from tapfan import redis_connection
from tapfan.reader.exchange import FAILURES, trouble
from tapfan.reader.report import Report
from tapfan.sections import WriterSettings

_CONNECT_TIMEOUT_S = 2.0
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


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


def nodes_or_report(writer: WriterSettings, timeout_s: float, report: Report) -> list[Node] | None:
    """The servers of that writer; None, and a reason in the report, when they cannot be known."""
    try:
        for option, file in _files(writer):
            try:
                with open(file, "rb"):  # noqa: PTH123 (redis-py takes what is typed as it is)
                    pass
            except OSError as error:
                report.fail(title(writer), f"cannot be reached: its {option} {file!r}: {error.strerror}")
                return None
        return nodes(writer, timeout_s)
    except FAILURES as error:
        report.fail(title(writer), trouble(error, timeout_s))
    except ValueError as error:  # a password that is no text, a URL that redis-py cannot use
        report.fail(title(writer), f"cannot be reached: {error}")
    return None


def _files(writer: WriterSettings) -> list[tuple[str, str]]:
    """The files that a connection needs, by the option that names each."""
    options = dict(parse_qsl(writer.redis.partition("?")[2]))
    own = [] if writer.password_file is None else [("password_file", str(writer.password_file))]
    return own + [(option, options[option]) for option in _FILES if option in options]


def title(writer: WriterSettings) -> str:
    """What a writer's Redis is called."""
    return f"the Redis of writer {writer.name} ({writer.redacted})"
