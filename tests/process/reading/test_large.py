"""Files that are larger than the window: processes that are killed meanwhile, and writers that are slow."""

import signal
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.process import captures
from tests.process.conftest import MakePrograms
from tests.process.reading.outcomes import through_a_pipe
from tests.process.running import READING, Programs, wait_for
from tests.process.stored import keys

_MANY = 300_000
_BATCH = 65_536  # the largest, and the smallest window
_STILL_S = 4.0


def _timestamps(programs: Programs) -> list[int]:
    """Of all records in all Redis servers, each identity once."""
    of_each: dict[str, int] = {}
    for writer in programs.redis_ports:
        for key in keys(programs, writer):
            of_each[f"{key['stream']}.{key['sequence']}"] = int(key["timestamp"])
    return sorted(of_each.values())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["router", "writer-a"])
def test_a_process_that_is_killed_in_the_middle_of_a_large_file_loses_and_doubles_nothing(
    storing: MakePrograms, tmp_path: Path, name: str
) -> None:
    programs = storing(listener={"window_records": _BATCH})
    data = captures.large(tmp_path / "capture", programs.port, _MANY).read_bytes()
    with through_a_pipe(programs) as pipe:
        pipe.write(data[: len(data) // 2])
        wait_for(lambda: programs.status()["ledger"]["stored"] > 0, "it is in the middle")
        programs.kill(name)
        programs.start(name)
        pipe.write(data[len(data) // 2 :])
        pipe.close()
        assert programs.wait_read(60.0) == 0
    ledger = programs.wait_settled(_MANY)["ledger"]
    assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (_MANY, _MANY, {})
    _assert_all_stored_once(programs)


@pytest.mark.timeout(120)
def test_a_reading_listener_that_is_killed_is_started_again_for_the_whole_file(
    storing: MakePrograms, tmp_path: Path
) -> None:
    programs = storing(listener={"window_records": _BATCH})
    path = captures.large(tmp_path / "capture", programs.port, _MANY)
    data = path.read_bytes()
    with pytest.raises(BrokenPipeError), through_a_pipe(programs) as pipe:  # noqa: PT012
        pipe.write(data[: len(data) // 2])
        wait_for(lambda: programs.status()["ledger"]["stored"] > 0, "it is in the middle")
        programs.kill(READING)
        pipe.write(data[len(data) // 2 :])
    programs.read("--read", str(path))
    assert programs.wait_read(60.0) == 0
    status = wait_for(lambda: _at_rest(programs), "all is settled")
    assert status["captured"] == status["stored"] + status["dropped"]
    assert set(status["lost"]) <= {"dropped_listener_killed"}
    streams: Counter[str] = Counter(key["stream"] for name in programs.redis_ports for key in keys(programs, name))
    assert streams.total() == status["stored"]
    assert sorted(streams.values())[-1] == _MANY, "the second time, all"


def _at_rest(programs: Programs) -> dict[str, Any] | None:
    ledger: dict[str, Any] = programs.status()["ledger"]
    return ledger if ledger["balanced"] and not ledger["in_flight"] and not ledger["spooled"] else None


def _assert_all_stored_once(programs: Programs) -> None:
    """Of the large file, each packet has one record: each is of another time."""
    found = _timestamps(programs)
    assert len(found) == _MANY
    assert {later - earlier for earlier, later in pairwise(found)} == {1000}


@pytest.mark.timeout(120)
def test_reading_waits_for_slow_writers_and_nothing_is_spooled(storing: MakePrograms, tmp_path: Path) -> None:
    programs = storing(listener={"window_records": _BATCH})
    path = captures.large(tmp_path / "capture", programs.port, _MANY)
    for name in ("writer-a", "writer-b"):
        programs.signal(name, signal.SIGSTOP)
    programs.read("--read", str(path))
    wait_for(lambda: programs.status()["ledger"]["captured"] >= _BATCH, "the window is full")
    with pytest.raises(AssertionError, match="it is spooled"):
        wait_for(lambda: programs.status()["ledger"]["spooled"], "it is spooled", _STILL_S)
    assert programs.status()["ledger"]["captured"] < 2 * _BATCH
    for name in ("writer-a", "writer-b"):
        programs.signal(name, signal.SIGCONT)
    with pytest.raises(AssertionError, match="it is spooled"):
        wait_for(lambda: _is_spooled_or_has_ended(programs), "it is spooled", 60.0)
    ledger = programs.wait_settled(_MANY)["ledger"]
    assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (_MANY, _MANY, {})
    _assert_all_stored_once(programs)


def _is_spooled_or_has_ended(programs: Programs) -> bool:
    assert programs.processes[READING].poll() is None, "it is spooled never: it has ended before"
    return bool(programs.status()["ledger"]["spooled"])
