"""Moments and windows as they are typed."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapfan.bounds import MAX_TIMESTAMP_NS
from tapfan.cli.moments import Window, duration_ns, moment_ns

NOW_NS = 1_795_698_185_250_000_001
S = 1_000_000_000


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setitem(os.environ, "TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("typed", "moment"),
    [
        ("0", 0),
        ("1795698185", 1_795_698_185 * S),
        ("1795698185.25", 1_795_698_185_250_000_000),
        ("1795698185.123456789", 1_795_698_185_123_456_789),
        ("2026-11-26T13:03:05Z", 1_795_698_185 * S),
        ("2026-11-26T13:03:05.123456789Z", 1_795_698_185_123_456_789),
        ("2026-11-26 13:03:05,5Z", 1_795_698_185_500_000_000),
        ("2026-11-26T14:03:05+01:00", 1_795_698_185 * S),
        ("2026-11-26 14:03:05 +0100", 1_795_698_185 * S),
        ("2026-11-26T14:03+01", 1_795_698_180 * S),
        ("1970-01-01T00:00:00Z", 0),
        ("5m", NOW_NS - 300 * S),
        ("5m ago", NOW_NS - 300 * S),
        ("20ms", NOW_NS - 20_000_000),
    ],
)
def test_a_moment_is_read_exactly(typed: str, moment: int) -> None:
    assert moment_ns(typed, NOW_NS) == moment


@pytest.mark.usefixtures("in_new_york")
@pytest.mark.parametrize(
    ("typed", "utc"),
    [
        ("2026-11-26T08:03:05", "2026-11-26T13:03:05Z"),
        ("2026-07-26 08:03", "2026-07-26T12:03:00Z"),
        ("2026-11-26", "2026-11-26T05:00:00Z"),
        ("2026-11-26T08:03:05Z", "2026-11-26T08:03:05Z"),
    ],
)
def test_without_a_zone_it_is_local_time(typed: str, utc: str) -> None:
    assert moment_ns(typed, NOW_NS) == moment_ns(utc, NOW_NS)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2286, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    st.integers(0, S - 1),
    st.integers(-23 * 60, 23 * 60),
)
def test_every_moment_with_a_zone_is_read_back(day: datetime, nanoseconds: int, offset: int) -> None:
    moment = day.replace(tzinfo=UTC)
    there = moment.astimezone(timezone(timedelta(minutes=offset))).isoformat()
    typed = f"{there[:19]}.{nanoseconds:09}{there[19:]}"
    assert moment_ns(typed, NOW_NS) == int(moment.timestamp()) * S + nanoseconds
    assert moment_ns(f"{int(moment.timestamp())}.{nanoseconds:09}", NOW_NS) == moment_ns(typed, NOW_NS)


@pytest.mark.parametrize(
    "typed",
    [
        *("", "now", "nonsense", "-5", "-5m", "1e9", "5 m", "ago", " ago", "12345678901", "1.1234567890", "\uff11"),
        *("2026-13-01", "2026-02-30T00:00", "2026-11-26T25:00", "2026-11-26T14:03:05.Z", "2026-11-26T", "14:03:05"),
        *("2026-11-26T14:03:05+25:00", "2026-11-26T14:03:05 CET", "0001-01-01", "1969-12-31T00:00Z", "9999-12-31"),
        *("99999d", "9" * 400 + "d", "2026-11-26T14:03:05\n"),
    ],
)
def test_what_is_no_moment_is_refused_with_what_is_valid(typed: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a moment (such as|from 1970 to 2286)"):
        moment_ns(typed, NOW_NS)


@example("9" * 400)
@given(st.text() | st.text("0123456789-T:.Zago smhd+,"))
def test_whatever_is_typed_is_read_or_refused(typed: str) -> None:
    with suppress(ValueError):
        assert 0 <= moment_ns(typed, NOW_NS) <= MAX_TIMESTAMP_NS
    with suppress(ValueError):
        assert Window(last=typed).bounds(NOW_NS)[0] is not None


@pytest.mark.parametrize(
    ("window", "bounds", "words"),
    [
        (Window(), (None, None), "that are kept"),
        (Window(last="60s"), (NOW_NS - 60 * S, None), "in the last 60s"),
        (Window(last="36500d"), (0, None), "in the last 36500d"),
        (Window(since="60s"), (NOW_NS - 60 * S, None), "since 60s"),
        (Window(until="60s ago"), (None, NOW_NS - 60 * S), "until 60s ago"),
        (Window(since="1", until="2.5"), (S, 2_500_000_000), "since 1 until 2.5"),
    ],
)
def test_a_window_has_bounds_and_words(window: Window, bounds: tuple[int | None, int | None], words: str) -> None:
    assert (window.bounds(NOW_NS), str(window)) == (bounds, words)


@pytest.mark.parametrize(
    ("window", "problem"),
    [
        (Window(last="-1"), "--last '-1': must be a duration such as"),
        (Window(last="60"), "--last '60': must be a duration such as"),
        (Window(last="0s"), "--last '0s': must be more than 0"),
        (Window(last="9" * 400 + "d"), "--last '9+d': must be a duration such as"),
        (Window(last="60s", since="5m"), "--last '60s': ends now; give --since and --until in its place"),
        (Window(last="60s", until="5m"), "--last '60s': ends now; give --since and --until in its place"),
        (Window(since="nonsense"), "--since 'nonsense': must be a moment such as"),
        (
            Window(since="9" * 20),
            f"--since '{'9' * 20}': must be a moment from 1970 to 2286; in seconds since 1970 from 0",
        ),
        (Window(until="tomorrow"), "--until 'tomorrow': must be a moment such as"),
        (Window(since="2", until="1"), "--until '1': must be after --since '2'"),
        (Window(since="5m", until="5m"), "--until '5m': must be after --since '5m'"),
    ],
)
def test_a_bad_window_is_refused_by_its_option(window: Window, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}"):
        window.bounds(NOW_NS)


@pytest.mark.parametrize(
    ("window", "bounds"),
    [
        (Window(since="1s", until="1795698185"), (1_795_698_185 * S, 1_795_698_185 * S)),
        (Window(since="1s", until=str(NOW_NS // S + 60)), (NOW_NS + 29 * S, (NOW_NS // S + 60) * S)),
        (Window(since="5s"), (NOW_NS + 25 * S, None)),
        (Window(last="5s"), (NOW_NS + 25 * S, None)),
        (Window(), (None, None)),
    ],
)
def test_later_nothing_may_be_left_of_a_window(window: Window, bounds: tuple[int | None, int | None]) -> None:
    assert window.bounds_later(NOW_NS + 30 * S) == bounds


@given(st.integers(1, 31 * 86_400_000))
def test_durations_are_whole_nanoseconds(milliseconds: int) -> None:
    assert duration_ns(f"{milliseconds}ms") == milliseconds * 1_000_000
