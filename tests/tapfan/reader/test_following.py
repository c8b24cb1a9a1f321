"""Records as they are stored, of real Redis servers."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_network

import pytest
import redis

from tapfan.batch import Records
from tapfan.reader import Query, Reader, following
from tapfan.reader.nodes import Node, nodes, title
from tapfan.reader.report import Report
from tapfan.sections import WriterSettings
from tapfan.settings import Settings
from tests.process.running import DEADLINE_S, wait_for
from tests.tapfan.reader.conftest import Servers
from tests.tapfan.reader.storing import TTL_MS, Made, now_ns, put_block, put_records, settings, stored_texts
from tests.tapfan.strategies import rows
from tests.writers.servers import Server

POLL_S = 0.05

Followed = Generator[Records, None, None]


@pytest.fixture
def follow() -> Iterator[Callable[..., tuple[Reader, Followed]]]:
    """Follows with a query what those of a configuration store; it has begun then."""
    with ExitStack() as stack:

        def begin(given: Settings, query: Query = Query(), timeout_s: float = 5.0) -> tuple[Reader, Followed]:  # noqa: B008
            reader = stack.enter_context(Reader(given, timeout_s=timeout_s))
            followed = stack.enter_context(closing(reader.follow(query, poll_s=POLL_S)))
            assert len(next(followed)) == 0
            return reader, followed

        yield begin


Follow = Callable[..., tuple[Reader, Followed]]


def take(followed: Followed, count: int) -> Records:
    """The next so many records, all of which must come, and none beside them."""
    parts: list[Records] = []

    def is_there() -> bool:
        parts.append(next(followed))
        return sum(map(len, parts)) >= count

    wait_for(is_there, f"{count} records")
    parts += [next(followed), next(followed)]
    found = Records.concatenate(parts)
    assert len(found) == count
    return found


def test_what_is_stored_comes_once_and_what_was_before_does_not(servers: Servers, follow: Follow) -> None:
    a, b = servers(), servers()
    put_records(a, Made(now_ns(), 10).batch)
    put_block(b, Made(now_ns(), 10, first=10).batch)
    _, followed = follow(settings(a, b))
    batch = Made(now_ns(), 100, first=20, sources=["203.0.113.7", "2001:db8::1"]).batch
    put_records(a, batch[:60])
    assert rows(take(followed, 60)) == rows(batch.records[:60])
    put_block(b, batch[40:])
    put_records(a, batch[:60])
    assert rows(take(followed, 40)) == rows(batch.records[60:])


def test_a_query_chooses(server: Server, follow: Follow) -> None:
    start = now_ns()
    query = Query(sources=(ip_network("2001:db8::/32"),), flags=2)
    _, followed = follow(settings(server), query)
    batch = Made(start, 120, sources=["203.0.113.7", "2001:db8::1"], flags=[18, 18, 16]).batch
    put_records(server, batch[:60])
    put_block(server, batch[60:])
    assert set(take(followed, 40).flags.tolist()) == {18}


def test_keys_that_go_are_no_records(server: Server, follow: Follow) -> None:
    put_records(server, Made(now_ns(), 10).batch)
    reader, followed = follow(settings(server))
    for key in list(server.client.scan_iter()):
        server.client.delete(key)
    server.client.set("tcp:foreign", "x")
    server.run("flushall")
    for trial in ("tcp:check", "tcpb:check", "tcp:check12"):
        server.client.set(trial, "1", pxat=1)
    put_block(server, Made(now_ns(), 10).batch)
    take(followed, 10)
    assert reader.skipped == {"foreign_key": 1}


def test_a_connection_that_breaks_loses_nothing(server: Server, follow: Follow) -> None:
    reader, followed = follow(settings(server))
    put_records(server, Made(now_ns(), 10).batch)
    take(followed, 10)
    server.run("client", "kill", "type", "pubsub")
    put_records(server, Made(now_ns(), 10, first=10).batch)
    wait_for(lambda: (next(followed), reader.problems)[1], "it is noticed")
    assert "writer a" in reader.problems[0]
    put_block(server, Made(now_ns(), 10, first=20).batch)
    take(followed, 20)
    assert reader.problems == []


@pytest.fixture
def _only_a_little_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage of a second is as one of five minutes is usually."""
    monkeypatch.setattr(following, "_LATE_NS", 200_000_000)


