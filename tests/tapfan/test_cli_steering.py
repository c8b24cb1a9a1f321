"""The commands that steer: what they ask the router for, what they refuse themselves, and their exit codes."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tapfan.cli import asking, examples
from tapfan.cli.__main__ import app
from tapfan.cli.change_options import login_name
from tapfan.control import CODES
from tests.tapfan.answering import Answer, answering
from tests.tapfan.conftest import WRITERS, Configure
from tests.tapfan.views import entry, view


class Router:
    """Answers as a router would, and keeps what it was asked."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.requests: list[dict[str, Any]] = []
        self.refusal: str | None = None
        self.refusal_text = "no"
        self.after_a_change: dict[str, Any] | None = None  # the view then
        self.refused_command: str | None = None
        self.undo: dict[str, Any] | None = None  # the entry that one makes
        self.view = view()
        self.entries = [entry("ttl", (None, "ttl", 300.0, 600.0), reason="a search")]

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to any request."""
        if self.refusal or request["command"] == self.refused_command:
            return {"ok": False, "error": {"code": self.refusal or "rate_limited", "message": self.refusal_text}}
        if request["command"] == "undo" and self.undo:
            self.entries = [self.undo, *self.entries]
        view = self.after_a_change if self.after_a_change and "by" in request else self.view
        return {"ok": True, "result": self.history if request["command"] == "history" else view}

    @property
    def history(self) -> dict[str, Any]:
        """What is in the history."""
        return {"version": self.entries[0]["version"], "entries": self.entries}

    def tapfan(self, *arguments: str) -> Result:
        """Run the command with this router."""
        return _tapfan(self.config, *arguments)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests so far, without their ids."""
        return [{name: value for name, value in request.items() if name != "id"} for request in self.requests]


def _tapfan(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


@pytest.fixture
def router(configure: Configure, tmp_path: Path) -> Iterator[Router]:
    (tmp_path / "run").mkdir()
    made = Router(configure(f'[control]\ntimeout = "10s"\n{WRITERS}'))
    with answering(f"ipc://{tmp_path}/run/control.ipc", made.answer) as made.requests:
        yield made


@pytest.fixture
def alone(configure: Configure, tmp_path: Path) -> Path:
    """A configuration of a run directory without a router."""
    (tmp_path / "run").mkdir()
    return configure(f'[control]\ntimeout = "200ms"\n{WRITERS}')


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("weights a=1 b=+2 --by anna", {"command": "weights", "weights": {"a": 1.0, "b": "+2"}, "by": "anna"}),
        (
            "weights a=-0.5 --over 1m30s --force --by anna --if-version 7 --reason why",
            {
                "command": "weights",
                "weights": {"a": "-0.5"},
                "over": 90.0,
                "force": True,
                "by": "anna",
                "if_version": 7,
                "reason": "why",
            },
        ),
        ("weights", {"command": "weights"}),
        ("drain a b --by anna", {"command": "state", "states": {"a": "drain", "b": "drain"}, "by": "anna"}),
        ("maint b --force --by x", {"command": "state", "states": {"b": "maint"}, "force": True, "by": "x"}),
        (
            "ready b --by x --reason y --if-version 2",
            {"command": "state", "states": {"b": "ready"}, "by": "x", "reason": "y", "if_version": 2},
        ),
        ("ttl", {"command": "ttl"}),
        ("ttl 10m --by x --if-version 2", {"command": "ttl", "ttl": "10m", "by": "x", "if_version": 2}),
        ("history", {"command": "history", "limit": 20}),
        ("history --limit 500", {"command": "history", "limit": 500}),
    ],
)
def test_a_command_is_one_request(router: Router, typed: str, asked: dict[str, Any]) -> None:
    shown = router.tapfan(*typed.split())
    assert (shown.exit_code, shown.stderr, router.asked) == (0, "", [asked])
    as_json = router.tapfan(*typed.split(), "--json")
    assert json.loads(as_json.stdout) == (router.history if asked["command"] == "history" else view())
    assert router.asked == [asked, asked]


def test_an_undo_asks_for_the_history_that_tells_what_it_took_back(router: Router) -> None:
    anna = entry("weights", ("a", "weight", 30.0, 50.0), version=3)
    router.entries = [anna]
    router.undo = entry("undo", version=4, by=login_name())
    router.view = view(version=4)
    asked: dict[str, Any] = {"command": "undo", "by": login_name()}
    shown = router.tapfan("undo")
    assert (shown.exit_code, shown.stderr, router.asked) == (0, "", [asked, {"command": "history"}])
    assert re.match(r"took back version 3, .*, by anna: weight a 30 -> 50\nrecords live 5m", shown.stdout)
    router.entries = [anna]
    assert json.loads(router.tapfan("undo", "--json").stdout) == router.view | {"undone": [anna]}
    router.requests.clear()
    router.entries = [anna]
    router.undo = entry("undo", version=4, by="x", reason="y")
    shown = router.tapfan("undo", "2", *["--by", "x", "--force", "--reason", "y"])
    asked = {"command": "undo", "version": 2, "by": "x", "force": True, "reason": "y"}
    assert router.asked == [{"command": "history", "limit": 1}, asked, {"command": "history"}]
    assert shown.stdout.startswith("took back version 3")


