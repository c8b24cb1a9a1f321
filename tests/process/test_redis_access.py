"""A Redis that not everybody may use: passwords, users with few rights, unix sockets, TLS; each with the real writer."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.process.feeder import feeder, records
from tests.process.redis_servers import MASTER, SERVERS, Authority, RedisServer, clustered, watched
from tests.process.running import Programs, wait_for
from tests.process.steady import numbers

_SECRET = "hunter2@/:?#,%"  # noqa: S105
_QUOTED = "hunter2%40%2F%3A%3F%23%2C%25"
_RIGHTS = "on >{} ~tcp:* ~tcpb:* +set +client|setname"
_COUNT = 300

StartServer = Callable[..., RedisServer]


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts Redis servers with the given options."""
    with ExitStack() as stack:
        made: list[RedisServer] = []

        def start(tls: dict[str, Any] | None = None, **options: Any) -> RedisServer:
            server = RedisServer(tmp_path / f"redis-{len(made)}", options, **(tls or {}))
            made.append(stack.enter_context(closing(server)).wait_up())
            return made[-1]

        yield start


@pytest.fixture
def writer(programs: Callable[..., Programs]) -> Callable[..., Programs]:
    """Starts a router and a writer with that URL and what else is in its section."""

    def start(url: str, layout: str = "record", **keys: Any) -> Programs:
        made = programs(weights={"a": 1}, top={"layout": layout}, given={"a": {"redis": url} | keys})
        made.start("router", "writer-a")
        return made

    return start


def _store(programs: Programs) -> None:
    """See that records are stored, and that the password is told nowhere."""
    programs.wait_ready()
    with feeder(programs) as feeding:
        feeding.send(records(_COUNT))
        feeding.wait_acknowledged()
    ledger = programs.status()["ledger"]
    assert (ledger["stored"], ledger["lost"]) == (_COUNT, {})
    _assert_no_secret_is_told(programs)


def _assert_no_secret_is_told(programs: Programs) -> None:
    checked = programs.command("check")
    told = json.dumps(programs.status()) + checked.stdout + checked.stderr + programs.log("writer-a")
    told += programs.log("router")
    assert "hunter2" not in told


def _reason(programs: Programs) -> str:
    """Why the writer is down."""
    wait_for(lambda: programs.status()["writers"], "the router runs")
    text = wait_for(
        lambda: programs.status()["writers"]["a"]["reason"].removeprefix("connecting"), "the writer says why"
    )
    _assert_no_secret_is_told(programs)
    return str(text)


@pytest.mark.parametrize("layout", ["record", "block"])
@pytest.mark.parametrize("place", ["password", "password_file", "url", "option"])
def test_a_password_is_given_where_one_likes(
    start_server: StartServer, writer: Callable[..., Programs], tmp_path: Path, place: str, layout: str
) -> None:
    server = start_server(requirepass=json.dumps(_SECRET))
    (tmp_path / "secret").write_text(f"{_SECRET}\n", encoding="utf-8")
    url, keys = {
        "password": (f"redis://{server.address}", {"password": _SECRET}),
        "password_file": (f"redis://{server.address}", {"password_file": "secret"}),
        "url": (f"redis://:{_QUOTED}@{server.address}/0", {}),
        "option": (f"redis://{server.address}/0?password={_QUOTED}", {}),
    }[place]
    _store(writer(url, layout, **keys))


@pytest.mark.parametrize("layout", ["record", "block"])
def test_a_user_that_may_only_set_our_keys_is_enough(
    start_server: StartServer, writer: Callable[..., Programs], layout: str
) -> None:
    server = start_server(user=["default off", f"tap {_RIGHTS.format(json.dumps(_SECRET)[1:-1])}"])
    _store(writer(f"redis://tap@{server.address}", layout, password=_SECRET))


@pytest.mark.parametrize(("user", "problem"), [("tap", "invalid username-password pair"), ("other", "NOPERM")])
def test_a_user_that_may_not_is_told_so(
    start_server: StartServer, writer: Callable[..., Programs], user: str, problem: str
) -> None:
    """Whose password is another, or who may set other keys only."""
    rights = _RIGHTS.replace("~tcp:* ~tcpb:*", "~other:*").format("hunter2")
    server = start_server(user=["default off", "tap on >changed", f"other {rights}"])
    programs = writer(f"redis://{user}:hunter2@{server.address}")
    if user == "other":  # which is seen only when it is to store something
        programs.wait_ready()
        with feeder(programs) as feeding:
            feeding.send(records(1))
            assert problem in wait_for(lambda: programs.status()["writers"]["a"]["reason"], "it says why")
    assert problem in _reason(programs)


