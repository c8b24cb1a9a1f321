"""Redis servers that are down, slow, or refuse: the others' answer, and what is told."""

import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import hiredis
import pytest

from tapfan.reader import Reader, ReaderError
from tapfan.sections import WriterSettings
from tapfan.settings import Settings
from tests.process.running import wait_for
from tests.tapfan.reader.conftest import Servers
from tests.tapfan.reader.storing import Made, now_ns, put_block, put_records, settings, stored_texts
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
        told = f"cannot be reached: its password_file '{tmp_path}/none': No such file or directory"
        assert told in answer(reader)


def test_one_whose_password_is_no_text(good: Server, tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xff")
    with Reader(with_b(good, f"unix://{good.path}", password_file=tmp_path / "password")) as reader:
        assert "cannot be reached: 'utf-8' codec" in answer(reader)


def test_one_whose_certificates_cannot_be_read(good: Server, tmp_path: Path) -> None:
    with Reader(with_b(good, f"rediss://localhost:1/0?ssl_ca_certs={tmp_path}/none.pem")) as reader:
        assert f"its ssl_ca_certs '{tmp_path}/none.pem': No such file or directory" in answer(reader)


class Other:
    """Answers what is not Redis's, on a unix socket; `answers`: by the first words of commands, else `other`."""

    def __init__(self, path: Path, other: bytes, answers: Mapping[bytes, bytes]) -> None:
        self._other = other
        self._answers = answers
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(client,)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        commands = hiredis.Reader()
        with client, contextlib.suppress(OSError):
            while data := client.recv(65_536):
                commands.feed(data)
                while words := commands.gets():
                    found = [reply for start, reply in self._answers.items() if b" ".join(words).startswith(start)]
                    client.sendall(found[0] if found else self._other)

    def close(self) -> None:
        """End it, once those who are connected have gone."""
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listening.close()


OK = b"+OK\r\n"
NOTHING = b"*2\r\n$1\r\n0\r\n*0\r\n"
RECORD = stored_texts(Made(now_ns(), 1).batch)[0][0]
OLD_RECORD = stored_texts(Made(10**18, 1).batch)[0][0]


def found(key: bytes) -> bytes:
    """The answer to SCAN that names a key."""
    return b"*2\r\n$1\r\n0\r\n*1\r\n$%d\r\n%s\r\n" % (len(key), key)


@pytest.mark.parametrize(
    ("other", "answers"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", {}),
        (OK, {b"SCAN": b"!\r\n"}),
        (OK, {b"SCAN": b":5\r\n"}),
        (OK, {b"SCAN": b"*2\r\n$1\r\n0\r\n*1\r\n:1\r\n"}),
        (OK, {b"SCAN": found(RECORD), b"GETRANGE": b":5\r\n"}),
        (OK, {b"SCAN": found(OLD_RECORD), b"PTTL": OK}),
    ],
)
def test_one_that_speaks_something_else(
    good: Server, tmp_path: Path, other: bytes, answers: Mapping[bytes, bytes]
) -> None:
    with (
        contextlib.closing(Other(tmp_path / "other.sock", other, answers)),
        Reader(with_b(good, f"unix://{tmp_path}/other.sock"), timeout_s=1) as reader,
    ):
        assert sum(map(len, reader.batches())) == 10
        assert "answers, but not as a Redis does: " in reader.problems[0]


@pytest.mark.parametrize(
    "answers",
    [
        {b"CLIENT ID": OK},
        {b"CLIENT ID": b":1\r\n", b"SUBSCRIBE": OK + b":5\r\n"},
        {b"CLIENT ID": b":1\r\n", b"SUBSCRIBE": OK + b"*3\r\n+a\r\n+b\r\n:1\r\n"},
    ],
)
def test_one_that_speaks_something_else_when_it_is_followed(
    good: Server, tmp_path: Path, answers: Mapping[bytes, bytes]
) -> None:
    with (
        contextlib.closing(Other(tmp_path / "other.sock", OK, answers)),
        Reader(with_b(good, f"unix://{tmp_path}/other.sock"), timeout_s=1) as reader,
        contextlib.closing(reader.follow(poll_s=0.05)) as followed,
    ):
        wait_for(lambda: (next(followed), reader.problems)[1], "it is noticed")
        assert "answers, but not as a Redis does: " in reader.problems[0]
        assert reader.problems[0].endswith("; it is tried again every second")


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
