"""The command's exit codes, and what it prints where."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tapfan.cli.__main__ import app
from tests.tapfan.answering import answering
from tests.tapfan.conftest import WRITERS, Configure
from tests.tapfan.views import view


def _tapfan(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(configure: Configure, tmp_path: Path) -> Path:
    """A valid configuration, of a run directory without a router."""
    (tmp_path / "run").mkdir()
    return configure(f'[control]\ntimeout = "50ms"\n{WRITERS}')


@pytest.fixture
def patient(configure: Configure, tmp_path: Path) -> Path:
    """A valid configuration, with time for an answer."""
    (tmp_path / "run").mkdir()
    return configure(f'[control]\ntimeout = "10s"\n{WRITERS}')


@pytest.mark.parametrize("command", ["status", "weights", "check"])
def test_a_bad_configuration_ends_with_2_and_is_told(configure: Configure, command: str) -> None:
    result = _tapfan(command, "--config", configure("control.timeout = 0\n" + WRITERS))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "tapfan.toml: control.timeout = 0: must be from 10ms to 10m" in result.stderr


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["weights"], ["weights", "a=1"]])
def test_without_a_router_it_ends_with_1_and_says_what_to_check(file: Path, command: list[str]) -> None:
    result = _tapfan(*command, "--config", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"tapfan: no reply from ipc://{file.parent}/run/control.ipc within 0.05 s: is the")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (["a"], "'a' is not NAME=WEIGHT, such as a=30"),
        (["a=1", "a=2"], "a is given twice"),
        (["a=many"], "the weight of a, 'many', must be a finite number"),
        (["a=nan"], "the weight of a, 'nan', must be a finite number"),
    ],
)
def test_a_bad_weight_ends_with_2_before_anything_is_asked(file: Path, changes: list[str], problem: str) -> None:
    result = _tapfan("weights", *changes, "--config", file)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"tapfan: {problem}")


@pytest.mark.parametrize("arguments", [["unknown"], ["status", "extra"], ["status", "--unknown"]])
def test_bad_usage_ends_with_2(arguments: list[str]) -> None:
    assert _tapfan(*arguments).exit_code == 2


@pytest.mark.parametrize(("code", "exit_code"), [("internal", 1), ("bad_request", 2), ("too_large", 2)])
def test_a_refusal_ends_with_a_code_that_says_whose_fault_it_is(patient: Path, code: str, exit_code: int) -> None:
    refusal = {"ok": False, "error": {"code": code, "message": "there is no writer c"}}
    with answering(f"ipc://{patient.parent}/run/control.ipc", lambda _request: refusal):
        result = _tapfan("weights", "c=1", "--config", patient)
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", "tapfan: there is no writer c\n")


def test_weights_are_sent_as_one_change_and_shown_as_a_table_or_as_json(patient: Path) -> None:
    def answer(_request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "result": view()}

    with answering(f"ipc://{patient.parent}/run/control.ipc", answer) as requests:
        table = _tapfan("weights", "a=50", "b=50", "--config", patient)
        for_programs = _tapfan("weights", "--json", "--config", patient)
    assert [request.get("weights") for request in requests] == [{"a": 50.0, "b": 50.0}, None]
    assert (table.exit_code, for_programs.exit_code) == (0, 0)
    assert " ".join(table.stdout.split()) == (
        "writer weight share configured state a 50 50.0% 30 ready b 50 50.0% 70 ready version 2"
    )
    assert json.loads(for_programs.stdout) == view()


def test_a_check_without_problems_ends_with_0(configure: Configure) -> None:
    file = configure('[listener]\nsource = "accept"\n' + WRITERS)
    result = _tapfan("check", "--config", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("the configuration is valid\n")


def test_a_check_with_problems_ends_with_1_and_shows_addresses_as_they_are(configure: Configure) -> None:
    file = configure('[listener]\nsource = "accept"\nlisten = ["[fd00:db8::b:1]:9000"]\n' + WRITERS)
    result = _tapfan("check", "--config", file)
    assert (result.exit_code, result.stderr) == (1, "tapfan: cannot serve [fd00:db8::b:1]:9000: EADDRNOTAVAIL\n")
    assert "python -m listener [fd00:db8::b:1]:9000: source accept" in " ".join(result.stdout.split())
    assert json.loads(_tapfan("check", "--json", "--config", file).stdout)["problems"]


@pytest.mark.parametrize("command", ["status", "weights", "check"])
def test_the_help_names_the_exit_codes(command: str) -> None:
    result = _tapfan(command, "--help")
    assert result.exit_code == 0
    assert "Exit codes: 0 " in result.stdout


def test_the_version_is_that_of_the_package() -> None:
    assert _tapfan("--version").stdout == f"tapfan {metadata.version('tapfan')}\n"
