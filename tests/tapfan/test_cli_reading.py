"""The reading commands' arguments, and what they say without any Redis."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tapfan.cli.__main__ import app
from tapfan.cli.invocation import printable
from tests.tapfan.conftest import Configure

READING = ("query", "top", "follow")
TIMED = ("query", "top")


def _tapfan(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(configure: Configure, tmp_path: Path) -> Path:
    """A configuration whose only Redis is not there."""
    return configure(f'[[writers]]\nname = "a"\nredis = "unix://{tmp_path}/absent.sock?db=0"\nweight = 1\n')


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--source", "10.0.0.0/33"], "--source '10.0.0.0/33': must be an address or a network such as"),
        (["--source", "::1", "--destination", "example.org"], "--destination 'example.org': must be an address or"),
        (["--port", "0"], "--port '0': must be a whole number from 1 to 65535"),
        (["--port", "-1"], "--port '-1': must be a whole number from 1 to 65535"),
        (["--flags", "XY"], "--flags 'XY': must be letters of F(IN), S(YN)"),
    ],
)
def test_a_bad_filter_ends_with_2_and_one_line(file: Path, command: str, arguments: list[str], problem: str) -> None:
    _is_refused(_tapfan(command, *arguments, "--config", file), problem)


@pytest.mark.parametrize("command", TIMED)
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--last", "-1"], "--last '-1': must be a duration such as"),
        (["--last", "60s", "--since", "5m"], "--last '60s': ends now; give --since and --until in its place"),
        (["--since", "nonsense"], "--since 'nonsense': must be a moment such as"),
        (["--since", "1m", "--until", "2m"], "--until '2m': must be after --since '1m'"),
    ],
)
def test_a_bad_window_ends_with_2_and_one_line(file: Path, command: str, arguments: list[str], problem: str) -> None:
    _is_refused(_tapfan(command, *arguments, "--config", file), problem)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["query", "--limit", "0"], "--limit '0': must be a whole number from 1 to 999999999999999999"),
        (["query", "--format", "xml"], "--format 'xml': must be table, json or csv"),
        (["follow", "--format", "xml"], "--format 'xml': must be table, json or csv"),
        (["top", "-n", "0"], "-n '0': must be a whole number from 1 to 999999999999999999"),
        (["top", "--by", "flags"], "--by 'flags': must be source, destination, pair or port"),
        (["top", "--watch", "--json"], "--watch: shows tables"),
    ],
)
def test_another_bad_option_ends_with_2_and_one_line(file: Path, arguments: list[str], problem: str) -> None:
    _is_refused(_tapfan(*arguments, "--config", file), problem)


def _is_refused(result: Result, problem: str) -> None:
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"tapfan: {problem}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", READING)
def test_a_bad_configuration_ends_with_2(configure: Configure, command: str) -> None:
    result = _tapfan(command, "--config", configure("ttl = 0"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "ttl = 0" in result.stderr


@pytest.mark.parametrize("arguments", [["query"], ["top"], ["top", "--json"], ["top", "--watch"]])
def test_without_any_redis_it_ends_with_1_and_says_why(file: Path, arguments: list[str]) -> None:
    result = _tapfan(*arguments, "--config", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("tapfan: no Redis can be read: the Redis of writer a (unix://")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", READING)
def test_the_help_names_the_exit_codes(command: str) -> None:
    result = _tapfan(command, "--help")
    assert result.exit_code == 0
    assert "Exit codes: 0 " in result.stdout


def test_the_help_says_which_records_a_limit_leaves() -> None:
    assert "Only the newest N, in time order." in _tapfan("query", "--help").stdout


def test_what_a_redis_says_cannot_steer_the_terminal() -> None:
    assert printable("ERR \x1b[2J\r\n\u202e no\x9b") == "ERR \ufffd[2J\ufffd\ufffd\ufffd no\ufffd"
    assert printable("ERR größer als erlaubt") == "ERR größer als erlaubt"
