"""A Redis that could lose records is warned of, by all that run and for as long as that is so; it is used as before."""

import json
from typing import Any

from tests.process.conftest import StartPrograms
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
    assert " of its maxmemory free, which hold about " in notes
