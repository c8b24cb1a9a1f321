"""Running a service: what it ends with, and what its log says of that."""

import gc
import signal
from collections.abc import Iterator

import pytest
import structlog

from tapfan.logs import Logger
from tapfan.program import EXIT_FAILED, CannotRunError
from tapfan.running import run
from tapfan.settings import Settings, load
from tapfan.stopping import Stop
from tests.tapfan.conftest import WRITERS, Configure


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    gc.unfreeze()
    structlog.reset_defaults()


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
