"""Becoming another user and dropping capabilities: in processes of their own, as there is no way back."""

import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tapfan import rights, rundir
from tapfan.program import CannotRunError
from tapfan.settings import SettingsError, load
from tests.process.running import ROOT
from tests.process.users import USER, open_folder, skip_without_root, with_python_in_reach
from tests.tapfan.conftest import WRITERS, Configure

_OTHER = pwd.getpwnam("daemon")
_RAW, _BIND = 1 << 13, 1 << 10
_THEN_TELL = """
import json, os, pathlib, pwd, sys, threading
from tapfan import rights
from tapfan.program import CannotRunError
from tapfan.settings import load
keep = rights.Capability
def tell():
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    sets = {name: int(status["Cap" + name], 16) for name in ("Inh", "Prm", "Eff", "Amb")}
    print(json.dumps(sets | {"uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(),
                             "no_new": int(status["NoNewPrivs"])}))
try:
    exec(sys.argv[1])
    tell()
except CannotRunError as error:
    print(json.dumps({"error": str(error)}))
"""


def _told(code: str, *, under: Sequence[str] = (), in_reach: bool = True, **environment: str) -> dict[str, Any]:
    """What a process says of its rights after the code."""
    finished = subprocess.run(
        [*(with_python_in_reach() if in_reach else []), *under, sys.executable, "-c", _THEN_TELL, code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    told: dict[str, Any] = json.loads(finished.stdout)
    return told


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root's, that everybody may enter, with a configuration that names the user."""
    skip_without_root()
    with open_folder() as made:
        (made / "tapfan.toml").write_text(f'user = "{USER.pw_name}"\n{WRITERS}', encoding="utf-8")
        yield made


def _take_on(folder: Path, keep: str = "()") -> str:
    return f'rights.take_on(load(__import__("pathlib").Path("{folder}/tapfan.toml")), keep={keep})'


def test_root_becomes_the_user_with_its_groups_and_no_capability(folder: Path) -> None:
    told = _told(_take_on(folder))
    assert told["uids"] == [USER.pw_uid] * 3
    assert told["gids"] == [USER.pw_gid] * 3
    assert set(told["groups"]) == set(os.getgrouplist(USER.pw_name, USER.pw_gid))
    assert [told[name] for name in ("Inh", "Prm", "Eff", "Amb", "no_new")] == [0, 0, 0, 0, 1]


def test_there_is_no_way_back(folder: Path) -> None:
    code = "\ntry:\n    os.setresuid(0, 0, 0)\nexcept PermissionError:\n    pass"
    assert _told(_take_on(folder) + code)["uids"] == [USER.pw_uid] * 3


def test_what_opening_needs_is_kept_until_it_is_given_up(folder: Path) -> None:
    both = "(keep.NET_RAW, keep.NET_BIND_SERVICE)"
    told = _told(_take_on(folder, both))
    assert told["uids"] == [USER.pw_uid] * 3
    assert [told[name] for name in ("Inh", "Prm", "Eff", "Amb")] == [0, _RAW | _BIND, _RAW | _BIND, 0]
    told = _told(f"{_take_on(folder, both)}\nrights.drop_capabilities()")
    assert [told[name] for name in ("Inh", "Prm", "Eff", "Amb")] == [0, 0, 0, 0]


def test_a_capability_that_was_not_there_is_not_kept(folder: Path) -> None:
    under = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]
    told = _told(_take_on(folder, "(keep.NET_RAW, keep.NET_BIND_SERVICE)"), under=under)
    assert (told["Prm"], told["Eff"]) == (_BIND, _BIND)


def _as(user: pwd.struct_passwd, *options: str) -> list[str]:
    return ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups", *options]


def test_who_is_that_user_already_stays_so_without_capabilities(folder: Path) -> None:
    under = _as(USER, "--inh-caps", "+net_raw", "--ambient-caps", "+net_raw")
    before = _told("", under=under)
    assert (before["Eff"], before["Amb"]) == (_RAW, _RAW)
    told = _told(_take_on(folder), under=under)
    assert told["uids"] == [USER.pw_uid] * 3
    assert [told[name] for name in ("Inh", "Prm", "Eff", "Amb")] == [0, 0, 0, 0]


def test_who_may_change_users_without_being_root_does(folder: Path) -> None:
    (folder / "run").mkdir()
    os.chown(folder / "run", USER.pw_uid, USER.pw_gid)
    capabilities = "+setuid,+setgid"
    under = _as(_OTHER, "--inh-caps", capabilities, "--ambient-caps", capabilities)
    told = _told(_take_on(folder), under=under)
    assert told["uids"] == [USER.pw_uid] * 3
    assert (told["Prm"], told["Eff"]) == (0, 0)


def test_without_the_right_to_it_the_error_says_who_could(folder: Path) -> None:
    assert _told(_take_on(folder), under=_as(_OTHER))["error"] == (
        "user = 'nobody': user daemon may not become that one; "
        "start this as root or as nobody, or remove user from the configuration"
    )


def test_a_thread_that_keeps_more_is_an_error(folder: Path) -> None:
    started = "wait = threading.Event(); threading.Thread(target=wait.wait, daemon=True).start()"
    under = _as(USER, "--inh-caps", "+net_raw", "--ambient-caps", "+net_raw")
    error = _told(f"{started}\n{_take_on(folder)}", under=under)["error"]
    assert "still has rights that were dropped: CapInh 0000000000002000" in error


def test_root_without_a_user_stays_as_it_is(folder: Path) -> None:
    (folder / "tapfan.toml").write_text(WRITERS, encoding="utf-8")
    assert _told(_take_on(folder)) == _told("")


def test_root_that_was_not_asked_for_is_warned_of_once(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    log = structlog.get_logger()
    with capture_logs() as events:
        rights.give_up(load(configure(WRITERS)), log)
        rights.give_up(load(configure(f'user = "root"\n{WRITERS}')), log)
    (event,) = events
    assert (event["event"], event["log_level"]) == ("stays_root", "warning")
    assert "set user = " in event["hint"]


@pytest.mark.parametrize("name", ["tapfan-nobody-has-this-name", "", "a\\u0000b", "65534"])
def test_an_unknown_user_is_a_bad_configuration(configure: Configure, name: str) -> None:
    with pytest.raises(SettingsError, match=r"user = .*: must be the name of a user of this host; `useradd --system"):
        load(configure(f'user = "{name}"\n{WRITERS}'))


def test_a_closed_folder_on_the_way_is_named(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    (folder / "tapfan.toml").write_text(f'user = "nobody"\nrun_dir = "closed/run"\n{WRITERS}', encoding="utf-8")
    assert _told(_take_on(folder))["error"] == (
        f"cannot use run_dir {folder}/closed/run: user nobody may not enter {folder}/closed; "
        "set run_dir to a folder elsewhere"
    )


def test_a_python_out_of_reach_is_named(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    (closed / "python").symlink_to(sys.executable)
    (folder / "python").symlink_to(closed / "python")
    told = _told(f'sys.executable = "{folder}/python"\n{_take_on(folder)}')
    assert told["error"].startswith(f"cannot use Python {folder}/python: user nobody may not enter {closed}; install")


def test_the_run_directory_is_made_for_the_user_whatever_the_umask(folder: Path) -> None:
    (folder / "tapfan.toml").write_text(f'user = "nobody"\nrun_dir = "new/run"\n{WRITERS}', encoding="utf-8")
    assert "error" not in _told(f"os.umask(0o077)\n{_take_on(folder)}")
    state = (folder / "new/run").stat()
    assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (USER.pw_uid, USER.pw_gid, 0o700)


def _owners(folder: Path) -> dict[str, str]:
    return {path.name: pwd.getpwuid(path.lstat().st_uid).pw_name for path in folder.iterdir()}


def test_root_hands_over_what_the_programs_made_and_not_what_supervisord_made(folder: Path) -> None:
    run_dir = folder / "run"
    run_dir.mkdir()
    programs = ["spool-local.db", "spool-local.db-wal", "ledger.json", "router.lock", "redis-a.conf", "control.ipc"]
    supervisors = ["supervisord.log", "router.log.1", "supervisord.pid", "supervisor.sock", ".gitignore"]
    for name in programs + supervisors:
        (run_dir / name).touch()
    (run_dir / "a.new").symlink_to(folder / "tapfan.toml")
    rundir.make(run_dir, USER)
    rundir.make(run_dir, USER)
    made = dict.fromkeys([*programs, "a.new"], USER.pw_name)
    assert _owners(run_dir) == made | dict.fromkeys(supervisors, "root")
    assert run_dir.stat().st_uid == USER.pw_uid
    assert (folder / "tapfan.toml").stat().st_uid == 0


def test_root_gives_nothing_away_that_the_user_may_have_put_there(folder: Path) -> None:
    run_dir = folder / "run"
    rundir.make(run_dir, USER)
    (run_dir / "spool-local.db").touch()
    with pytest.raises(CannotRunError, match=r"spool-local.db in it does not belong to nobody; `chown nobody` it"):
        rundir.make(run_dir, USER)
    assert _owners(run_dir) == {"spool-local.db": "root"}


def test_a_file_that_a_running_program_replaces_meanwhile_is_no_trouble(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rundir.make(folder / "run", USER)
    monkeypatch.setattr(os, "listdir", lambda _: ["ledger.new"])
    rundir.make(folder / "run", USER)


def test_root_gives_no_links_away(folder: Path) -> None:
    run_dir = folder / "run"
    run_dir.mkdir(mode=0o777)
    os.link(folder / "tapfan.toml", run_dir / "a.json")
    with pytest.raises(CannotRunError, match=r"a.json in it does not belong to nobody"):
        rundir.make(run_dir, USER)
    assert (folder / "tapfan.toml").stat().st_uid == 0


@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_root_does_not_take_a_directory_with_other_things(folder: Path, mode: int) -> None:
    run_dir = folder / "run"
    run_dir.mkdir()
    run_dir.chmod(mode)
    (run_dir / "letters").touch()
    with pytest.raises(CannotRunError, match=r"it holds other things \(letters\)"):
        rundir.make(run_dir, USER)
    assert run_dir.stat().st_uid == 0


def test_root_does_not_take_another_user_s_directory(folder: Path) -> None:
    run_dir = folder / "run"
    run_dir.mkdir()
    os.chown(run_dir, _OTHER.pw_uid, _OTHER.pw_gid)
    with pytest.raises(CannotRunError, match=r"it belongs to user daemon, not to nobody"):
        rundir.make(run_dir, USER)


def test_root_follows_no_link_to_a_directory(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "run").symlink_to("elsewhere")
    with pytest.raises(CannotRunError):
        rundir.make(folder / "run", USER)
    assert (folder / "elsewhere").stat().st_uid == 0
