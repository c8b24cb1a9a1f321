"""`tapfan check`: what would run, and what stands in its way; Redis is a thread that speaks its protocol."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from tapfan.cli import checks
from tapfan.cli.checks import check
from tapfan.settings import load
from tests.tapfan.answering import answering
from tests.tapfan.conftest import WRITERS, Configure
from tests.writers.servers import Server

_ACCEPT_S = 10.0

Reply = Callable[[str], bytes]


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, int]]:
    """A socket that listens on loopback, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server, server.getsockname()[1]


@contextmanager
def _redis(reply: Reply) -> Iterator[str]:
    """The URL of a Redis that answers each command, by its name, as given, to one client."""
    with _listening() as (server, port):

        def serve() -> None:
            connection = server.accept()[0]
            with connection, connection.makefile("rb") as stream:
                while command := _command(stream):
                    connection.sendall(reply(command))

        server.settimeout(_ACCEPT_S)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"redis://:hunter2@127.0.0.1:{port}/0"
        finally:
            thread.join()


def _command(stream: BinaryIO) -> str:
    """The name of the next command; "" at the end."""
    count = stream.readline()[1:]
    arguments = [stream.read(int(stream.readline()[1:]) + 2)[:-2] for _ in range(int(count or 0))]
    return arguments[0].decode().upper() if arguments else ""


def _version(version: str) -> Reply:
    """Of a Redis that tells no more than its version."""
    text = f"# Server\r\nredis_version:{version}\r\n".encode()
    answers = {"INFO": b"$%d\r\n%s\r\n" % (len(text), text), "TIME": b"-NOPERM this user has no permissions\r\n"}
    return lambda command: answers.get(command, b"+OK\r\n")


def _closed_port() -> int:
    with _listening() as (_, port):
        return port


def _check(configure: Configure, listener: str = "", redis: str = "", writers: str | None = None) -> dict[str, Any]:
    """The check of one writer whose Redis is not there, unless told otherwise, and of a free port to listen on."""
    listener = listener or f'listen = ["127.0.0.1:{_closed_port()}"]\nsource = "accept"'
    url = redis or f"redis://127.0.0.1:{_closed_port()}/0"
    writers = writers or f'[[writers]]\nname = "a"\nredis = "{url}"\nweight = 30\n'
    return check(load(configure(f'ttl = "5m"\n[listener]\n{listener}\n{writers}')))


def test_each_process_is_named_with_what_it_does(configure: Configure) -> None:
    port = _closed_port()
    settings = load(configure(f'[listener]\nlisten = ["127.0.0.1:{port}"]\nsource = "accept"\n{WRITERS}'))
    assert check(settings)["processes"] == [
        {"command": "python -m listener", "does": f"127.0.0.1:{port}: source accept, serve discard"},
        {"command": "python -m router", "does": f"splits by weight; control at {settings.endpoint('control')}"},
        {"command": "python -m writers a", "does": "stores 30.0% in redis://127.0.0.1:7101/0, for 5m"},
        {"command": "python -m writers b", "does": "stores 70.0% in redis://127.0.0.1:7102/0, for 5m"},
    ]


def test_two_writers_with_one_database_are_warned_of(configure: Configure) -> None:
    port = _closed_port()
    urls = [f"redis://127.0.0.1:{port}/1", f"redis://127.0.0.1:{port}/0", f"redis://localhost:{port}/1"]
    writers = "".join(
        f'[[writers]]\nname = "{name}"\nredis = "{url}"\nweight = 1\n' for name, url in zip("abc", urls, strict=True)
    )
    told = f"{urls[2]}: is the database of the writers a and c; give each one of its own"
    assert _check(configure, writers=writers)["warnings"] == [told]


