"""The `tapfan` command against what runs."""

import json

import pytest

from tapfan.program import EXIT_FAILED, EXIT_USAGE
from tests.process.conftest import MakePrograms, StartPrograms
from tests.process.running import Programs
from tests.process.traffic import connections


@pytest.fixture
def running(start: StartPrograms) -> Programs:
    programs = start()
    connections(100, programs.port)
    programs.wait_settled(200)
    return programs


def test_status(running: Programs) -> None:
    shown = running.command("status")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert all(len(line) <= 80 for line in shown.stdout.splitlines() if not line.startswith("ledger"))
    assert "ledger: 200 captured = 200 stored + 0 expired" in shown.stdout
    status = json.loads(running.command("status", "--json").stdout)
    assert status["ledger"] == {
        "captured": 200,
        "stored": 200,
        "expired": 0,
        "dropped": 0,
        "in_flight": 0,
        "spooled": 0,
        "lost": {},
        "balanced": True,
    }
    assert {name: writer["stored"] for name, writer in status["writers"].items()} == {"a": 60, "b": 140}
    assert status["writers"]["a"]["observed"]["5m"] == 0.3


def test_weights_are_shown_and_set_as_one_vector(running: Programs) -> None:
    before = json.loads(running.command("weights", "--json").stdout)
    assert (before["weights"], before["version"]) == ({"a": 30, "b": 70}, 1)
    shown = running.command("weights", "a=1", "b=3")
    assert shown.returncode == 0
    assert "25.0%" in shown.stdout
    assert json.loads(running.command("weights", "--json").stdout)["version"] == 2
    for refused in (["a=5", "c=1"], ["a=5", "b=nan"], ["a=0", "b=0"], ["a=5", "b=-4"], ["a"]):
        failed = running.command("weights", *refused)
        assert failed.returncode == EXIT_USAGE
        assert failed.stderr.startswith("tapfan: ")
        assert len(failed.stderr.splitlines()) == 1
    after = json.loads(running.command("weights", "--json").stdout)
    assert (after["weights"], after["version"]) == ({"a": 1, "b": 3}, 2)


def test_check_says_what_would_run(running: Programs) -> None:
    shown = running.command("check", "--json")
    assert shown.returncode == 0, shown.stdout
    result = json.loads(shown.stdout)
    assert [process["command"] for process in result["processes"]] == [
        "python -m listener",
        "python -m router",
        "python -m writers a",
        "python -m writers b",
    ]
    assert result["processes"][2]["does"].startswith("stores 30.0% in redis://127.0.0.1:")
    assert sum("answers: Redis" in note for note in result["notes"]) == 2


def test_check_names_what_is_missing(programs: MakePrograms) -> None:
    made = programs(listener={"listen": ["192.0.2.7:9000"]})
    shown = made.command("check")
    assert shown.returncode == EXIT_FAILED
    assert "tapfan: cannot serve 192.0.2.7:9000: EADDRNOTAVAIL" in shown.stderr
    assert shown.stdout.count("does not answer yet") == 2


def test_without_a_router_it_says_so(programs: MakePrograms) -> None:
    made = programs(top={"control": {}})
    failed = made.command("status")
    assert failed.returncode == EXIT_FAILED
    assert "is the router running (supervisorctl status)" in failed.stderr


def test_a_bad_configuration_is_named(programs: MakePrograms) -> None:
    made = programs(listener={"serve": "everything"})
    for command, code in (("check", EXIT_USAGE), ("query", EXIT_USAGE), ("status", EXIT_FAILED)):
        failed = made.command(command)
        assert failed.returncode == code
        assert "listener.serve = 'everything': " in failed.stderr
