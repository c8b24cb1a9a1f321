"""How a store gets to its Redis, and whom it refuses: passwords, users, TLS, sentinels; on real servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tapfan.sections import WriterSettings
from tests.process.redis_servers import MASTER, Authority, RedisServer, clustered, replicated, watched
from tests.process.running import free_port, wait_for
from writers import store
from writers.cluster import ClusterStore, store_for
from writers.commands import Commands
from writers.store import Store, StoreError

_SECRET = "hunter2@/:?#,%"
_QUOTED = "hunter2%40%2F%3A%3F%23%2C%25"
_SET = b"*3\r\n$3\r\nSET\r\n$5\r\ntcp:1\r\n$1\r\nv\r\n"

StartServer = Callable[..., RedisServer]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CONFIRM_S", 0.2)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts Redis servers, with what is said of them."""
    with ExitStack() as stack:
        made: list[RedisServer] = []

        def start(options: dict[str, Any] | None = None, **others: Any) -> RedisServer:
            server = RedisServer(tmp_path / f"redis-{len(made)}", options, **others)
            made.append(stack.enter_context(closing(server)).wait_up())
            return made[-1]

        yield start


def _settings(url: str, **keys: Any) -> WriterSettings:
    return WriterSettings.model_validate({"name": "a", "redis": url, "weight": 1} | keys)


def _store(url: str, **keys: Any) -> None:
    """See that it can be checked and stored to."""
    with closing(store_for(_settings(url, **keys))) as opened:
        for _ in range(2):
            assert opened.check(trial=True).round_trip_us > 0
            opened.set_all(Commands(memoryview(_SET * 3), 3, 0))


def _refusal(url: str, **keys: Any) -> str:
    """Why it cannot be stored to."""
    with closing(store_for(_settings(url, **keys))) as opened, pytest.raises(StoreError) as failure:
        opened.check(trial=True)
    assert "hunter2" not in str(failure.value)
    return str(failure.value)


