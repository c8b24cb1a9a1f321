"""Starting a program: its arguments, and what bad ones end with."""

from pathlib import Path

import pytest

from tapfan.arguments import arguments
from tapfan.program import EXIT_USAGE
from tapfan.settings import Settings
from tests.tapfan.conftest import WRITERS, Configure


def _arguments(monkeypatch: pytest.MonkeyPatch, *given: str) -> tuple[Settings, str]:
    monkeypatch.setattr("sys.argv", ["writers", *given])
    settings, chosen = arguments("writers", "Stores records.", name="the writer's name")
    return settings, chosen.name


def test_the_settings_are_those_of_the_file_that_is_named(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = configure('ttl = "7s"\n' + WRITERS)
    settings, name = _arguments(monkeypatch, "--config", str(file), "a")
    assert (settings.ttl, name) == (7, "a")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["--config", "absent.toml", "a"], "writers: cannot read the configuration absent.toml"),
        (["--config", "bad.toml", "a"], "writers: bad.toml: ttl = 0: must be from 1s to 31d"),
        ([], "the following arguments are required: name"),
        (["a", "b"], "unrecognized arguments: b"),
        (["--port", "1", "a"], "unrecognized arguments: --port"),
    ],
)
def test_bad_arguments_and_a_bad_configuration_end_with_2_and_the_problem(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tapfan.toml").write_text(WRITERS)
    Path("bad.toml").write_text("ttl = 0\n" + WRITERS)
    with pytest.raises(SystemExit) as caught:
        _arguments(monkeypatch, *given)
    assert caught.value.code == EXIT_USAGE == 2
    assert problem in capsys.readouterr().err
