"""What cannot start says why, in one line, and with an exit code that tells what to do."""

import os
import shutil
import socket

import pytest

from tapfan.program import EXIT_FAILED, EXIT_USAGE
from tests.process.conftest import MakePrograms, StartPrograms
from tests.process.running import wait_for


@pytest.mark.parametrize("name", ["redis-a", "router", "writer-a", "listener"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ttl = 0.5", "ttl = 0.5: must be from 1s to 31d"),
        ("speed = 3", "speed: unknown key"),
    ],
)
def test_a_bad_configuration_starts_nothing(programs: MakePrograms, name: str, text: str, told: str) -> None:
    made = programs()
    made.config.write_text(f"{text}\n{made.config.read_text()}", encoding="utf-8")
    code, output = made.failed_start(name)
    assert code == EXIT_USAGE
    assert told in output
    assert "Traceback" not in output
    assert not list(made.run_dir.glob("*.ipc"))


def test_a_writer_that_is_not_configured(programs: MakePrograms) -> None:
    code, output = programs().failed_start("writer-c")
    assert code == EXIT_USAGE
    assert "no writer is named 'c'; the configuration has: a, b" in output


@pytest.mark.parametrize("name", ["router", "writer-a", "listener"])
def test_a_second_one_is_refused_and_the_first_goes_on(start: StartPrograms, name: str) -> None:
    programs = start()
    first = programs.processes[name]
    code, output = programs.failed_start(name)
    programs.processes[name] = first
    assert code == EXIT_FAILED
    assert f"another {name} (process {first.pid}) runs in" in output.replace("listener-local", "listener")
    programs.wait_ready()


def test_a_port_in_use(programs: MakePrograms) -> None:
    made = programs()
    with socket.create_server(("127.0.0.1", made.port)):
        code, output = made.failed_start("listener")
    assert code == EXIT_FAILED
    assert len(output.splitlines()) == 1, output
    assert f"cannot serve 127.0.0.1:{made.port}: Address already in use; see who has it with `ss -ltnp`" in output


def test_an_interface_that_is_not_there(programs: MakePrograms) -> None:
    if os.geteuid() != 0:
        pytest.skip("without CAP_NET_RAW its absence is told first")
    code, output = programs(listener={"source": "capture", "interface": "eth77"}).failed_start("listener")
    assert code == EXIT_FAILED
    assert "there is no interface 'eth77'; there are: " in output
    assert len(output.splitlines()) == 1, output


def test_a_missing_right_to_capture(programs: MakePrograms) -> None:
    code, output = programs(listener={"source": "capture"}).failed_start("listener", under=_without_capture())
    assert code == EXIT_FAILED
    assert "capturing needs CAP_NET_RAW: run as root, or" in output
    assert len(output.splitlines()) == 1, output


def test_without_the_right_auto_accepts_and_says_so(programs: MakePrograms) -> None:
    made = programs(listener={"source": "auto"})
    made.start("router")
    made.start("listener", under=_without_capture())
    made.wait_ready()
    assert made.status()["listeners"]["local"]["source"] == "accept"
    assert "event=capture_not_allowed" in made.log("listener")


def test_with_the_right_auto_captures(programs: MakePrograms) -> None:
    if os.geteuid() != 0:
        pytest.skip("capturing needs CAP_NET_RAW")
    made = programs(listener={"source": "auto"})
    made.start("router", "listener")
    made.wait_ready()
    assert made.status()["listeners"]["local"]["source"] == "capture"


def _without_capture() -> list[str]:
    """A command that takes CAP_NET_RAW away from root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("taking a right from root needs the command `setpriv`, of the package util-linux")
    return ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]


def test_a_listener_waits_for_its_router(programs: MakePrograms) -> None:
    made = programs()
    made.start("listener")
    wait_for(lambda: "event=ready" in made.log("listener"), "the listener is ready")
    made.start("redis-a", "redis-b", "router", "writer-a", "writer-b")
    made.wait_ready()
