"""The run directory: for one user, and each program once."""

import os
import stat
from pathlib import Path

import pytest

from tapfan import rundir
from tapfan.program import CannotRunError


def test_the_directory_is_for_nobody_else_also_when_it_was_there(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir(mode=0o755)
    for folder in (there, tmp_path / "deeper" / "new"):
        rundir.make(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_directory_with_other_things_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    for name in (
        *("router.log", "listener.log.1", ".gitignore", "control.ipc"),
        *("spool-local.db", "spool-local.db-wal", "spool-local.damaged"),
        *("ledger.json", "ledger.new", "ledger.damaged"),
    ):
        (folder / name).touch()
    rundir.make(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    (folder / "letters").mkdir()
    with pytest.raises(CannotRunError, match=r"it holds other things \(letters\); set run_dir to a folder of your own"):
        rundir.make(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["spool.db.bak", "a.json5", "renewed", "db", "notes.damaged.txt", "x.db-journal2"])
def test_what_only_resembles_ours_is_another_thing(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / name).touch()
    with pytest.raises(CannotRunError, match=f"it holds other things .{name}"):
        rundir.make(tmp_path)


def test_a_directory_that_cannot_be_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CannotRunError, match=f"cannot use run_dir {folder}: .*set run_dir to a folder of your own"):
            rundir.make(folder)


def test_a_second_lock_is_refused_with_the_process_to_stop(tmp_path: Path) -> None:
    with (
        rundir.locked(tmp_path, "router"),
        pytest.raises(
            CannotRunError, match=rf"another router \(process {os.getpid()}\) runs in {tmp_path}; stop it first"
        ),
        rundir.locked(tmp_path, "router"),
    ):
        pytest.fail("locked twice")


def test_a_refused_lock_leaves_the_first_one_as_it_was(tmp_path: Path) -> None:
    with rundir.locked(tmp_path, "router"):
        for _ in range(2):
            with pytest.raises(CannotRunError, match=f"process {os.getpid()}"), rundir.locked(tmp_path, "router"):
                pytest.fail("locked twice")


def test_a_lock_is_given_back_at_the_end_and_however_it_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyError), rundir.locked(tmp_path, "router"):
        raise KeyError
    with rundir.locked(tmp_path, "router"):
        assert (tmp_path / "router.lock").read_text() == str(os.getpid())


def test_other_programs_and_other_directories_have_locks_of_their_own(tmp_path: Path) -> None:
    with (
        rundir.locked(tmp_path, "router"),
        rundir.locked(tmp_path, "writer-a"),
        rundir.locked(tmp_path / "other", "router"),
    ):
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_lock_left_by_a_process_that_is_gone_is_taken(tmp_path: Path) -> None:
    (tmp_path / "router.lock").write_text("999999999")
    with rundir.locked(tmp_path, "router"):
        assert (tmp_path / "router.lock").read_text() == str(os.getpid())
