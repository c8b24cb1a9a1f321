"""Programs that root starts become the configured user, and keep no right that they do not need."""

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tapfan.program import EXIT_FAILED, EXIT_USAGE
from tests.process.namespace import Namespace
from tests.process.running import Programs, wait_for
from tests.process.stored import stored
from tests.process.test_supervisor import supervising
from tests.process.traffic import connections
from tests.process.users import NONE, USER, open_folder, rights, skip_without_root, with_python_in_reach

_PORT = 80  # to listen on it takes a right
_ALL = ["redis-a", "router", "writer-a", "listener"]  # one of each kind
_IN_REDIS = {"user": USER.pw_name}

MakePrograms = Callable[..., Programs]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user may enter."""
    skip_without_root()
    with open_folder() as made:
        yield made


@pytest.fixture
def programs(folder: Path) -> Iterator[MakePrograms]:
    """Makes programs with the given options (of `Programs`) in that folder, and ends them after the test."""
    made: list[Programs] = []

    def make(**options: Any) -> Programs:
        made.append(Programs(folder, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def _capturing(programs: MakePrograms, space: Namespace, **listener: object) -> Programs:
    """All programs, started by root to become the user, capturing on a low port, and ready."""
    options = {"listen": [f"{space.address}:{_PORT}"], "source": "capture", "spool": "always"} | listener
    made = programs(listener=options, top={"user": USER.pw_name}, netns=space.name)
    _start(made)
    return made


def _start(programs: Programs, *names: str) -> None:
    programs.start(*names, under=with_python_in_reach(), as_shipped=True)
    programs.wait_ready()


def _serving(programs: Programs) -> psutil.Process:
    """The listener's child that accepts connections."""

    def child() -> psutil.Process | None:
        found = psutil.Process(programs.processes["listener"].pid).children()
        return found[0] if found and found[0].status() != psutil.STATUS_ZOMBIE else None

    return wait_for(child, "the listener has a serving process")


def test_all_become_the_user_without_capabilities_and_store_what_is_captured(
    programs: MakePrograms, space: Namespace
) -> None:
    made = _capturing(programs, space)
    ports = connections(50, _PORT, space.address)
    found = {name: rights(process.pid) for name, process in made.processes.items()}
    assert found == dict.fromkeys(made.names, NONE)
    assert rights(_serving(made).pid) == NONE
    made.wait_settled(5 * len(ports))
    records = stored(made)
    assert sorted(record.value["sport"] for record in records if "F" in record.value["flags"]) == sorted(ports)
    assert made.status()["listeners"]["local"]["source"] == "capture"
    assert "stays_root" not in made.log("listener")
    state = made.run_dir.stat()
    assert (state.st_uid, stat.S_IMODE(state.st_mode)) == (USER.pw_uid, 0o700)
    owners = {path.name: path.stat().st_uid for path in made.run_dir.iterdir() if path.suffix != ".log"}
    assert owners == dict.fromkeys(owners, USER.pw_uid)
    assert {"spool-local.db", "ledger.json", "router.lock", "redis-a.conf", "control.ipc"} <= owners.keys()


def test_a_listener_that_is_killed_and_started_by_root_again_loses_nothing(
    programs: MakePrograms, space: Namespace
) -> None:
    made = _capturing(programs, space)
    connections(50, _PORT, space.address)
    made.wait_settled(250)
    made.kill("listener")
    _start(made, "listener")
    assert rights(made.processes["listener"].pid) == rights(_serving(made).pid) == NONE
    connections(50, _PORT, space.address)
    assert made.stop("listener") == 0
    ledger = made.wait_settled(500)["ledger"]
    assert (ledger["stored"], ledger["lost"]) == (ledger["captured"], {})
    assert len(stored(made)) == ledger["captured"]


def test_a_serving_process_that_is_killed_is_started_again_without_any_right(
    programs: MakePrograms, space: Namespace
) -> None:
    made = _capturing(programs, space)
    first = _serving(made)
    first.kill()
    second = wait_for(lambda: (now := _serving(made)).pid != first.pid and now, "another one serves")
    assert connections(1, _PORT, space.address)
    assert rights(second.pid) == NONE


def test_what_is_in_the_spool_at_a_stop_is_stored_after_the_next_start(
    programs: MakePrograms, space: Namespace
) -> None:
    made = _capturing(programs, space, spool="overflow")
    made.stop_all("writer-a", "writer-b", "router")
    ports = connections(50, _PORT, space.address)
    assert made.stop("listener") == 0
    assert "event=stopped_with_records_in_the_spool" in made.log("listener")
    _start(made, "router", "writer-a", "writer-b", "listener")
    ledger = made.wait_settled(5 * len(ports))["ledger"]
    assert (ledger["stored"], ledger["lost"]) == (ledger["captured"], {})
    made.stop_all("listener", "writer-a", "writer-b", "router")


