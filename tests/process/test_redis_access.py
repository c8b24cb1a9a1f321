"""A Redis that not everybody may use, with the real writer: users of few rights, unix sockets, TLS."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.process.feeder import feeder, records
from tests.process.redis_servers import Authority, RedisServer, clustered
from tests.process.running import Programs, wait_for

_SECRET = "hunter2"
_RIGHTS = f"on >{_SECRET} ~tcp:* ~tcpb:* +set +client|setname"
_COUNT = 300

Store = Callable[..., None]


@pytest.fixture
def store(programs: Callable[..., Programs]) -> Store:
    """Has records stored through a router and a writer with that URL, and sees that the password is told nowhere."""

    def run(url: str, layout: str = "record", **keys: Any) -> None:
        made = programs(weights={"a": 1}, top={"layout": layout}, given={"a": {"redis": url} | keys})
        made.start("router", "writer-a")
        made.wait_ready()
        with feeder(made) as feeding:
            feeding.send(records(_COUNT))
            feeding.wait_acknowledged()
        ledger = made.status()["ledger"]
        assert (ledger["stored"], ledger["lost"]) == (_COUNT, {})
        assert made.status()["writers"]["a"]["health"] == "up"
        checked = made.command("check")
        told = checked.stdout + checked.stderr + made.log("writer-a") + made.log("router") + json.dumps(made.status())
        assert _SECRET not in told

    return run


@pytest.mark.parametrize("layout", ["record", "block"])
def test_a_user_that_may_only_set_our_keys_is_enough(store: Store, tmp_path: Path, layout: str) -> None:
    options = {"user": ["default off", f"tap {_RIGHTS}", "admin on nopass ~* +@all"]}
    with closing(RedisServer(tmp_path / "redis", options)) as server:
        server.wait_up()
        (tmp_path / "secret").write_text(f"{_SECRET}\n", encoding="utf-8")
        store(f"redis://tap@{server.address}", layout, password_file="secret")


def test_a_unix_socket(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with closing(RedisServer(tmp_path / "redis", {"unixsocket": path, "requirepass": _SECRET})) as server:
        server.wait_up()
        store(f"unix://:{_SECRET}@{path}?db=3")
        server.client.execute_command("AUTH", _SECRET)
        assert server.client.info("keyspace")["db3"]["keys"] == _COUNT


def test_tls_with_an_authority_of_ones_own(store: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    with closing(RedisServer(tmp_path / "redis", {"requirepass": _SECRET}, authority=authority)) as server:
        server.wait_up()
        store(f"rediss://:{_SECRET}@localhost:{server.port}/0?ssl_ca_certs={authority.file}")


def test_a_cluster_by_tls_with_a_user_of_few_rights(store: Store, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    with clustered(tmp_path, replicas=0, authority=authority) as nodes:
        for node in nodes:
            node.run("ACL", "SETUSER", "tap", *_RIGHTS.split(), "+command", "+cluster|slots")
        hosts = f"{nodes[1].address},{nodes[2].address}"
        store(f"rediss+cluster://tap:{_SECRET}@{hosts}?ssl_ca_certs={authority.file}")
        stored = [node.client.dbsize() for node in nodes]
        assert sum(stored) == _COUNT
        assert all(stored), "every node has its part"


def test_a_password_that_redis_repeats_is_told_nowhere(programs: Callable[..., Programs], tmp_path: Path) -> None:
    """A Redis without AUTH names what it was given."""
    with closing(RedisServer(tmp_path / "redis", {"rename-command": 'AUTH ""'})) as server:
        server.wait_up()
        made = programs(weights={"a": 1}, given={"a": {"redis": f"redis://tap:{_SECRET}@{server.address}"}})
        made.start("router", "writer-a")
        reason = wait_for(lambda: _reason(made), "the writer says why")
        assert reason.lower().startswith("unknown command")
        shown = [made.command(*command) for command in (("check",), ("query",), ("status",))]
        told = "".join(done.stdout + done.stderr for done in shown) + json.dumps(made.status())
        assert told.lower().count("unknown command") >= 3
        assert _SECRET not in told + made.log("writer-a") + made.log("router")


def _reason(programs: Programs) -> str:
    status = programs.command("status", "--json")
    if status.returncode != 0:
        return ""
    writer: dict[str, Any] = json.loads(status.stdout)["writers"]["a"]
    return str(writer["reason"]) if "nknown" in str(writer.get("reason")) else ""
