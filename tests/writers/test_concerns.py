"""What a writer warns of: which concerns there are, and when they are logged."""

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tapfan.messages import Projection
from writers.concerns import ConcernLog, concerns
from writers.vitals import Vitals

FINE = Vitals(100, 10**6, 10**9, "noeviction", 0, 0)
ENOUGH = Projection(rate=1.0, bytes_a_record=300.0, needed=90_000, available=10**9)


@pytest.mark.parametrize(
    ("vitals", "projection", "about"),
    [
        (None, None, []),
        (FINE, None, []),
        (FINE, ENOUGH, []),
        (Vitals(100), ENOUGH, []),
        (Vitals(100, 10**6, 10**9, "allkeys-lru", 0, 0), None, ["eviction"]),
        (Vitals(100, 10**6, 10**9, "noeviction", 0, 2_000_000), ENOUGH, ["clock"]),
        (FINE, ENOUGH.model_copy(update={"available": 89_999}), ["memory"]),
        (
            Vitals(100, 10**6, 10**9, "volatile-ttl", 0, -2_000_000),
            ENOUGH.model_copy(update={"available": 0}),
            ["clock", "eviction", "memory"],
        ),
    ],
)
def test_each_concern_is_named_by_what_it_is_about(
    vitals: Vitals | None, projection: Projection | None, about: list[str]
) -> None:
    assert sorted(concerns(vitals, projection)) == about


def _logged(*steps: tuple[float, dict[str, str]]) -> list[dict[str, Any]]:
    """What is logged of concerns that are told at these moments."""
    moments = iter([now_s for now_s, _ in steps])
    with capture_logs() as logs:
        log = ConcernLog(structlog.get_logger(), "redis://a", lambda: next(moments))
        for _, now in steps:
            log.tell(now)
    return [dict(line) for line in logs]


def test_a_concern_is_logged_once_as_long_as_it_lasts_whatever_its_figures() -> None:
    assert _logged(*((second / 2, {"clock": f"{second} s off"}) for second in range(200))) == [
        {"event": "redis_clock", "log_level": "warning", "redis": "redis://a", "problem": "0 s off"}
    ]


def test_one_that_comes_and_goes_is_logged_once_and_as_over_when_it_is() -> None:
    flapping = [(float(second), {"memory": "short"} if second % 5 == 0 else {}) for second in range(51)]
    quiet: list[tuple[float, dict[str, str]]] = [(50.5 + second, {}) for second in range(20)]
    assert [line["event"] for line in _logged(*flapping)] == ["redis_memory"]
    assert [line["event"] for line in _logged(*flapping, *quiet)] == ["redis_memory", "redis_memory_fine"]


def test_concerns_are_logged_apart_and_again_when_they_come_again() -> None:
    steps = [(0.0, {"clock": "off"}), (1.0, {"clock": "off", "eviction": "evicts"}), (12.0, {"eviction": "evicts"})]
    steps += [(13.0, {"clock": "off again", "eviction": "evicts"})]
    assert [(line["event"], line["log_level"]) for line in _logged(*steps)] == [
        ("redis_clock", "warning"),
        ("redis_eviction", "warning"),
        ("redis_clock_fine", "info"),
        ("redis_clock", "warning"),
    ]
