"""Redis servers that are down, slow, or refuse: the others' answer, and what is told."""

import socket
import threading
import time
from pathlib import Path

import pytest

from tapfan.reader import Reader, ReaderError
from tapfan.settings import Settings, WriterSettings
from tests.tapfan.reader.conftest import Servers
from tests.tapfan.reader.storing import Made, now_ns, put_block, put_records, settings
from tests.writers.servers import Server

SECRET = "the-pass-word"


def with_b(server: Server, url: str, **options: object) -> Settings:
    """A configuration with writer a of that server, and writer b of what stands at the URL."""
    other = WriterSettings.model_validate({"name": "b", "redis": url, "weight": 1} | options)
    return settings(server).model_copy(update={"writers": (*settings(server).writers, other)})


def answer(reader: Reader) -> str:
    """What is told of the one Redis that does not answer, where the other has ten records."""
    assert sum(map(len, reader.batches())) == 10
    problems = reader.problems
    assert reader.top().total == 10
    assert reader.problems == problems
    assert len(list(reader.records())) == 10
    (problem,) = problems
    assert problem.startswith("the Redis of writer b (")
    assert problem.endswith("; the answer is partial")
    assert SECRET not in problem
    return problem


@pytest.fixture
def good(server: Server) -> Server:
    """A server with ten records."""
    put_records(server, Made(now_ns(), 5).batch)
    put_block(server, Made(now_ns(), 5, first=5).batch)
    return server


def test_one_that_is_not_there(good: Server, tmp_path: Path) -> None:
    with Reader(with_b(good, f"unix://:{SECRET}@{tmp_path}/nothing.sock")) as reader:
        assert "nothing.sock) does not answer: " in answer(reader)


def test_one_that_nobody_listens_for(good: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with Reader(with_b(good, f"redis://user:{SECRET}@127.0.0.1:{taken.getsockname()[1]}/0")) as reader:
            assert f"redis://127.0.0.1:{taken.getsockname()[1]}/0) does not answer: " in answer(reader)


def test_one_that_does_not_answer_in_time(good: Server, servers: Servers) -> None:
    slow = servers()
    slow.hold_up()
    try:
        with Reader(settings(good, slow), timeout_s=0.2) as reader:
            begun_s = time.monotonic()
            assert "does not answer within 0.2 s" in answer(reader)
            assert time.monotonic() - begun_s < 5
    finally:
        slow.let_go_on()


@pytest.mark.parametrize("options", [{}, {"password": SECRET}])
def test_one_that_refuses(good: Server, servers: Servers, options: dict[str, str]) -> None:
    closed = servers()
    closed.configure(requirepass="another")
    with Reader(with_b(good, f"unix://{closed.path}", **options)) as reader:
        assert ") refuses: " in answer(reader)


def test_one_whose_user_may_not_read(good: Server, servers: Servers) -> None:
    other = servers()
    put_records(other, Made(now_ns(), 3, first=100).batch)
    other.run("acl", "setuser", "blind", "on", f">{SECRET}", "+@connection", "+scan", "~*")
    with Reader(with_b(good, f"unix://blind:{SECRET}@{other.path}")) as reader:
        assert sum(map(len, reader.batches())) == 10
        assert "NOPERM" in reader.problems[0]


def test_one_whose_password_cannot_be_read(good: Server, tmp_path: Path) -> None:
    with Reader(with_b(good, f"unix://{good.path}", password_file=tmp_path / "none")) as reader:
        assert "No such file" in answer(reader)


def test_one_that_speaks_something_else(good: Server, tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client:
                    client.recv(1000)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with Reader(with_b(good, f"unix://{path}"), timeout_s=1) as reader:
            assert "does not answer: " in answer(reader)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_none(tmp_path: Path) -> None:
    writers = tuple(
        WriterSettings(name=name, redis=f"unix://:{SECRET}@{tmp_path}/{name}.sock", weight=1) for name in ("a", "b")
    )
    with Reader(Settings(writers=writers)) as reader:
        for call in (
            reader.top,
            lambda: next(reader.batches()),
            lambda: next(reader.records()),
            lambda: next(reader.follow()),
        ):
            with pytest.raises(ReaderError, match=r"no Redis can be read: .*writer a .*; .*writer b ") as raised:
                call()
            assert SECRET not in str(raised.value)
        assert len(reader.problems) == 2


def test_one_that_is_lost_while_it_is_read(good: Server, servers: Servers) -> None:
    lost = servers()
    for first in range(0, 100_000, 10_000):
        put_records(lost, Made(now_ns(), 10_000, first=100 + first).batch)
    with Reader(settings(good, lost)) as reader:
        ending = threading.Timer(0.02, lost.close)
        ending.start()
        found = sum(map(len, reader.batches()))
        ending.join()
        assert found == 100_010 or "writer b" in reader.problems[0]
        assert found >= 10