def test_what_root_made_before_there_was_a_user_is_the_user_s_afterwards(programs: MakePrograms) -> None:
    first = programs(listener={"spool": "always"})
    first.start("listener")
    wait_for(lambda: "event=ready" in first.log("listener"), "the listener is ready")
    assert "event=stays_root" in first.log("listener")
    connections(10, first.port)
    assert first.stop("listener") == 0
    config = first.config.read_text(encoding="utf-8")
    first.config.write_text(f'user = "{USER.pw_name}"\n{config}', encoding="utf-8")
    _start(first)
    assert {rights(process.pid) == NONE for process in first.processes.values()} == {True}
    first.wait_settled(20)


def test_a_listener_with_the_right_to_capture_only_gives_it_up(programs: MakePrograms) -> None:
    made = programs(listener={"source": "capture"})
    os.chown(made.run_dir, USER.pw_uid, USER.pw_gid)
    made.start("router", "listener", under=[*with_python_in_reach(), *_as_user("net_raw")])
    made.wait_ready()
    assert made.status()["listeners"]["local"]["source"] == "capture"
    assert rights(made.processes["listener"].pid) == rights(_serving(made).pid) == NONE


def _as_user(*capabilities: str) -> list[str]:
    """A command that becomes the user, with these capabilities."""
    options = [f"--{kind}-caps={','.join(f'+{name}' for name in capabilities)}" for kind in ("inh", "ambient")]
    return [
        "setpriv",
        f"--reuid={USER.pw_uid}",
        f"--regid={USER.pw_gid}",
        "--clear-groups",
        *options * (capabilities != ()),
    ]


@pytest.mark.parametrize("name", _ALL)
def test_who_may_not_become_the_user_is_told_and_may_try_again(programs: MakePrograms, name: str) -> None:
    made = programs(top={"user": "daemon"})
    code, output = made.failed_start(name, under=[*with_python_in_reach(), *_as_user()])
    assert code == EXIT_FAILED
    assert "user = 'daemon': user nobody may not become that one; start this as root or as daemon" in output
    assert len(output.splitlines()) == 1, output


@pytest.mark.parametrize("name", _ALL)
def test_an_unknown_user_is_a_bad_configuration(programs: MakePrograms, name: str) -> None:
    code, output = programs(top={"user": "tapfan-none"}).failed_start(name)
    assert code == EXIT_USAGE
    assert "user = 'tapfan-none': must be the name of a user of this host" in output
    assert len(output.splitlines()) == 1, output


@pytest.mark.parametrize("name", _ALL)
def test_a_run_directory_out_of_the_user_s_reach_is_told(programs: MakePrograms, folder: Path, name: str) -> None:
    made = programs(top={"user": USER.pw_name})
    folder.chmod(0o700)
    code, output = made.failed_start(name, under=with_python_in_reach())
    assert code == EXIT_FAILED
    assert f"cannot use run_dir {made.run_dir}: user nobody may not enter {folder}; set run_dir to" in output
    assert len(output.splitlines()) == 1, output


def test_under_a_supervisord_of_root_all_but_that_become_the_user(folder: Path, space: Namespace) -> None:
    under = [*with_python_in_reach(), "ip", "netns", "exec", space.name]
    own = {"TAPFAN_USER": USER.pw_name, "TAPFAN_LISTENER__SOURCE": "capture"}
    own["TAPFAN_LISTENER__LISTEN"] = f"{space.address}:{_PORT}"
    with supervising(folder, under, **own) as supervised:
        processes = psutil.Process(supervised.process.pid).children(recursive=True)
        assert len(processes) == len(supervised.states()) + 1
        assert [rights(process.pid) for process in processes] == [NONE] * len(processes)
        connections(10, _PORT, space.address)
        assert (folder / "run").stat().st_uid == USER.pw_uid
        pid = supervised.pid("listener")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: supervised.is_another("listener", pid), "the listener runs again")
        wait_for(lambda: supervised.log("listener").count("event=ready") == 2, "the listener is ready again")
        assert rights(supervised.pid("listener")) == NONE
        for becoming in ([], _as_user()):
            told = supervised.run(*with_python_in_reach(), *becoming, sys.executable, "-m", "tapfan.cli", "status")
            assert "balanced" in told
