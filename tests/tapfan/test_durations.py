"""Durations: what people write is read, and nothing else."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapfan import durations


@pytest.mark.parametrize(
    ("written", "duration_s"),
    [
        ("5m", 300.0),
        ("90s", 90.0),
        ("1h30m", 5400.0),
        ("20ms", 0.02),
        ("1d", 86_400.0),
        ("1.5h", 5400.0),
        ("1m20ms", 60.02),
        (300, 300.0),
        (0.25, 0.25),
    ],
)
def test_a_duration_is_read_in_seconds(written: str | float, duration_s: float) -> None:
    assert durations.seconds(written) == pytest.approx(duration_s, rel=1e-12)


@pytest.mark.parametrize(
    "written", ["", "5", "m", "5 m", "5M", "-5m", "5m ", "5m\n", "1h, 30m", "5min", ".5s", "5.s", "1e3s", True, False]
)
def test_what_is_no_duration_is_refused_with_an_example(written: str | bool) -> None:
    with pytest.raises(ValueError, match='must be a duration such as "5m"'):
        durations.seconds(written)


@example(10**400)
@given(st.one_of(st.text(), st.text("0123456789.msdh "), st.integers(), st.floats()))
def test_whatever_is_written_is_read_or_refused(written: str | float) -> None:
    with suppress(ValueError):
        assert isinstance(durations.seconds(written), float)


@pytest.mark.parametrize("written", ["1d", "25h", "5m", "90m", "90s", "1s", "20ms", "1500ms", "0.5ms"])
def test_text_is_the_shortest_form_in_one_unit(written: str) -> None:
    assert durations.text(durations.seconds(written)) == written


@given(st.integers(1, 31 * 86_400_000))
def test_text_is_read_back_as_the_same_duration(milliseconds: int) -> None:
    duration_s = milliseconds / 1000
    assert durations.seconds(durations.text(duration_s)) == pytest.approx(duration_s, abs=1e-6)
