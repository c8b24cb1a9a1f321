"""A writer comes and goes while everything runs, for good, and nothing else is restarted."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import redis

from tapfan.embedded_redis import find_server
from tests.process.running import DEADLINE_S, ROOT, free_port, wait_for
from tests.process.test_supervisor import Supervised, supervising
from tests.process.traffic import Load, connections

_OTHERS = ["listener", "redis-a", "redis-b", "router", "writer-a", "writer-b"]
_KILLED = """
import os, signal, sys
from tapfan.membership import site

def run(steps, last=int(sys.argv.pop(1))):
    for number, step in enumerate(steps, 1):
        step.do()
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

site.run = run
from tapfan.cli.__main__ import main
main()
"""


class Redis:
    """A server that supervisord knows nothing of."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port, protocol=2)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([str(find_server()), *options], stdout=subprocess.DEVNULL)
        wait_for(self._answers, "Redis answers")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def close(self) -> None:
        """End it."""
        self.client.close()
        if self._process:
            self._process.kill()
            self._process.wait(DEADLINE_S)


@pytest.fixture
def third() -> Iterator[Redis]:
    made = Redis()
    yield made
    made.close()


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """Everything; each test leaves it as it was."""
    with supervising(tmp_path_factory.mktemp("supervised")) as made:
        yield made