@pytest.mark.parametrize(
    ("own", "told"), [(0, []), (65_534, []), (1000, ["user = 'nobody': to be started by root or by that user"])]
)
def test_who_may_start_what_becomes_another_user_is_a_note(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, own: int, told: list[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: own)
    settings = load(configure(f'user = "nobody"\n[listener]\nsource = "accept"\n{WRITERS}'))
    assert [note for note in check(settings)["notes"] if "nobody" in note] == told


def test_forwarding_is_named_with_its_upstream(configure: Configure) -> None:
    port = _closed_port()
    listener = f'listen = ["[::1]:{port}"]\nsource = "accept"\nserve = "forward"\nupstream = "backend:80"'
    (listening, *_) = _check(configure, listener)["processes"]
    assert listening["does"] == f"[::1]:{port}: source accept, serve forward to backend:80"


def test_a_redis_that_is_not_there_yet_is_a_note(configure: Configure) -> None:
    result = _check(configure)
    (note,) = result["notes"]
    assert result["problems"] == []
    assert "does not answer yet (" in note
    assert note.endswith("; the writer a keeps trying")


def test_a_port_in_use_is_a_note_as_it_may_be_tapfan_s(configure: Configure) -> None:
    with _listening() as (_, port):
        result = _check(configure, f'listen = ["127.0.0.1:{port}"]\nsource = "accept"')
    assert f"127.0.0.1:{port} is in use: by tapfan, if it runs already" in result["notes"]
    assert result["problems"] == []


def test_an_address_of_another_host_is_a_problem(configure: Configure) -> None:
    result = _check(configure, 'listen = ["192.0.2.1:9000"]\nsource = "accept"')
    assert result["problems"] == ["cannot serve 192.0.2.1:9000: EADDRNOTAVAIL"]


def test_a_redis_that_answers_is_named_with_its_version_and_without_its_password(configure: Configure) -> None:
    with _redis(_version("6.2.0")) as url:
        result = _check(configure, redis=url)
    assert result["notes"] == [f"{url.replace(':hunter2@', '')} answers: Redis 6.2.0"]
    assert result["problems"] == []


def test_a_version_with_more_than_numbers_is_named(configure: Configure) -> None:
    with _redis(_version("7.4-rc1")) as url:
        result = _check(configure, redis=url)
    assert result["notes"][0].endswith(" answers: Redis 7.4-rc1")
    assert result["problems"] == []


@pytest.mark.parametrize("info", [b"-ERR unknown command\r\n", b"$0\r\n\r\n", b"$16\r\nredis_version:rc\r\n"])
def test_a_version_that_is_not_told_is_said_so(configure: Configure, info: bytes) -> None:
    answers = {"INFO": info, "TIME": b"-ERR unknown command\r\n"}
    with _redis(lambda command: answers.get(command, b"+OK\r\n")) as url:
        result = _check(configure, redis=url)
    assert result["notes"] == [f"{url.replace(':hunter2@', '')} answers; its version is not told"]
    assert result["problems"] == []


@pytest.mark.parametrize(
    ("info", "time"), [(b":5\r\n", b":5\r\n"), (b"*1\r\n:5\r\n", b"+x\r\n"), (b"$0\r\n\r\n", b":5\r\n")]
)
def test_what_answers_but_is_no_redis_is_a_problem(configure: Configure, info: bytes, time: bytes) -> None:
    answers = {"INFO": info, "TIME": time}
    with _redis(lambda command: answers.get(command, b"+OK\r\n")) as url:
        (problem,) = _check(configure, redis=url)["problems"]
    assert problem.startswith(f"{url.replace(':hunter2@', '')} answers, but not as a Redis does: ")


def test_a_password_that_is_no_text_is_a_problem(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xff")
    file = tmp_path / "password"
    writer = f'[[writers]]\nname = "a"\nredis = "redis://127.0.0.1:1/0"\nweight = 30\npassword_file = "{file}"\n'
    (problem,) = _check(configure, writers=writer)["problems"]
    assert problem.startswith(f"the writer a cannot read its password_file {file}: 'utf-8' codec")


def test_a_url_that_redis_py_cannot_use_is_a_problem(configure: Configure) -> None:
    (problem,) = _check(configure, redis=f"redis://{'a' * 70}.example/0")["problems"]
    assert " cannot be used by the writer a: " in problem


@pytest.mark.parametrize("version", ["6.1.9", "6.0.16", "5.9.0"])
def test_a_redis_too_old_is_a_problem(configure: Configure, version: str) -> None:
    with _redis(_version(version)) as url:
        (problem,) = _check(configure, redis=url)["problems"]
    assert problem == f"{url.replace(':hunter2@', '')} is Redis {version}; SET with PXAT needs 6.2 or newer"


def test_a_wrong_password_is_a_problem_that_does_not_show_it(configure: Configure) -> None:
    with _redis(lambda _command: b"-WRONGPASS invalid username-password pair\r\n") as url:
        (problem,) = _check(configure, redis=url)["problems"]
    assert "refuses the writer a: " in problem
    assert "hunter2" not in problem


def test_a_password_file_that_is_not_there_is_told(configure: Configure) -> None:
    writer = '[[writers]]\nname = "a"\nredis = "redis://127.0.0.1:1/0"\nweight = 30\npassword_file = "absent"\n'
    result = _check(configure, writers=writer)
    assert "absent" in "".join(result["notes"] + result["problems"])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A real Redis server."""
    with closing(Server(tmp_path / "redis")) as started:
        yield started


def _url(server: Server) -> str:
    return f"unix://{server.path}?db=0"


def test_a_redis_without_a_bound_and_whose_clock_is_right_gives_no_warning(
    configure: Configure, server: Server
) -> None:
    result = _check(configure, redis=_url(server))
    assert result["warnings"] == []
    (note,) = result["notes"]
    assert note.startswith(f"{_url(server)} answers: Redis ")


@pytest.mark.parametrize(
    ("layout", "typical", "policy"), [("record", 310, "noeviction"), ("block", 20, "noeviction"), ("record", 310, "")]
)
def test_free_memory_is_told_as_the_rate_that_it_holds(
    configure: Configure, server: Server, layout: str, typical: int, policy: str
) -> None:
    server.configure(maxmemory=2**30, maxmemory_policy=policy or "allkeys-lru")
    writers = f'[[writers]]\nname = "a"\nredis = "{_url(server)}"\nweight = 30\nlayout = "{layout}"\n'
    result = _check(configure, writers=writers)
    _, note = result["notes"]
    free = 2**30 - int(server.client.info("memory")["used_memory"])
    told = re.fullmatch(r"unix://.* has (\S+) MiB of its maxmemory free, which hold about (\S+) records/s for 5m", note)
    assert told
    assert float(told[1].replace(",", "")) == pytest.approx(free / 2**20, rel=0.01)
    assert float(told[2].replace(",", "")) == pytest.approx(free / typical / 300, rel=0.01)
    warnings = [text for text in result["warnings"] if "maxmemory-policy allkeys-lru evicts records" in text]
    assert warnings == result["warnings"]
    assert len(warnings) == (not policy)
    assert all(text.startswith(f"{_url(server)}: its ") for text in warnings)


def test_memory_that_is_used_up_by_others_is_told_without_a_rate(configure: Configure, server: Server) -> None:
    server.configure(maxmemory=1024)
    (*_, note) = _check(configure, redis=_url(server))["notes"]
    assert note == f"{_url(server)} has hardly any of its maxmemory (1.0 KiB) free, and no key that ends"


def test_memory_that_keys_with_a_time_to_live_take_is_told_without_a_rate(configure: Configure, server: Server) -> None:
    for number in range(3):
        server.client.set(f"tcp:{number}", "x", px=600_000)
    server.configure(maxmemory=1024)
    (*_, note) = _check(configure, redis=_url(server))["notes"]
    assert note == f"{_url(server)} has 0 B of its maxmemory free, and 3 keys that make room as they end"


@pytest.mark.parametrize(("ahead_s", "text"), [(-900, "behind"), (3, "ahead of")])
def test_a_clock_that_is_off_is_a_warning(
    configure: Configure, server: Server, monkeypatch: pytest.MonkeyPatch, ahead_s: int, text: str
) -> None:
    """Ours is the one that is off here."""
    usual = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: usual() - ahead_s * 10**9)
    (warning,) = _check(configure, redis=_url(server))["warnings"]
    told = re.match(rf"unix://\S+: its clock is ([0-9.]+) s {text} this host's", warning)
    assert told
    assert float(told[1]) == pytest.approx(abs(ahead_s), abs=0.5)


def test_what_a_user_may_not_ask_for_is_not_told(configure: Configure, server: Server) -> None:
    server.configure(maxmemory=1, maxmemory_policy="allkeys-lru")
    server.run("ACL", "SETUSER", "tap", "on", ">hunter2", "~tcp:*", "+set", "+client", "+info|server")
    result = _check(configure, redis=f"unix://tap:hunter2@{server.path}")
    assert (len(result["notes"]), result["warnings"], result["problems"]) == (1, [], [])
    assert "answers: Redis" in result["notes"][0]


@pytest.mark.parametrize("number", [16, 99_999_999_999])
def test_a_database_that_the_redis_does_not_have_is_a_problem(
    configure: Configure, server: Server, number: int
) -> None:
    url = f"unix://{server.path}?db={number}"
    result = _check(configure, redis=url)
    (problem,) = result["problems"]
    assert problem.startswith(f"{url} is no database that this Redis has: ")
    assert "out of range" in problem
    assert not [note for note in result["notes"] if url in note]


def test_a_user_who_may_only_store_is_enough(configure: Configure, server: Server) -> None:
    server.run("ACL", "SETUSER", "tap", "on", ">hunter2", "~tcp:*", "+set", "+client")
    result = _check(configure, redis=f"unix://tap:hunter2@{server.path}")
    assert result["notes"] == [f"unix://{server.path} answers; its version is not told"]
    assert (result["warnings"], result["problems"]) == ([], [])


@pytest.mark.parametrize(
    ("projection", "note", "warned"),
    [
        (
            {"needed": 2**30, "available": 2**31},
            "gets 12,000 records/s now and needs 1.0 GiB of 2.0 GiB for them",
            False,
        ),
        (
            {"needed": 2**31, "available": 2**30},
            "gets 12,000 records/s now and needs 2.0 GiB of 1.0 GiB for them",
            True,
        ),
        ({"needed": 2**30, "available": None}, "gets 12,000 records/s now and needs 1.0 GiB for them", False),
        (None, None, False),
    ],
)
def test_what_a_router_that_runs_knows_of_the_load_is_told(
    configure: Configure, tmp_path: Path, projection: dict[str, Any] | None, note: str | None, warned: bool
) -> None:
    told = projection and {"rate": 12_000.0, "bytes_a_record": 300.0} | projection
    reply = {"ok": True, "result": {"writers": {"a": {"projection": told}, "gone": {"projection": None}}}}
    (tmp_path / "run").mkdir()
    with answering(f"ipc://{tmp_path}/run/control.ipc", lambda _: reply):
        result = _check(configure)
    assert any(text.endswith(f"/0 {note}") for text in result["notes"]) == (note is not None)
    assert [": needs 2.0 GiB for 12,000 records/s" in text for text in result["warnings"]] == [True] * warned


@pytest.mark.parametrize("reply", [None, {"ok": False, "error": {"code": "internal", "message": "a fault"}}])
def test_a_router_that_does_not_answer_is_none(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: dict[str, Any] | None
) -> None:
    monkeypatch.setattr(checks, "_ROUTER_TIMEOUT_S", 0.1)
    (tmp_path / "run").mkdir()
    with answering(f"ipc://{tmp_path}/run/control.ipc", lambda _: reply) as requests:
        result = _check(configure)
        assert [request["command"] for request in requests] == ["status"]
    assert (len(result["notes"]), result["warnings"], result["problems"]) == (1, [], [])


@pytest.mark.parametrize(
    ("run_dir", "free", "told"), [("run", 65_535, True), ("not/yet/there", 65_535, True), ("run", 65_536, False)]
)
def test_a_disk_with_less_room_than_the_spool_may_take_is_a_note(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, run_dir: str, free: int, told: bool
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    file = configure(f'run_dir = "{run_dir}"\n[listener]\nspool_bytes = 65536\n{WRITERS}')
    notes = [note for note in check(load(file))["notes"] if "spool" in note]
    assert notes == (
        ["the disk of run_dir has 65,535 bytes free, fewer than the spool may take (65,536)"] if told else []
    )
