"""Starting a program: its arguments, and what it ends with."""

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tapfan.logs import Logger
from tapfan.program import EXIT_FAILED, EXIT_USAGE, CannotRunError, arguments, run
from tapfan.settings import Settings, load
from tapfan.stopping import Stop
from tests.tapfan.conftest import WRITERS, Configure


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    structlog.reset_defaults()


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
        (["--config", "bad.toml", "a"], "writers: bad.toml: ttl = 0: Input should be greater than or equal to 1"),
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


def test_a_service_that_a_signal_stops_ends_with_0(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load(configure(WRITERS))

    def service(given: Settings, log: Logger, stop: Stop) -> None:
        assert given is settings
        log.info("ready")
        signal.raise_signal(signal.SIGTERM)
        assert stop

    assert run("router", service, settings) == 0
    err = capsys.readouterr().err
    assert [line.split("event=")[1] for line in err.splitlines()] == ["ready", "stopped"]


def test_a_service_that_cannot_run_ends_with_1_and_says_why(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    def service(_settings: Settings, _log: Logger, _stop: Stop) -> None:
        raise CannotRunError("the port is in use; stop what uses it")

    assert run("router", service, load(configure(WRITERS))) == EXIT_FAILED == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'level=error program=router event=cannot_run problem="the port is in use; stop what uses it"' in line


def test_a_bug_in_a_service_is_not_hidden(configure: Configure) -> None:
    def service(_settings: Settings, _log: Logger, _stop: Stop) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        run("router", service, load(configure(WRITERS)))
