"""A signal as a flag."""

import signal
from typing import Any

import pytest

from tapfan.stopping import Stop, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_flag_and_ends_nothing(number: signal.Signals) -> None:
    with stop_on_signals() as stop:
        assert not stop
        for _ in range(2):
            signal.raise_signal(number)
            assert stop


def test_the_handlers_that_were_there_come_back_also_after_an_error() -> None:
    before = _handlers()
    with stop_on_signals():
        assert _handlers() != before
    assert _handlers() == before
    with pytest.raises(KeyError), stop_on_signals():
        raise KeyError
    assert _handlers() == before


def test_a_stop_can_be_asked_for_without_a_signal() -> None:
    stop = Stop()
    assert not stop
    stop.ask()
    assert stop


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
