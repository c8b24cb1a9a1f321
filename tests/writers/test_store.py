"""The connection to one Redis: every reply is checked, and the connection is closed after a failure.

What a check finds out is in `test_check`.
"""

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import hiredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapfan.sections import WriterSettings
from tests.writers.resp import serving
from writers import store
from writers.commands import Commands
from writers.store import Store, StoreError, _expect, _read
from writers.vitals import CHECK_REPLIES

_OK = b"+OK\r\n"
_INFO = b"$13\r\nrole:master\r\n\r\n"
_OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
_ERRORS = [_OOM, b"-READONLY You can't write against a read only replica.\r\n", b"-ERR x\r\n"]
_DEADLINE_S = 10.0


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for what never comes does so for long enough to tell, and no longer."""
    monkeypatch.setattr(store, "TIMEOUT_S", 0.5)


def _settings(port: int, **given_settings: Any) -> WriterSettings:
    return WriterSettings(name="a", redis=f"redis://127.0.0.1:{port}/0", weight=1, **given_settings)


def _commands(count: int) -> Commands:
    data = b"".join(b"*3\r\n$3\r\nSET\r\n$6\r\n%06d\r\n$1\r\nv\r\n" % at for at in range(count))
    return Commands(memoryview(data), count, 0)


@contextmanager
def _answered(pieces: Sequence[bytes], close: bool = False) -> Iterator[socket.socket]:
    """A TCP connection on which these bytes come in, piece by piece."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    with ours, theirs:
        ours.settimeout(_DEADLINE_S)
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            for piece in pieces:
                theirs.sendall(piece)
            if close:
                theirs.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield ours
        finally:
            thread.join(_DEADLINE_S)


def _split_at(answer: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(answer), *(cut % (len(answer) + 1) for cut in cuts)})
    return [answer[start:stop] for start, stop in pairwise(places)]


_cuts = st.lists(st.integers(0, 20_000), max_size=6)


@given(st.integers(1, 300), _cuts)
@example(1, [1, 2, 3, 4])
@example(20_000, [5, 65_535, 65_536])
def test_all_ok_is_all_right_however_the_replies_are_split(count: int, cuts: list[int]) -> None:
    with _answered(_split_at(_OK * count, cuts)) as connection:
        _expect(connection, _OK, count)
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)


@given(
    st.lists(st.one_of(st.just(_OK), st.sampled_from(_ERRORS)), min_size=1, max_size=100).filter(
        lambda answers: set(answers) != {_OK}
    ),
    _cuts,
)
@example([_OOM] * 4096, [20_480, 20_481])
@example([_OOM, _OK, _OK, _OK], [len(_OOM) + 5])
@example([_OK] * 4095 + [_OOM], [])
@example([_OOM] + [_OK] * 4095, [len(_OOM), 20_479])
def test_the_first_error_is_told(answers: list[bytes], cuts: list[int]) -> None:
    refused = next(answer for answer in answers if answer != _OK)
    with _answered(_split_at(b"".join(answers), cuts)) as connection:
        with pytest.raises(StoreError) as failure:
            _expect(connection, _OK, len(answers))
        assert str(failure.value) == f"refused: {refused[1:-2].decode()}"


@given(st.integers(1, 50), st.integers(0, 1000), _cuts)
def test_a_connection_that_closes_too_early_is_an_error(count: int, length: int, cuts: list[int]) -> None:
    answer = (_OK * count)[: length % (5 * count)]
    with _answered(_split_at(answer, cuts), close=True) as connection, pytest.raises(ConnectionError, match="closed"):
        _expect(connection, _OK, count)


@given(st.lists(st.sampled_from([_OK, _OOM, _INFO, b"$-1\r\n", b"*2\r\n:1\r\n$1\r\nx\r\n"]), max_size=9), _cuts)
def test_replies_of_any_kind_are_read_however_they_are_split(answers: list[bytes], cuts: list[int]) -> None:
    reader = hiredis.Reader()
    reader.feed(b"".join(answers))
    with _answered(_split_at(b"".join(answers), cuts)) as connection:
        assert list(map(str, _read(connection, len(answers)))) == [str(reader.gets()) for _ in answers]


@given(st.integers(0, 1000), _cuts)
def test_a_connection_that_closes_within_an_error_is_an_error(length: int, cuts: list[int]) -> None:
    answer = _OOM[: 1 + length % (len(_OOM) - 1)]
    with _answered(_split_at(answer, cuts), close=True) as connection, pytest.raises(ConnectionError, match="closed"):
        _expect(connection, _OK, 2)


