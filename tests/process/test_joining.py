"""A writer that somebody starts elsewhere, with a configuration of its own, joins the router that it is led to."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tapfan.keyring import Keyring
from tests.process.running import Programs, free_port, wait_for
from tests.process.traffic import connections
from tests.writers.servers import Server


def _stored(programs: Programs) -> dict[str, int]:
    return {name: writer["stored"] for name, writer in programs.status()["writers"].items()}


def _store(programs: Programs, count: int) -> dict[str, int]:
    """How many records each writer has stored of so many that are captured now, two a connection."""
    before = _stored(programs)
    connections(count // 2, programs.port)
    programs.wait_settled(programs.status()["ledger"]["captured"])
    wait_for(lambda: sum(_stored(programs).values()) == sum(before.values()) + count, "all is stored")
    return {name: stored - before[name] for name, stored in _stored(programs).items()}


def _has_joined(programs: Programs) -> bool:
    member = programs.status()["writers"].get("c")
    return bool(member and member["health"] == "up" and member["joined"])


@pytest.mark.parametrize("encrypted", [False, True])
def test_it_gets_its_part_outlasts_the_router_and_can_be_removed(
    programs: Callable[..., Programs], tmp_path: Path, encrypted: bool
) -> None:
    top: dict[str, Any] = {}
    endpoint, own = f"ipc://{tmp_path}/run/shares.ipc", {}
    if encrypted:
        endpoint, own = f"tcp://127.0.0.1:{free_port()}", {"key": "c.key"}
        top = {"router.shares": endpoint, "router.key": "keys/router.key"}
    (tmp_path / "there").mkdir()
    here = programs(top=top)
    with contextlib.closing(Server(tmp_path / "redis-c")) as server:
        given = {"c": {"redis": f"unix://{server.path}?db=0"} | own}
        there = Programs(tmp_path / "there", top={"router.shares": endpoint}, weights={"c": 100}, given=given)
        with contextlib.closing(there):
            if encrypted:
                keyring = Keyring(tmp_path / "keys" / "router.key")
                keyring.make_router()
                keyring.make("c", "writer").file.rename(there.folder / "c.key")
            here.start()
            here.wait_ready()
            text = here.config.read_bytes()

            there.start("writer-c")
            wait_for(lambda: _has_joined(here), f"c joins: {here.log('router')}")
            got = _store(here, 400)
            assert all(abs(got[name] - share) <= 2 for name, share in {"a": 60, "b": 140, "c": 200}.items()), got

            here.stop("router")
            here.start("router")
            here.wait_ready()
            wait_for(lambda: _has_joined(here), f"c is back: {here.log('router')}")
            assert _store(here, 100)["c"] in range(48, 53)

            done = here.command("remove", "c")
            assert done.returncode == 0, done.stderr
            assert set(_stored(here)) == {"a", "b"}
            assert here.config.read_bytes() == text
            here.kill("router")
            here.start("router")
            here.wait_ready()
            assert sum(_store(here, 100).values()) == 100
            wait_for(lambda: here.status()["warnings"].get("removed_writer"), "its process, which runs, has reported")
            assert set(_stored(here)) == {"a", "b"}

            assert there.stop("writer-c") == 0
            there.start("writer-c")
            wait_for(lambda: _has_joined(here), "it joins anew")
            assert here.status()["ledger"]["lost"] == {}


def _start_anew(there: Programs, configuration: str) -> None:
    """Start the writer's process again, and wait until the router has answered it."""
    before = there.log("writer-c").count("event=router_found")
    assert there.stop("writer-c") == 0
    there.config.write_text(configuration, encoding="utf-8")
    there.start("writer-c")
    wait_for(lambda: there.log("writer-c").count("event=router_found") > before, "the router has answered it")


def test_its_own_configuration_wins_over_what_was_set_if_it_was_edited_and_its_process_started_anew(
    programs: Callable[..., Programs], tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    here = programs()
    with contextlib.closing(Server(tmp_path / "redis-c")) as server:
        given = {"c": {"redis": f"unix://{server.path}?db=0"}}
        top = {"router.shares": f"ipc://{tmp_path}/run/shares.ipc"}
        there = Programs(tmp_path / "there", top=top, weights={"c": 100}, given=given)
        with contextlib.closing(there):
            here.start("router")
            there.start("writer-c")
            wait_for(lambda: _has_joined(here), f"c joins: {here.log('router')}")
            text = there.config.read_text(encoding="utf-8")
            with here.control() as control:
                control.weights({"c": 60})
                _start_anew(there, text)
                assert control.weights()["weights"]["c"] == 60
                _start_anew(there, text.replace("weight = 100", "weight = 45"))
                wait_for(lambda: control.weights()["weights"]["c"] == 45, "its weight is that of the file")
                (entry,) = (entry for entry in control.history()["entries"] if entry["kind"] == "configuration")
            assert entry["changes"] == [
                {"writer": "c", "what": "configured", "before": 100, "after": 45},
                {"writer": "c", "what": "weight", "before": 60, "after": 45},
            ]
            wait_for(lambda: "kind=configuration" in here.log("router"), "it is logged")
            here.kill("router")
            here.start("router")
            wait_for(lambda: _has_joined(here), f"c is back: {here.log('router')}")
            assert here.status()["writers"]["c"]["weight"] == 45
