"""The list of the commands, and that each of them, and what goes with them, imports only what it needs."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tapfan.cli.__main__ import app
from tapfan.cli.commands import COMMANDS, Commands

_EVERYTHING = 1000  # columns


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_help_of_each_command_begins_with(name: str) -> None:
    group = Commands()
    command = group.get_command(None, name)
    assert group.commands[name].get_short_help_str(_EVERYTHING) == command.get_short_help_str(_EVERYTHING)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("keys make k --role king", "'--role': 'king' is not one of 'admin', 'read', 'listener', 'writer'."),
        ("add c redis://h --weight 1 --layout bloc", "'--layout': 'bloc' is not one of 'record', 'block'."),
        ("history --limit 501", "'--limit': must be 500 or less"),
        ("history --limit x", "'--limit': must be a whole number"),
        ("undo 0", "'VERSION': must be 1 or more"),
    ],
)
def test_a_bad_option_is_told_in_words(typed: str, told: str) -> None:
    refused = CliRunner().invoke(app, typed.split())
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.endswith(f"Error: Invalid value for {told}\n")


def test_a_name_that_is_none_is_no_command() -> None:
    assert Commands().get_command(None, "statsu") is None


def _imported(code: str) -> set[str]:
    """The packages that code imports in a Python of its own, however it ends."""
    told = subprocess.run(
        [sys.executable, "-c", f"import atexit, sys\natexit.register(lambda: print(*sys.modules))\n{code}"],
        check=False,
        capture_output=True,
        text=True,
    )
    return {module.partition(".")[0] for module in told.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_what_names_no_command_waits_for_none(argument: str) -> None:
    imported = _imported(f"from tapfan.cli.__main__ import app\napp([{argument!r}])")
    assert "typer" in imported
    assert not imported & {"pydantic", "zmq", "numpy"}


@pytest.mark.parametrize(
    "modules",
    ["tapfan.cli.status, tapfan.cli.steering, tapfan.cli.keys, tapfan.cli.watch.command", "tapfan.embedded_redis"],
)
def test_who_asks_the_router_or_starts_a_redis_reads_no_records_and_writes_no_log(modules: str) -> None:
    imported = _imported(f"import {modules}")
    assert "pydantic" in imported
    assert not imported & {"numpy", "redis", "structlog", "asyncio", "supervisor"}
