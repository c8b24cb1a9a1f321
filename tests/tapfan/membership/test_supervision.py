"""A real supervisord gets one program more or less, and the others never notice."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tapfan.membership import supervision
from tapfan.membership.supervision import SupervisionError, Supervisor
from tests.process.running import wait_for
from tests.tapfan.membership.supervising import FILE, supervisord

_WRITER = "[program:writer-c]\ncommand = sleep 600\nstartsecs = 0\nstdout_logfile = %(here)s/writer-c.log\n"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Of a supervisord that runs."""
    path = tmp_path / "supervisord.conf"
    path.write_text(FILE)
    with supervisord(path):
        yield path


def _pid(supervisor: Supervisor, program: str) -> int:
    """Of its process, once that is the program itself: before, a signal to it may get lost; else 0."""
    process = supervisor.process(program)
    with suppress(FileNotFoundError, ProcessLookupError):
        if process and process.pid and Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n":
            return process.pid
    return 0


def test_a_program_comes_and_goes_and_the_others_go_on(file: Path) -> None:
    with Supervisor(file) as supervisor:
        router = wait_for(lambda: _pid(supervisor, "router"), "the router runs")
        assert supervisor.pid == int((file.parent / "supervisord.pid").read_text())
        assert supervisor.process("writer-c") is None

        file.write_text(FILE.replace("sleep 600", "sleep 500") + _WRITER)  # another program's change is not ours
        supervisor.start("writer-c")
        writer = wait_for(lambda: _pid(supervisor, "writer-c"), "the writer runs")
        supervisor.start("writer-c")
        found = supervisor.process("writer-c")
        assert found is not None
        assert (found.pid, found.log, found.ended) == (writer, file.parent / "writer-c.log", False)

        supervisor.stop("writer-c")
        assert supervisor.process("writer-c") is None
        assert not Path(f"/proc/{writer}").exists()
        supervisor.stop("writer-c")
        assert _pid(supervisor, "router") == router

        supervisor.start("writer-c")  # it is still in the file
        wait_for(lambda: _pid(supervisor, "writer-c"), "the writer runs again")
        supervisor.stop("writer-c")
        file.write_text(FILE)
        supervisor.reread()
        with pytest.raises(SupervisionError, match=f"does not read {file}; name its file with --supervisor"):
            supervisor.start("writer-c")


def test_one_that_was_stopped_is_started_and_one_that_cannot_run_is_told(file: Path) -> None:
    with Supervisor(file) as supervisor:
        file.write_text(FILE + _WRITER)
        supervisor.start("writer-c")
        pid = wait_for(lambda: _pid(supervisor, "writer-c"), "the writer runs")
        os.kill(pid, 9)  # startsecs = 0 and a signal: it is started again
        wait_for(lambda: _pid(supervisor, "writer-c") not in (0, pid), "another one runs")
        subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(file), "stop", "writer-c"],
            check=True,
            capture_output=True,
        )
        supervisor.start("writer-c")
        assert wait_for(lambda: _pid(supervisor, "writer-c"), "it runs again")
        supervisor.stop("writer-c")

        file.write_text(FILE + _WRITER.replace("sleep 600", "sh -c 'exit 2'\nautorestart = false\nexitcodes = 2"))
        supervisor.start("writer-c")

        def ended() -> str | None:
            process = supervisor.process("writer-c")
            return process.trouble if process and process.state == "EXITED" else None

        assert wait_for(ended, "it has ended") == "exit code 2"
        supervisor.stop("writer-c")
        assert supervisor.process("writer-c") is None


def test_a_file_that_supervisord_cannot_read_changes_nothing(file: Path) -> None:
    with Supervisor(file) as supervisor:
        file.write_text(FILE + "[program:writer-c]\n")
        with pytest.raises(SupervisionError, match=r"supervisord refuses reloadConfig: CANT_REREAD: .*writer-c"):
            supervisor.start("writer-c")
        assert supervisor.process("writer-c") is None


def test_a_program_of_a_group_is_not_touched(file: Path) -> None:
    with Supervisor(file) as supervisor:
        file.write_text(FILE + _WRITER + "[group:all]\nprograms = router,writer-c\n")
        supervisor.reread()
        with pytest.raises(SupervisionError, match="writer-c is a part of the group all"):
            supervisor.check_own_group("writer-c")
        supervisor.check_own_group("none")


def test_without_supervisord_it_says_where_it_should_be(tmp_path: Path) -> None:
    path = tmp_path / "supervisord.conf"
    with pytest.raises(SupervisionError, match=r"does not say how to reach supervisord: .*could not find config file"):
        Supervisor(path)
    path.write_text("[supervisord]\n")
    with pytest.raises(SupervisionError, match=r"does not include supervisorctl section"):
        Supervisor(path)
    path.write_text(FILE)
    with pytest.raises(
        SupervisionError, match=f"supervisord does not answer at unix://{tmp_path}/s.sock: .*No such file"
    ):
        Supervisor(path)


def test_one_that_hangs_holds_us_up_for_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_TIMEOUT_S", 0.2)
    path = tmp_path / "supervisord.conf"
    path.write_text(FILE)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s.sock"))
        silent.listen()
        begun_s = time.monotonic()
        with pytest.raises(SupervisionError, match=r"does not answer at .*timed out"):
            Supervisor(path)
        assert time.monotonic() - begun_s < 5
    assert socket.getdefaulttimeout() is None