def test_a_password_is_given_where_one_likes(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server({"requirepass": f'"{_SECRET}"'})
    file = tmp_path / "secret"
    file.write_text(f"{_SECRET}\n", encoding="utf-8")
    _store(f"redis://{server.address}", password=_SECRET)
    _store(f"redis://{server.address}", password_file=file)
    _store(f"redis://:{_QUOTED}@{server.address}/0")
    _store(f"redis://{server.address}/0?password={_QUOTED}")
    assert "Authentication required" in _refusal(f"redis://{server.address}")
    assert "invalid username-password pair" in _refusal(f"redis://:hunter2@{server.address}")


def test_a_user_with_other_keys_only_is_refused(start_server: StartServer) -> None:
    server = start_server()
    server.run("ACL", "SETUSER", "tap", "on", ">hunter2", "~other:*", "+set", "+client|setname")
    assert "refused: NOPERM" in _refusal(f"redis://tap:hunter2@{server.address}")


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
def test_only_a_server_that_is_proved_to_be_the_right_one_gets_anything(
    start_server: StartServer, tmp_path: Path, scheme: str
) -> None:
    authority = Authority(tmp_path / "authority")
    trusting, other = f"?ssl_ca_certs={authority.file}", Authority(tmp_path / "another").file
    server = start_server(authority=authority, subject="IP:127.0.0.1")
    if scheme == "rediss":
        _store(f"rediss://{server.address}{trusting}")
    assert "certificate verify failed" in _refusal(f"{scheme}://{server.address}?ssl_ca_certs={other}")
    assert "certificate verify failed" in _refusal(f"{scheme}://{server.address}")
    assert "Hostname mismatch" in _refusal(f"{scheme}://localhost:{server.port}{trusting}") or scheme != "rediss"
    misnamed = start_server(authority=authority, subject="DNS:redis.example")
    assert "IP address mismatch" in _refusal(f"{scheme}://{misnamed.address}{trusting}")
    assert server.client.info("stats")["total_commands_processed"] < 30


def test_sentinels_and_redis_each_with_a_password_and_tls(start_server: StartServer, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    server = start_server({"requirepass": f'"{_SECRET}"', "tls-replication": "yes"}, authority=authority)
    options: dict[str, Any] = {"requirepass": "hunter2s", "tls-replication": "yes"}
    options["sentinel"] = [f'auth-pass {MASTER} "{_SECRET}"']
    with watched(tmp_path, server, 0, options, authority=authority) as sentinel:
        url = f"rediss+sentinel://:{_QUOTED}@{sentinel.address}/{MASTER}/2"
        trusting = f"ssl_ca_certs={authority.file}"
        _store(f"{url}?sentinel_password=hunter2s&{trusting}")
        server.client.execute_command("AUTH", _SECRET)
        assert set(server.client.info("keyspace")) == {"db2"}
        unknown = "no sentinel that answers knows one that is up"
        assert unknown in _refusal(f"{url}?sentinel_password=hunter2x&{trusting}")
        assert unknown in _refusal(f"{url}?sentinel_password=hunter2s")
        assert unknown in _refusal(f"rediss+sentinel://{sentinel.address}/other?sentinel_password=hunter2s&{trusting}")


def test_no_sentinel_that_answers() -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{free_port()}/{MASTER}"
    assert _refusal(url) == f"No master found for '{MASTER}': no sentinel that answers knows one that is up"


def _begins_failover(sentinel: RedisServer) -> bool:
    try:
        sentinel.run("SENTINEL FAILOVER", MASTER)
    except redis.ResponseError:
        return False
    return True


def test_a_demoted_master_is_left_for_the_one_that_sentinels_name(tmp_path: Path) -> None:
    """Though the old one still answers: nothing that it was given counts as stored."""
    with replicated(tmp_path) as (old, new), watched(tmp_path, old, 1) as sentinel, ExitStack() as stack:
        url = f"redis+sentinel://{sentinel.address}/{MASTER}"
        opened = stack.enter_context(closing(store_for(_settings(url))))
        opened.set_all(Commands(memoryview(_SET), 1, 0))
        wait_for(lambda: _begins_failover(sentinel), "the sentinel finds the replica fit")
        wait_for(lambda: new.info("replication", "role") == "master", "the replica is master")
        old.run("REPLICAOF", "127.0.0.1", new.port)  # as the sentinel will have it, only sooner

        def stored() -> bool:
            try:
                opened.set_all(Commands(memoryview(_SET.replace(b"tcp:1", b"tcp:2")), 1, 0))
            except StoreError:
                return False
            return True

        assert not stored()
        wait_for(stored, "the new master takes it")
        assert new.client.get("tcp:2") == "v"
        assert opened.check().used_memory


def _confirmed(opened: Store | ClusterStore, commands: Commands) -> None:
    """Store the commands, again where a busy machine's replica did not confirm them in time."""

    def stored() -> bool:
        try:
            opened.set_all(commands)
        except StoreError:
            return False
        return True

    wait_for(stored, "a replica has confirmed")


def test_confirm_needs_a_replica_that_has_all(tmp_path: Path) -> None:
    with replicated(tmp_path) as (master, replica):
        with closing(store_for(_settings(f"redis://{master.address}", confirm="replica"))) as opened:
            _confirmed(opened, Commands(memoryview(_SET * 500), 500, 0))
            assert replica.client.get("tcp:1") == "v"
            opened.check(trial=True)
            replica.hold_up()
            with pytest.raises(StoreError, match=r"no replica has confirmed within 0\.2 s"):
                opened.set_all(Commands(memoryview(_SET), 1, 0))
            replica.let_go_on()
            _confirmed(opened, Commands(memoryview(_SET), 1, 0))
            replica.kill()
            wait_for(lambda: master.info("replication", "connected_slaves") == 0, "it has none")
            for trial in (False, True):
                with pytest.raises(StoreError, match="no replica has confirmed"):
                    opened.check(trial)
        _store(f"redis://{master.address}")


def test_a_user_that_may_not_wait_is_refused_with_confirm(tmp_path: Path) -> None:
    with replicated(tmp_path) as (master, _):
        master.run("ACL", "SETUSER", "tap", "on", ">hunter2", "~tcp:*", "+set", "+client|setname")
        url = f"redis://tap:hunter2@{master.address}"
        _store(url)
        assert "NOPERM" in _refusal(url, confirm="replica")
        master.run("ACL", "SETUSER", "tap", "+wait")
        _store(url, confirm="replica")


def test_what_is_no_cluster_is_told(start_server: StartServer) -> None:
    server = start_server()
    assert "cluster support disabled" in _refusal(f"redis+cluster://{server.address}")
    with closing(store_for(_settings(f"redis+cluster://127.0.0.1:{free_port()}"))) as opened:
        for _ in range(2):
            with pytest.raises(StoreError, match="Connection refused"):
                opened.check()


def test_a_cluster_with_a_password(tmp_path: Path) -> None:
    with clustered(tmp_path, replicas=0) as nodes:
        for node in nodes:
            node.run("ACL", "SETUSER", "tap", "on", ">hunter2", "~tcp:*", "+@all")
        _store(f"redis+cluster://tap:hunter2@{nodes[0].address}")
        _store(f"redis+cluster://tap@{nodes[0].address}", password="hunter2")
        assert "invalid username-password pair" in _refusal(f"redis+cluster://tap:hunter2x@{nodes[0].address}")