def test_an_undo_that_changed_nothing_took_nothing_back(router: Router) -> None:
    router.entries = [entry("undo", version=3, by="x"), entry("weights", ("a", "weight", 30.0, 50.0), version=2)]
    router.view = view(version=3)
    shown = router.tapfan("undo", "1", "--by", "x")
    assert (shown.exit_code, "took back" in shown.stdout) == (0, False)
    assert shown.stderr == "tapfan: nothing was taken back: all is as it was in version 1\n"


def test_a_ramp_is_cancelled_and_where_there_is_none_it_is_said(router: Router) -> None:
    answers = [view(version=2), view(version=3)]
    router.view = answers[0]
    none = router.tapfan("weights", "--cancel", "--by", "anna")
    assert (none.exit_code, none.stderr) == (0, "tapfan: there was no ramp to cancel; nothing changed\n")
    cancel = {"command": "weights", "cancel": True, "by": "anna"}
    assert router.asked == [{"command": "weights"}, cancel]
    router.after_a_change = answers[1]
    done = router.tapfan("weights", "--cancel", "--by", "anna", "--json")
    assert (done.exit_code, done.stderr, json.loads(done.stdout)) == (0, "", answers[1])
    assert router.asked[2:] == [{"command": "weights"}, cancel]


def test_what_can_be_forced_is_told_with_the_option(router: Router) -> None:
    router.refusal = "nobody_left"
    router.refusal_text = "what comes in would wait; it can be forced"
    refused = router.tapfan("drain", "a")
    assert (refused.exit_code, refused.stderr) == (2, "tapfan: what comes in would wait; `--force` does it even so\n")


def test_an_undo_is_done_though_the_history_is_refused(router: Router) -> None:
    router.refused_command = "history"
    shown = router.tapfan("undo")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert shown.stdout.startswith("records live 5m")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("weights", "version 2"),
        ("weights a=1", "version 2"),
        ("drain a", "version 2"),
        ("ready a", "version 2"),
        ("ttl", "records live 5m"),
        ("history", "ttl 5m -> 10m: a search"),
        ("undo", "version 2"),
    ],
)
def test_a_writer_that_is_being_added_is_warned_of_and_in_the_way_of_nothing(
    router: Router, typed: str, told: str
) -> None:
    config = router.config
    half = config.read_text(encoding="utf-8") + '\n[[writers]]\nname = "c"\nredis = "redis://h"\nweigth = 5\n'
    config.write_text(half, encoding="utf-8")
    done = _tapfan(config, *typed.split())
    assert (
        done.stderr
        == f"tapfan: warning: {config}: writer c: writers[2].weight: missing (and 1 more: see `tapfan check`)\n"
    )
    assert (done.exit_code, told in done.stdout) == (0, True)


@pytest.mark.parametrize("typed", ["check", "query", "top", "follow", "add d redis://h --weight 1", "remove a"])
def test_what_needs_all_of_the_configuration_ends_with_2_where_a_part_is_bad(alone: Path, typed: str) -> None:
    alone.write_text(f"{alone.read_text(encoding='utf-8')}\n[listener]\nlisten = 5\n", encoding="utf-8")
    refused = _tapfan(alone, *typed.split())
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == f"tapfan: {alone}: listener.listen = 5: must be a list\n"


@pytest.mark.parametrize("typed", ["weights a=1", "weights --cancel", "drain a", "ready a", "ttl 1m", "undo"])
def test_a_change_is_signed_with_the_login_name(router: Router, typed: str) -> None:
    router.tapfan(*typed.split())
    assert [request["by"] for request in router.asked if "by" in request] == [login_name()]