def _as_scripted(*answers: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """The next of the answers to each command; afterwards OK, or what a master says of itself."""
    left = list(answers)

    def answer(command: list[bytes]) -> list[bytes]:
        if left:
            return [left.pop(0)]
        return [_INFO if command[0] == b"INFO" else _OK]

    return answer


def test_commands_that_are_all_taken_raise_nothing() -> None:
    seen: list[list[bytes]] = []

    def answer(command: list[bytes]) -> list[bytes]:
        seen.append(command)
        return [b"+O", b"K\r\n"]

    with serving(answer) as port:
        connection = Store(_settings(port))
        connection.set_all(_commands(500))
        connection.set_all(_commands(1))
        connection.close()
    assert seen == [[b"SET", b"%06d" % at, b"v"] for at in [*range(500), 0]]


def test_a_check_does_not_wait_for_as_many_bytes_as_the_commands_before_it() -> None:
    """The kernel was told to wake us for all replies at once."""
    with serving(_as_scripted()) as port:
        connection = Store(_settings(port))
        for _ in range(3):
            connection.set_all(_commands(4096))
            connection.check()
            connection.check(trial=True)
        connection.close()


def test_no_commands_need_no_redis() -> None:
    Store(_settings(1)).set_all(Commands(memoryview(b""), 0, 5))


@pytest.mark.parametrize("error", _ERRORS)
def test_after_an_error_another_connection_is_made(error: bytes) -> None:
    """What stands behind the name may be another server by then."""
    with serving(_as_scripted(_OK, error, error, _OK)) as port:
        connection = Store(_settings(port))
        with pytest.raises(StoreError, match="refused: ") as failure:
            connection.set_all(_commands(4))
        assert connection._connection is None
        connection.check()
        connection.set_all(_commands(4))
        connection.close()
    assert error[1:-2].decode() in str(failure.value)


def test_all_of_many_commands_refused_is_told_at_once_with_the_reason() -> None:
    """More replies than are read at a time: none is waited for that does not come."""
    with serving(lambda _: [_OOM]) as port:
        connection = Store(_settings(port))
        for _ in range(3):
            with pytest.raises(StoreError, match="refused: OOM command not allowed"):
                connection.set_all(_commands(4096))
        connection.close()


def test_a_redis_too_old_is_told_with_what_is_needed() -> None:
    with serving(_as_scripted(b"-ERR syntax error\r\n")) as port:
        connection = Store(_settings(port))
        with pytest.raises(StoreError, match=r"refused: ERR syntax error; SET with PXAT needs Redis 6\.2"):
            connection.set_all(_commands(1))
        connection.close()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "closed"),
        (b"+O", "no answer within 0.5 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol error"),
        (b"+PONG\r\n", "an answer that is neither OK nor an error"),
        (b"$-1\r\n", "an answer that is neither OK nor an error"),
        (b":12345\r\n", "an answer that is neither OK nor an error"),
        (b"*1\r\n$3\r\nfoo\r\n", "an answer that is neither OK nor an error"),
        (b"\xff\xfe\xfd\xfc\xfb\xfa", "Protocol error"),
    ],
)
def test_after_an_answer_that_is_none_the_next_call_works_again(answer: bytes, problem: str) -> None:
    with serving(_as_scripted(answer)) as port:
        connection = Store(_settings(port))
        with pytest.raises(StoreError, match=problem):
            connection.set_all(_commands(1))
        connection.set_all(_commands(3))
        connection.close()


def test_bytes_behind_the_last_reply_do_not_count_as_the_next_one() -> None:
    """A server that answers one command twice."""
    with serving(_as_scripted(_OK + _OOM)) as port:
        connection = Store(_settings(port))
        with pytest.raises(StoreError):
            connection.set_all(_commands(1))
        connection.set_all(_commands(3))
        connection.close()


@pytest.mark.parametrize("answer", [b"-LOADING Redis is loading the dataset in memory\r\n", b"", b"+O", b"garbage"])
@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_check_tells_whether_redis_answers(answer: bytes, before: int) -> None:
    """All of what it asks."""
    with serving(_as_scripted(*[_INFO] * (CHECK_REPLIES + before), answer)) as port:
        connection = Store(_settings(port))
        connection.check()
        with pytest.raises(StoreError):
            connection.check()
        connection.check()
        connection.close()


@pytest.mark.parametrize("answer", [*_ERRORS, b"", b"+O", b"+PONG\r\n"])
def test_a_trial_tells_whether_redis_takes_a_record(answer: bytes) -> None:
    seen: list[list[bytes]] = []
    scripted = _as_scripted(*[_INFO] * CHECK_REPLIES, answer)

    def answered(command: list[bytes]) -> list[bytes]:
        seen.append(command)
        return scripted(command)

    with serving(answered) as port:
        connection = Store(_settings(port))
        with pytest.raises(StoreError):
            connection.check(trial=True)
        connection.check()
        connection.check(trial=True)
        connection.close()
    asked = [[b"INFO", section] for section in (b"replication", b"persistence", b"memory", b"keyspace")] + [[b"TIME"]]
    trial = [b"SET", b"tcp:check", b"1", b"PXAT", b"1"]
    assert seen == [*asked, trial, *asked, *asked, trial]


def test_a_redis_that_is_not_there_is_an_error_and_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    connection = Store(_settings(port))
    for _ in range(2):
        with pytest.raises(StoreError, match=f"127.0.0.1:{port}"):
            connection.check()


def test_no_error_tells_a_password(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(StoreError) as failure:
        Store(_settings(port, password="hunter2")).check()
    assert "hunter2" not in str(failure.value)
    missing = tmp_path / "missing"
    with pytest.raises(StoreError, match="No such file"):
        Store(_settings(port, password_file=missing)).check()


def test_a_store_closed_twice_or_never_used_is_no_error() -> None:
    connection = Store(_settings(1))
    connection.close()
    connection.close()
