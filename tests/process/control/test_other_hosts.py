"""Clients of other hosts, with keys."""

import tomllib
from collections.abc import Iterator

import msgpack
import pytest
import zmq

from tests.process.control.asked import CONFIGURED, refusal
from tests.process.control.plain_client import Control, Curve, Events, new_id
from tests.process.running import Programs, free_port, wait_for


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """A router with keys: the client `reader` may read, `chief` may all."""
    endpoints = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("control.endpoint", "control.events")}
    top = {"router.key": "keys/router.key", **endpoints}
    programs = Programs(tmp_path_factory.mktemp("keyed"), weights=CONFIGURED, top=top)
    try:
        for name, role in (("reader", "read"), ("chief", "admin")):
            made = programs.command("keys", "make", name, "--role", role)
            assert made.returncode == 0, made.stderr
        programs.start("redis-a", "redis-b", "router", "writer-a", "writer-b")
        programs.wait_ready()
        yield programs
    finally:
        programs.close()


def _curve(keyed: Programs, name: str) -> Curve:
    key = tomllib.loads((keyed.folder / "keys" / f"{name}.key").read_text(encoding="utf-8"))
    return Curve(key["public"], key["secret"], key["router"])


def _served(keyed: Programs, name: str) -> str:
    endpoint: str = tomllib.loads(keyed.config.read_text(encoding="utf-8"))["control"][name]
    return endpoint


def _remote(keyed: Programs, name: str) -> Control:
    return Control(_served(keyed, "endpoint"), curve=_curve(keyed, name))


def test_a_key_of_the_role_read_reads_and_one_of_the_role_admin_changes(keyed: Programs) -> None:
    with _remote(keyed, "reader") as reader, _remote(keyed, "chief") as chief:
        before = reader.do("weights")
        assert before["weights"] == CONFIGURED
        for command, arguments in (("weights", {"weights": {"a": 40}}), ("ttl", {"ttl": 60}), ("undo", {})):
            assert refusal(reader, command, **arguments) == "forbidden"
        assert reader.do("weights") == before
        assert chief.do("weights", weights={"a": 40})["weights"]["a"] == 40
        (entry,) = reader.do("history", limit=1)["entries"]
        assert (entry["by"], entry["key"]) == ("chief", "chief")
        chief.do("undo", by="anna")
        assert [reader.do("status")["changed"][key] for key in ("by", "key")] == ["anna", "chief"]


def test_events_come_to_other_hosts_too(keyed: Programs) -> None:
    with Events(_served(keyed, "events"), curve=_curve(keyed, "reader")) as events:
        assert events.next()[0] == "snapshot"


def test_who_asks_too_often_is_told_so(keyed: Programs) -> None:
    with _remote(keyed, "reader") as reader:
        request = msgpack.packb({"id": new_id(), "command": "weights"})
        replies = (reader.send(request) for _ in range(10_000))
        refused = next(reply for reply in replies if not reply["ok"])
        assert (refused["id"], refused["error"]["code"]) == (None, "rate_limited")
        wait_for(lambda: reader.send(request)["ok"], "it may ask again")


def test_a_key_that_is_not_allowed_gets_no_reply(keyed: Programs) -> None:
    public, secret = (part.decode() for part in zmq.curve_keypair())
    router = _curve(keyed, "chief").router.decode()
    curve = Curve(public, secret, router)
    with Control(_served(keyed, "endpoint"), timeout_ms=500, curve=curve) as stranger, pytest.raises(zmq.Again):
        stranger.do("status")