def test_a_unix_socket(start_server: StartServer, writer: Callable[..., Programs], tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    start_server(unixsocket=path, requirepass="hunter2")
    _store(writer(f"unix://:hunter2@{path}?db=3"))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Whom clients are to trust."""
    return Authority(tmp_path / "authority")


@pytest.mark.parametrize("layout", ["record", "block"])
def test_tls_with_an_authority_of_ones_own(
    start_server: StartServer, writer: Callable[..., Programs], authority: Authority, layout: str
) -> None:
    server = start_server({"authority": authority}, requirepass="hunter2")
    _store(writer(f"rediss://:hunter2@localhost:{server.port}/0?ssl_ca_certs={authority.file}", layout))


@pytest.mark.parametrize(
    ("subject", "trusted", "problem"),
    [
        ("IP:127.0.0.1", "another", "certificate verify failed"),
        ("IP:127.0.0.1", None, "certificate verify failed"),
        ("DNS:redis.example", "its", "IP address mismatch"),
    ],
)
def test_a_server_that_is_not_proved_to_be_the_right_one_gets_nothing(
    start_server: StartServer,
    writer: Callable[..., Programs],
    authority: Authority,
    tmp_path: Path,
    subject: str,
    trusted: str | None,
    problem: str,
) -> None:
    server = start_server({"authority": authority, "subject": subject})
    file = Authority(tmp_path / "another").file if trusted == "another" else authority.file
    options = f"?ssl_ca_certs={file}" if trusted else ""
    programs = writer(f"rediss://{server.address}/0{options}")
    assert problem in _reason(programs)
    assert programs.status()["ledger"]["stored"] == 0


def test_sentinels_and_redis_have_passwords_of_their_own(
    start_server: StartServer, writer: Callable[..., Programs], tmp_path: Path
) -> None:
    server = start_server(requirepass="hunter2")
    options = {"requirepass": "hunter2-sentinel", "sentinel": [f"auth-pass {MASTER} hunter2"]}
    with watched(tmp_path, server, 0, options) as sentinel:
        _store(writer(f"redis+sentinel://:hunter2@{sentinel.address}/{MASTER}/2?sentinel_password=hunter2-sentinel"))
        server.client.execute_command("AUTH", "hunter2")
        assert set(server.client.info("keyspace")) == {"db2"}


def test_a_master_that_no_sentinel_knows_is_told(
    start_server: StartServer, writer: Callable[..., Programs], tmp_path: Path
) -> None:
    with watched(tmp_path, start_server(), 0) as sentinel:
        programs = writer(f"redis+sentinel://:hunter2@{sentinel.address}/other")
        assert _reason(programs) == "No master found for 'other': no sentinel that answers knows one that is up"


@pytest.mark.parametrize("program", SERVERS)
@pytest.mark.parametrize("layout", ["record", "block"])
def test_a_cluster_with_a_user_of_few_rights(
    writer: Callable[..., Programs], tmp_path: Path, layout: str, program: str
) -> None:
    with clustered(tmp_path, replicas=0, program=program) as nodes:
        for node in nodes:
            node.run("ACL", "SETUSER", "tap", *_RIGHTS.format("hunter2").split(), "+cluster|slots")
        _store(writer(f"redis+cluster://tap:hunter2@{nodes[1].address},{nodes[2].address}", layout))
        stored = [node.client.dbsize() for node in nodes]
        assert sum(stored) == _COUNT and all(stored) if layout == "record" else sum(stored) >= 1


def test_a_cluster_by_tls(writer: Callable[..., Programs], tmp_path: Path, authority: Authority) -> None:
    with clustered(tmp_path, replicas=0, authority=authority) as nodes:
        programs = writer(f"rediss+cluster://{nodes[0].address}?ssl_ca_certs={authority.file}")
        _store(programs)
        assert numbers(programs) == set(range(_COUNT))
