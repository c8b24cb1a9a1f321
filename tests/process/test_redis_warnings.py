"""A Redis that could lose records is warned of, by all that run and for as long as that is so; it is used as before."""

import json
import re
from pathlib import Path
from typing import Any

from tapfan.cli.checks import check
from tapfan.sections import WriterSettings
from tapfan.settings import Settings
from tests.process.conftest import StartPrograms
from tests.process.redis_servers import MASTER, clustered, replicated, watched
from tests.process.running import Programs, wait_for
from tests.process.traffic import connections

_EVICTS = "its maxmemory-policy allkeys-lru evicts records before their time once its maxmemory (64.0 MiB) is used up"
_NEEDS = "over the ttl, and has "


def _warnings(programs: Programs, writer: str = "a") -> list[str]:
    warnings: list[str] = programs.status()["writers"][writer]["warnings"]
    return warnings


def _shown(programs: Programs, command: str) -> str:
    shown = programs.command(command)
    assert (shown.returncode, shown.stderr) == (0, "")
    return shown.stdout


def test_eviction_and_memory_that_is_short_are_warned_of_until_they_are_mended(start: StartPrograms) -> None:
    programs = start()
    assert _warnings(programs) == []
    assert programs.status()["writers"]["a"]["projection"] is None
    assert "memory:" not in _shown(programs, "status")

    connections(400, programs.port)
    programs.wait_settled(800)
    with programs.redis("a") as client:
        client.config_set("maxmemory", 2**26)
        client.config_set("maxmemory-policy", "allkeys-lru")
        wait_for(lambda: _warnings(programs), "the writer warns")
        status = _shown(programs, "status")
        (line,) = (line for line in status.splitlines() if line.startswith("warning: "))
        assert line.startswith(f"warning: a (redis://127.0.0.1:{programs.redis_ports['a']}/0): {_EVICTS}")
        assert _EVICTS in _shown(programs, "check")
        _assert_projected(programs, status)

        client.config_set("maxmemory-policy", "noeviction")
        wait_for(lambda: not _warnings(programs), "it does not any more")
        assert "warning: " not in _shown(programs, "status") + _shown(programs, "check")

        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 100_000)
        warning = wait_for(lambda: next(iter(_warnings(programs)), ""), "the writer warns of memory")
        assert _NEEDS in warning
        assert _NEEDS in _shown(programs, "status")
        assert _NEEDS in _shown(programs, "check")
        assert programs.status()["writers"]["a"]["health"] == "up", "a warning takes nothing away"
    assert _warnings(programs, "b") == []
    log = programs.log("writer-a")
    assert [log.count(f"event=redis_{about} ") for about in ("eviction", "memory", "clock")] == [1, 1, 0]


def _assert_projected(programs: Programs, status: str) -> None:
    """240 of the records went there, over less than a minute, for five minutes."""
    told: dict[str, Any] = json.loads(programs.command("status", "--json").stdout)["writers"]["a"]["projection"]
    assert 240 / 60 <= told["rate"] <= 240 / 10
    assert 200 < told["bytes_a_record"] < 400
    assert 0.9 < told["needed"] / (told["rate"] * 300 * told["bytes_a_record"]) < 1.1
    assert 2**25 < told["available"] <= 2**26
    (line,) = (line for line in status.splitlines() if line.startswith("memory: "))
    assert line.startswith("memory: a needs ")
    assert " MiB, b needs " in line
    notes = _shown(programs, "check")
    assert f"redis://127.0.0.1:{programs.redis_ports['a']}/0 gets " in notes


def _checked(folder: Path, url: str) -> dict[str, Any]:
    return check(Settings(run_dir=folder, writers=(WriterSettings(name="a", redis=url, weight=1),)))


def test_a_check_asks_each_primary_of_a_cluster(tmp_path: Path) -> None:
    with clustered(tmp_path, replicas=0) as nodes:
        url = f"redis+cluster://{nodes[0].address}"
        result = _checked(tmp_path, url)
        assert result["warnings"] == []
        assert any(re.fullmatch(rf"{re.escape(url)} answers: Redis \S+, 3 primaries", note) for note in result["notes"])
        for node in nodes:
            node.run("CONFIG", "SET", "maxmemory", 2**27)
        nodes[2].run("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
        result = _checked(tmp_path, url)
        (warning,) = result["warnings"]
        assert warning.startswith(f"{url}: its maxmemory-policy volatile-ttl evicts records")
        free = sum(2**27 - int(node.info("memory", "used_memory")) for node in nodes)
        (room,) = (note for note in result["notes"] if " of its maxmemory free, which hold about " in note)
        told = re.search(r" has ([0-9.]+) MiB ", room)
        assert told
        assert abs(float(told[1]) - free / 2**20) < 1


def test_a_check_asks_the_master_that_a_sentinel_names(tmp_path: Path) -> None:
    with replicated(tmp_path, replicas=0) as (master,), watched(tmp_path, master, 0) as sentinel:
        url = f"redis+sentinel://{sentinel.address}/{MASTER}"
        master.run("CONFIG", "SET", "maxmemory", 2**27)
        master.run("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
        (warning,) = _checked(tmp_path, url)["warnings"]
        assert warning.startswith(f"{url}: its maxmemory-policy volatile-ttl evicts records")


def test_a_check_of_a_cluster_that_is_not_there_is_a_note(tmp_path: Path) -> None:
    result = _checked(tmp_path, "redis+cluster://127.0.0.1:1")
    assert any("does not answer yet (" in note and "the writer a keeps trying" in note for note in result["notes"])