@pytest.mark.parametrize("typed", ["weights", "ttl", "history"])
def test_what_only_reads_is_not_signed(router: Router, typed: str) -> None:
    router.tapfan(*typed.split())
    assert "by" not in router.asked[0]


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("weights a=abc", "the weight of a, 'abc', must be a finite number from 0 to 1000000000"),
        ("weights a", "'a' is not NAME=WEIGHT, such as a=30; or a=+10, a=-10"),
        ("weights a=1 a=2", "a is given twice"),
        ("weights a=+1e3", "the weight of a, '+1e3', must be +10 or -10 (more or less than now), or 50%"),
        ("weights --cancel a=1", "--cancel: ends the ramp where it is"),
        ("weights --cancel --over 1m", "--cancel: ends the ramp where it is"),
        ("weights --over 1m", "nothing to change: give weights, such as a=30, or --cancel"),
        ("weights --reason why", "nothing to change: give weights"),
        ("weights --force", "nothing to change: give weights"),
        ("weights a=1 --over 50ms", "--over '50ms': must be from 100ms to 1d"),
        ("weights a=1 --over 25h", "--over '25h': must be from 100ms to 1d"),
        ("weights a=1 --over soon", "--over 'soon': must be a duration such as"),
        ("ttl --by anna", "nothing to change: give a duration, such as 10m"),
        ("drain a --timeout 1m", "--timeout: goes with --wait"),
        ("drain a --wait --timeout soon", "--timeout 'soon': must be a duration such as"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_before_anything_is_asked(alone: Path, typed: str, problem: str) -> None:
    refused = _tapfan(alone, *typed.split())
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"tapfan: {problem}")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "typed",
    [
        "drain",
        "maint",
        "ready",
        "undo x",
        "undo 0",
        "history --limit 0",
        "history --limit 501",
        "ttl 1m --if-version 0",
    ],
)
def test_bad_usage_ends_with_2(alone: Path, typed: str) -> None:
    assert _tapfan(alone, *typed.split()).exit_code == 2


def test_a_part_of_a_configured_weight_of_zero_is_refused_before_anything_changes(router: Router) -> None:
    router.view = view(configured={"a": 0.0, "b": 70.0})
    refused = router.tapfan("weights", "b=50%", "a=50%")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == "tapfan: a=50%: its configured weight is 0; give a number, such as a=10\n"
    assert router.asked == [{"command": "weights"}]
    for fine in (["b=50%", "a=0%"], ["b=0.5%", "a=5"]):
        assert router.tapfan("weights", *fine).exit_code == 0


@pytest.mark.parametrize("code", CODES)
def test_a_refusal_has_an_exit_code_for_whose_fault_it_is(router: Router, code: str) -> None:
    router.refusal = code
    refused = router.tapfan("weights", "a=1")
    expected = {"version_conflict": 3, "internal": 1, "not_saved": 1, "rate_limited": 1}.get(code, 2)
    assert (refused.exit_code, refused.stdout) == (expected, "")
    assert refused.stderr.startswith("tapfan: no")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("version_conflict", "tapfan history"),
        ("unknown_version", "tapfan history"),
        ("forbidden", "admin"),
        ("not_saved", "disk"),
        ("rate_limited", "again in a second"),
    ],
)
def test_a_refusal_says_what_to_do_next(router: Router, code: str, told: str) -> None:
    router.refusal = code
    assert told in router.tapfan("undo").stderr


def test_a_change_without_a_reply_is_asked_for_once_more_with_the_same_id(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    config = configure(f'[control]\ntimeout = "500ms"\n{WRITERS}')
    replies: Iterator[Any] = iter([None, {"ok": True, "result": view(repeated=True)}])
    answer: Answer = lambda _request: next(replies)  # noqa: E731
    with answering(f"ipc://{tmp_path}/run/control.ipc", answer) as requests:
        done = _tapfan(config, "weights", "a=50")
    assert (done.exit_code, len(requests)) == (0, 2)
    assert requests[0] == requests[1]
    assert len(requests[0]["id"]) >= 8


@pytest.mark.parametrize("typed", ["weights a=1", "drain a", "ttl 1m", "undo", "history"])
def test_without_a_router_it_ends_with_1(alone: Path, typed: str) -> None:
    failed = _tapfan(alone, *typed.split())
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr.startswith("tapfan: no reply from ipc://")
    assert ("whether it was made after all" in failed.stderr) == (typed != "history")


def test_the_examples_of_each_help_are_valid_and_fit_into_80_columns(router: Router) -> None:
    for command, typed in examples.commands().items():
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout
        assert max(map(len, shown.splitlines())) <= 80
        assert re.search("Exit codes: 0 done, 1 ", shown)
        for example in typed:
            assert example in shown
            for part in re.split(r" (?:\|\|?|&&) ", example):
                program, *arguments = shlex.split(part)
                if program == "tapfan" and command != "status":
                    done = router.tapfan(*(argument for argument in arguments if argument != "--wait"))
                    assert done.exit_code == (2 if "--timeout" in arguments else 0), (part, done.output)


@pytest.mark.parametrize("command", ["weights", "drain", "maint", "ready", "ttl", "undo"])
def test_the_help_of_each_change_names_the_exit_code_of_a_conflict(command: str) -> None:
    shown = " ".join(CliRunner().invoke(app, [command, "--help"]).stdout.split())
    assert "3 --if-version is not the version in force" in shown


def test_each_code_that_has_a_next_step_is_one_of_the_routers() -> None:
    assert set(asking.NEXT) <= set(CODES)