@pytest.mark.usefixtures("_only_a_little_late")
def test_a_second_loss_before_all_that_was_missed_is_read_loses_nothing(server: Server, follow: Follow) -> None:
    reader, followed = follow(settings(server))
    server.run("acl", "setuser", "default", "-getrange")
    server.run("client", "kill", "type", "pubsub")
    wait_for(lambda: (next(followed), reader.problems)[1], "it is noticed")
    put_records(server, Made(now_ns(), 10).batch)
    wait_for(lambda: (next(followed), "getrange" in str(reader.problems))[1], "what was missed is looked for in vain")
    server.run("acl", "setuser", "default", "+getrange")
    take(followed, 10)


@pytest.mark.usefixtures("_only_a_little_late")
def test_what_one_server_misses_does_not_depend_on_another_of_its_writer(
    servers: Servers, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = servers(), servers()

    def two(writer: WriterSettings, timeout_s: float, _: Report) -> list[Node]:
        paths = (settings(server).writers[0] for server in (a, b))
        return [
            Node(f"{title(writer)}, node {number}", nodes(path, timeout_s)[0].pool) for number, path in enumerate(paths)
        ]

    monkeypatch.setattr(following, "nodes_or_report", two)
    reader, followed = follow(settings(a))
    away = a.path.rename(a.path.with_suffix(".away"))
    with closing(redis.Redis(unix_socket_path=str(away), protocol=2)) as client:
        a.client.connection_pool.disconnect()
        client.client_kill_filter(_type="normal", skipme=True)
        client.client_kill_filter(_type="pubsub")
        wait_for(lambda: (next(followed), "node 0" in str(reader.problems))[1], "the first is away")
        for key, value in stored_texts(Made(now_ns(), 10).batch):
            client.set(key, value, px=TTL_MS)
        time.sleep(0.5)  # so that the other is lost when that is no longer only a little late
        b.run("client", "kill", "type", "pubsub")
        wait_for(lambda: (next(followed), "node 1" in str(reader.problems))[1], "the second is away, too")
        wait_for(lambda: (next(followed), "node 1" not in str(reader.problems))[1], "the second is there again")
    away.rename(a.path)
    take(followed, 10)
    put_block(b, Made(now_ns(), 10, first=10).batch)
    take(followed, 10)


def test_a_server_that_comes_later_is_followed_then(servers: Servers, follow: Follow) -> None:
    a, b = servers(), servers()
    b.configure(requirepass="x")
    reader, followed = follow(settings(a, b))
    assert "writer b" in reader.problems[0]
    put_block(a, Made(now_ns(), 10).batch)
    take(followed, 10)
    b.configure(requirepass="")
    put_records(b, Made(now_ns(), 10, first=10).batch)
    take(followed, 10)
    assert reader.problems == []


def test_a_server_that_hangs_is_a_problem_for_itself_only(servers: Servers, follow: Follow) -> None:
    a, b = servers(), servers()
    reader, followed = follow(settings(a, b), timeout_s=0.3)
    b.hold_up()
    try:
        wait_for(lambda: (next(followed), reader.problems)[1], "it is noticed")
        assert "writer b" in reader.problems[0]
        put_block(a, Made(now_ns(), 10).batch)
        take(followed, 10)
    finally:
        b.let_go_on()
    wait_for(lambda: (next(followed), not reader.problems)[1], "it is followed again")
    put_block(b, Made(now_ns(), 10, first=10).batch)
    take(followed, 10)


@pytest.mark.parametrize("forbidden", ["-client +client|setname", "-subscribe", "resetchannels"])
def test_without_the_right_to_be_told_keys_are_looked_through(server: Server, follow: Follow, forbidden: str) -> None:
    server.run("acl", "setuser", "default", *forbidden.split())
    put_records(server, Made(now_ns(), 10).batch)
    _, followed = follow(settings(server))
    put_records(server, Made(now_ns(), 10, first=10).batch)
    take(followed, 10)
    put_block(server, Made(now_ns(), 30, first=10).batch)
    take(followed, 20)


def test_many_at_once(server: Server, follow: Follow) -> None:
    reader, followed = follow(settings(server, ttl=TTL_MS))
    for first in range(0, 50_000, 5000):
        put_records(server, Made(now_ns(), 5000, first=first).batch)
    for first in range(50_000, 150_000, 10_000):
        put_block(server, Made(now_ns(), 10_000, first=first).batch)
    take(followed, 150_000)
    assert reader.problems == []


def test_it_ends_when_it_should(server: Server) -> None:
    with Reader(settings(server)) as reader:
        ends = iter([False, False, True])
        assert [len(records) for records in reader.follow(stop=lambda: next(ends), poll_s=0.01)] == [0, 0, 0]
    wait_for(lambda: len(server.client.client_list()) == 1, "its connections are closed", DEADLINE_S)
