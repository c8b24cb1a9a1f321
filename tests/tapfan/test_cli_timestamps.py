"""Timestamps as people and programs read them."""

import re
import time

import pytest

from tapfan.cli import timestamps

EARLIER_NS = 1_764_162_185_123_456_789


@pytest.mark.parametrize(
    ("timestamp_ns", "text"), [(0, "0.000000000"), (1, "0.000000001"), (EARLIER_NS, "1764162185.123456789")]
)
def test_seconds_are_exact(timestamp_ns: int, text: str) -> None:
    assert timestamps.seconds(timestamp_ns) == text


def test_a_time_of_today_has_no_day() -> None:
    now_ns = time.time_ns()
    today, earlier = timestamps.local_times([now_ns, now_ns - 2 * 86_400 * 10**9])
    assert re.fullmatch(r"\d\d:\d\d:\d\d", today)
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d:\d\d", earlier)
