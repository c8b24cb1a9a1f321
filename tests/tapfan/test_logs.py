"""Logs: one line an event, and warnings that repeat told once a period."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr
from structlog.testing import CapturingLogger, capture_logs

from tapfan.logs import Logger, Repeated, open_log


@pytest.fixture(autouse=True)
def _usual_logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_an_event_is_one_line_with_its_fields_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log = open_log("router")
    log.info("weights_changed", version=3, problem="two\nlines and a = sign")
    log.debug("not shown")
    (line,) = _lines(capsys)
    assert line.startswith("timestamp=20")
    assert "level=info program=router event=weights_changed" in line
    assert line.endswith(r'version=3 problem="two\nlines and a = sign"')


def test_an_exception_is_in_its_event_s_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = open_log("router")
    try:
        raise KeyError("lost")
    except KeyError:
        log.exception("request_failed")
    (line,) = _lines(capsys)
    assert "event=request_failed" in line
    assert "KeyError: 'lost'" in line


def test_a_secret_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    open_log("writer-a").info("ready", password=SecretStr("hunter2"))
    (line,) = _lines(capsys)
    assert "hunter2" not in line


def _told(times_s: list[float], period_s: float = 10.0, event: str = "bad_message") -> list[tuple[float, int]]:
    """When warnings at these times are told, with how many since the last telling."""
    now = [0.0]
    told = []
    with capture_logs() as lines:
        repeated = Repeated(_logger(), period_s, lambda: now[0])
        for now[0] in times_s:
            seen = len(lines)
            repeated.warn(event, peer="x")
            told += [(now[0], line["count"]) for line in lines[seen:]]
    assert repeated.counts == {event: len(times_s)}
    return told


def _logger() -> Logger:
    logger: Logger = structlog.get_logger()
    return logger


@pytest.mark.parametrize(
    ("times_s", "told"),
    [
        ([0], [(0, 1)]),
        ([5000], [(5000, 1)]),
        ([0, 1, 2, 9.999], [(0, 1)]),
        ([0, 1, 2, 10], [(0, 1), (10, 3)]),
        ([0, 100], [(0, 1), (100, 1)]),
        ([0, 9, 11, 20, 21], [(0, 1), (11, 2), (21, 2)]),
    ],
)
def test_a_repeated_warning_is_told_at_once_and_then_counted_for_a_period(
    times_s: list[float], told: list[tuple[float, int]]
) -> None:
    assert _told(times_s) == told


def test_hundreds_of_warnings_in_a_minute_are_seven_lines_that_count_them_all() -> None:
    told = _told([sixteenths / 16 for sixteenths in range(60 * 16 + 1)])
    assert [time_s for time_s, _ in told] == [0, 10, 20, 30, 40, 50, 60]
    assert sum(count for _, count in told) == 961


def test_each_event_has_its_own_period_and_its_last_fields() -> None:
    now = [0.0]
    with capture_logs() as lines:
        repeated = Repeated(_logger(), 10, lambda: now[0])
        for now[0], event, peer in [(0.0, "bad", "x"), (1.0, "unknown", "y"), (2.0, "bad", "z"), (10.0, "bad", "w")]:
            repeated.warn(event, peer=peer)
    expected: list[dict[str, Any]] = [
        {"event": "bad", "count": 1, "peer": "x"},
        {"event": "unknown", "count": 1, "peer": "y"},
        {"event": "bad", "count": 2, "peer": "w"},
    ]
    assert lines == [line | {"log_level": "warning"} for line in expected]
    assert repeated.counts == {"bad": 3, "unknown": 1}


def test_one_peer_s_warnings_are_not_hidden_behind_another_s_and_those_of_very_many_are_told_as_one() -> None:
    log: Any = CapturingLogger()
    now_s = [0.0]
    repeated = Repeated(log, 10.0, lambda: now_s[0])
    for _ in range(5):
        for peer in "ab":
            repeated.warn("refused", peer, peer=peer)
    assert [call.kwargs["peer"] for call in log.calls] == ["a", "b"]
    for number in range(1000):
        repeated.warn("refused", str(number), peer=number)
    assert len(log.calls) < 70
    now_s[0] = 10.0
    repeated.tell()
    assert len(log.calls) < 70 + 4
    assert sum(call.kwargs["count"] for call in log.calls) == repeated.counts["refused"] == 1010


def test_the_last_of_a_row_are_told_when_their_period_is_over() -> None:
    now = [0.0]
    with capture_logs() as lines:
        repeated = Repeated(_logger(), 10, lambda: now[0])
        for now[0] in (0.0, 1.0, 2.0):
            repeated.warn("bad", peer=now[0])
        for now[0] in (9.9, 10.0, 30.0):
            repeated.tell()
    assert [(line["count"], line["peer"]) for line in lines] == [(1, 0.0), (2, 2.0)]
