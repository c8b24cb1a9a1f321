"""How `tapfan watch` is called, and what it knows of the terminal."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapfan.cli.__main__ import app
from tapfan.cli.watch.command import has_utf8


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "C.utf8", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "C", "LC_CTYPE": "de_DE.utf8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),  # the latter is Python's own doing
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({}, False),
    ],
)
def test_utf8_is_used_where_the_locale_says_so(environment: dict[str, str], expected: bool) -> None:
    assert has_utf8(environment) == expected


def test_a_bad_configuration_ends_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["watch", "--config", str(tmp_path / "absent.toml")])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "absent.toml" in result.stderr


def test_the_help_says_what_it_does() -> None:
    result = CliRunner().invoke(app, ["watch", "--help"])
    assert result.exit_code == 0
    assert "--read-only" in result.stdout
