"""Records as they are stored, of real Redis servers."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_network

import pytest

from tapfan.batch import Records
from tapfan.reader import Query, Reader
from tapfan.settings import Settings
from tests.process.running import DEADLINE_S, wait_for
from tests.tapfan.reader.conftest import Servers
from tests.tapfan.reader.storing import TTL_MS, Made, now_ns, put_block, put_records, settings
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
    server.client.set("tcp:check", "x")
    put_block(server, Made(now_ns(), 10).batch)
    take(followed, 10)
    assert reader.skipped["foreign_key"] >= 1


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


@pytest.mark.parametrize("forbidden", ["-client|tracking", "-subscribe", "resetchannels"])
def test_without_the_right_to_be_told_keys_are_looked_through(server: Server, follow: Follow, forbidden: str) -> None:
    server.run("acl", "setuser", "default", forbidden)
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
