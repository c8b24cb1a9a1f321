"""`tapfan drain --wait`: what it says while it waits, when it returns, and that its end is not the drain's."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tapfan.cli.__main__ import app
from tests.tapfan.answering import answering
from tests.tapfan.conftest import WRITERS, Configure
from tests.tapfan.views import view

Look = dict[str, dict[str, Any]] | None  # writers of a status; None: no answer


def _writer(in_flight: int, health: str = "up", reason: str = "", state: str = "drain") -> dict[str, Any]:
    return {"in_flight": in_flight, "health": health, "reason": reason, "state": state}


@pytest.fixture
def config(configure: Configure, tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return configure(f'[control]\ntimeout = "500ms"\n{WRITERS}')


@contextmanager
def _router(config: Path, looks: Sequence[Look]) -> Iterator[list[dict[str, Any]]]:
    """Accepts the drain, and answers one status after the other with these writers; the last one again and again."""
    left = list(looks)

    def answer(request: dict[str, Any]) -> dict[str, Any] | None:
        if request["command"] == "state":
            return {"ok": True, "result": view(states={"a": "ready", "b": "drain"})}
        writers = left.pop(0) if len(left) > 1 else left[0]
        return None if writers is None else {"ok": True, "result": {"writers": writers}}

    with answering(f"ipc://{config.parent}/run/control.ipc", answer) as requests:
        yield requests


def _drain(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["drain", *arguments, "--wait", "--config", str(config)])


def test_it_returns_at_once_when_nothing_is_in_flight(config: Path) -> None:
    with _router(config, [{"a": _writer(900, state="ready"), "b": _writer(0)}]) as requests:
        done = _drain(config, "b")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2].split() == ["b", "50", "50.0%", "70", "drain"]
    assert [request["command"] for request in requests] == ["state", "status"]


def test_it_says_what_it_waits_for_and_again_when_that_is_something_else(config: Path) -> None:
    looks: list[Look] = [
        {"b": _writer(1_234)},
        {"b": _writer(1_200)},
        {"b": _writer(1_200, "down", "Connection refused\x1b[2J")},
        {"b": _writer(1, "absent")},
        {"b": _writer(0)},
    ]
    with _router(config, looks):
        done = _drain(config, "b")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "tapfan: waiting for b: 1,234 records in flight",
        "tapfan: waiting for b: 1,200 records in flight, b is down: Connection refused\ufffd[2J",
        "tapfan: waiting for b: 1 record in flight, b is absent: its process reports no more",
    ]


def test_of_several_it_waits_for_all(config: Path) -> None:
    looks: list[Look] = [
        {"a": _writer(3), "b": _writer(4)},
        {"a": _writer(0), "b": _writer(4, "down", "gone")},
        {"a": _writer(0)},  # b was removed, and the others have what it had
    ]
    with _router(config, looks):
        done = _drain(config, "a", "b")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "tapfan: waiting for a: 3 records in flight; b: 4 records in flight",
        "tapfan: waiting for b: 4 records in flight, b is down: gone",
    ]


def test_in_time_or_not_the_drain_stays(config: Path) -> None:
    with _router(config, [{"b": _writer(7)}]) as requests:
        done = _drain(config, "b", "--timeout", "300ms")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "tapfan: waited 0.3 s for b: 7 records in flight; it goes on draining, and `tapfan status` shows how far it is"
    )
    assert [request["command"] for request in requests].count("state") == 1


def test_a_router_that_restarts_meanwhile_is_waited_for(config: Path) -> None:
    with _router(config, [{"b": _writer(7)}, None, {"b": _writer(0)}]):
        done = _drain(config, "b")
    assert done.exit_code == 0
    assert done.stderr.splitlines()[-1] == "tapfan: the router does not answer; waiting on"


def test_a_writer_that_is_made_ready_meanwhile_ends_the_waiting(config: Path) -> None:
    with _router(config, [{"b": _writer(7)}, {"b": _writer(9, state="ready")}]):
        done = _drain(config, "b")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "tapfan: b was made ready again meanwhile; see `tapfan history`"


def test_ctrl_c_ends_the_waiting_and_not_the_drain(config: Path) -> None:
    with _router(config, [{"b": _writer(7)}]) as requests:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        done = _drain(config, "b")
        timer.join()
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("tapfan: stopped waiting for b: 7 records in flight; it goes on")
    assert [request["command"] for request in requests].count("state") == 1