def _tapfan(supervised: Supervised, *arguments: str, killed_after: int | None = None) -> tuple[int, str]:
    """The exit code of the command, and its output; `killed_after`: the step after which it is killed."""
    command = ["tapfan"] if killed_after is None else [sys.executable, "-c", _KILLED, str(killed_after)]
    done = subprocess.run(
        [*command, *arguments],
        cwd=supervised.folder,
        env=supervised.environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _pids(supervised: Supervised, *names: str) -> dict[str, int]:
    return {name: supervised.pid(name) for name in names or _OTHERS}


def _writers(supervised: Supervised) -> dict[str, Any]:
    writers: dict[str, Any] = supervised.client.status()["writers"]
    return writers


def _stored(supervised: Supervised) -> dict[str, int]:
    return {name: writer["stored"] for name, writer in _writers(supervised).items()}


def _all_stored(supervised: Supervised) -> bool:
    ledger = supervised.client.status()["ledger"]
    return bool(ledger["stored"] == ledger["captured"] and ledger["balanced"] and not ledger["lost"])


def _texts(supervised: Supervised) -> list[bytes]:
    return [(supervised.folder / name).read_bytes() for name in ("tapfan.toml", "supervisord.conf")]


def test_a_writer_comes_stays_over_a_restart_and_goes_under_load(supervised: Supervised, third: Redis) -> None:
    third.start()
    before, pids = _texts(supervised), _pids(supervised)

    with Load(supervised.port):
        code, output = _tapfan(supervised, "add", "c", third.url, "--weight", "100", "--by", "anna", "--reason", "room")
        assert code == 0, output
        assert "c is added" in output
        wait_for(third.client.dbsize, "c gets records")
    wait_for(lambda: _all_stored(supervised), "all is stored")
    assert _pids(supervised) == pids
    stored = _stored(supervised)
    connections(200, supervised.port)
    wait_for(lambda: sum(_stored(supervised).values()) == sum(stored.values()) + 400, "all is stored")
    got = {name: count - stored[name] for name, count in _stored(supervised).items()}
    assert all(abs(got[name] - share) <= 2 for name, share in {"a": 60, "b": 140, "c": 200}.items()), got
    assert third.client.dbsize() == _stored(supervised)["c"]
    entry = next(entry for entry in supervised.client.history()["entries"] if entry["kind"] == "add")
    assert (entry["by"], entry["reason"]) == ("anna", "room")

    supervised.restart()
    wait_for(supervised.ready, "everything is ready again", 40)
    assert _writers(supervised)["c"]["weight"] == 100
    pids, count = _pids(supervised), third.client.dbsize()
    with Load(supervised.port):
        wait_for(lambda: third.client.dbsize() > count + 20, "c gets records again")
        writer = supervised.pid("writer-c")
        code, output = _tapfan(supervised, "remove", "c", "--by", "anna")
        assert code == 0, output
        assert f"what it stored stays in {third.url} until it expires" in output
        assert not psutil.pid_exists(writer)
        assert set(_writers(supervised)) == {"a", "b"}
        captured = supervised.client.status()["ledger"]["captured"]
        wait_for(lambda: supervised.client.status()["ledger"]["captured"] > captured + 100, "the others go on")
    wait_for(lambda: _all_stored(supervised), "all is stored")
    assert _texts(supervised) == before
    assert _pids(supervised) == pids
    assert "writer-c" not in supervised.states()


def test_what_was_killed_at_any_step_is_mended_by_the_same_command(supervised: Supervised, third: Redis) -> None:
    """Each kill is after one more step, as those that are done are not done again."""
    third.start()
    before, pids = _texts(supervised), _pids(supervised)
    add = ["add", "c", third.url, "--weight", "20"]
    for _configuration_program_router in range(3):
        assert _tapfan(supervised, *add, killed_after=1)[0] == -signal.SIGKILL
        assert "writer-c" not in supervised.states()
    assert all(text != old for text, old in zip(_texts(supervised), before, strict=True))
    assert "c" in _writers(supervised)
    code, output = _tapfan(supervised, *add)
    assert (code, _writers(supervised)["c"]["health"]) == (0, "up"), output
    code, output = _tapfan(supervised, *add)
    assert code == 0
    assert "c is in all of it already" in output

    for step, is_left in ((1, True), (2, False), (3, False), (3, False)):  # drained, stopped, configuration, program
        assert _tapfan(supervised, "remove", "c", killed_after=step)[0] == -signal.SIGKILL
        assert ("writer-c" in supervised.states()) == is_left
        assert _writers(supervised)["c"]["state"] == "drain"
    assert _texts(supervised) == before
    assert _tapfan(supervised, "remove", "c")[0] == 0
    assert set(_writers(supervised)) == {"a", "b"}

    assert _tapfan(supervised, *add, killed_after=2)[0] == -signal.SIGKILL
    code, output = _tapfan(supervised, "remove", "c")
    assert (code, _texts(supervised), set(_writers(supervised))) == (0, before, {"a", "b"}), output
    assert _pids(supervised) == pids


def test_what_cannot_be_is_taken_back_and_what_is_not_up_yet_stays(supervised: Supervised, third: Redis) -> None:
    before, pids = _texts(supervised), _pids(supervised)
    elsewhere = supervised.folder / "elsewhere" / "tapfan.toml"  # which the programs do not read
    elsewhere.parent.mkdir()
    elsewhere.write_text(f'run_dir = "{supervised.folder}/run"\n' + before[0].decode().replace('run_dir = "run"', ""))
    others = elsewhere.read_bytes()
    code, output = _tapfan(
        supervised,
        "add",
        "c",
        third.url,
        "--weight",
        "1",
        "--config",
        str(elsewhere),
        "--supervisor",
        "supervisord.conf",
    )
    assert (code, _texts(supervised), elsewhere.read_bytes()) == (1, before, others), output
    assert "writer-c does not run (" in output
    assert "no writer is named 'c'; the configuration has: a, b" in output
    assert output.endswith("now nothing has c\n")
    assert (set(_writers(supervised)), "writer-c" in supervised.states()) == ({"a", "b"}, False)

    code, output = _tapfan(supervised, "add", "c", third.url, "--weight", "1")
    assert code == 1
    assert f"warning: {third.url} does not answer yet" in output
    assert "c is added, and gets its part once it is up; it is not yet: c is not up: " in output
    third.start()
    wait_for(lambda: _writers(supervised)["c"]["health"] == "up", "c is up")
    assert _tapfan(supervised, "remove", "c")[0] == 0
    assert _texts(supervised) == before
    assert _pids(supervised) == pids
