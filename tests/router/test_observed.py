"""The observed shares: of what was stored in the last 10, 60 and 300 seconds, and of nothing else."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.observed import Observed

_SPANS_S = {"10s": 10, "1m": 60, "5m": 300}
_RATE_S = 10
_events = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 3), st.floats(0, 100), st.just(0.0), st.just(299.0), st.just(1000.0)),
        st.sampled_from("abc"),
        st.integers(0, 100),
    ),
    max_size=30,
)


def _after(
    start_s: float, events: list[tuple[float, str, int]]
) -> tuple[Observed, list[tuple[float, str, int]], float]:
    """Each event counted so long after the one before: the observed, the events with their times, the last time."""
    observed = Observed()
    times = list(accumulate((pause_s for pause_s, *_ in events), initial=start_s))
    counted = [(at_s, writer, records) for at_s, (_, writer, records) in zip(times[1:], events, strict=True)]
    for at_s, writer, records in counted:
        observed.count(writer, records, at_s)
    return observed, counted, times[-1]


@given(st.floats(0, 1e6), _events, st.floats(0, 400))
def test_the_shares_are_those_of_a_count_over_all_that_was_stored(
    start_s: float, events: list[tuple[float, str, int]], waited_s: float
) -> None:
    observed, counted, last_s = _after(start_s, events)
    now_s = last_s + waited_s
    shares = observed.shares("abc", now_s)
    for span, length_s in _SPANS_S.items():
        seen = dict.fromkeys("abc", 0)
        for at_s, writer, records in counted:
            if int(at_s) > int(now_s) - length_s:
                seen[writer] += records
        total = sum(seen.values())
        for writer in "abc":
            expected = seen[writer] / total if total else None
            assert shares[writer][span] == (pytest.approx(expected, abs=1e-6) if total else None)


def test_thirty_and_seventy_stored_are_observed_in_each_span() -> None:
    observed = Observed()
    observed.count("a", 300, 50.2)
    observed.count("b", 700, 50.9)
    assert observed.shares(["a", "b"], 51.0) == {
        "a": dict.fromkeys(_SPANS_S, 0.3),
        "b": dict.fromkeys(_SPANS_S, 0.7),
    }


@pytest.mark.parametrize(("span", "length_s"), _SPANS_S.items())
def test_what_is_older_than_the_span_is_forgotten(span: str, length_s: int) -> None:
    observed = Observed()
    observed.count("a", 1, 1000.0)
    assert observed.shares(["a"], 1000.0 + length_s - 1)["a"][span] == 1
    assert observed.shares(["a"], 1000.0 + length_s)["a"][span] is None


def test_a_writer_that_stored_nothing_has_no_share_and_all_have_none_when_nothing_was_stored() -> None:
    observed = Observed()
    nothing = dict.fromkeys(_SPANS_S, None)
    assert observed.shares(["a", "b"], 1.0) == {"a": nothing, "b": nothing}
    observed.count("a", 5, 1.0)
    assert observed.shares(["a", "b"], 1.0)["b"] == dict.fromkeys(_SPANS_S, 0)


def test_it_keeps_five_minutes_and_no_more() -> None:
    """A second is an entry however often it is counted."""
    observed = Observed()
    for tick in range(100_000):
        observed.count("a", 1, tick / 10)
    assert len(observed._windows["5m"]._seconds) == 299  # and the second that it is


@given(st.floats(0, 1e6), _events, st.floats(0, 40))
def test_the_rate_is_of_the_last_ten_whole_seconds(
    start_s: float, events: list[tuple[float, str, int]], waited_s: float
) -> None:
    observed, counted, last_s = _after(start_s, events)
    now_s = last_s + waited_s
    rates = observed.rates(now_s)
    for name in "abc":
        seen = sum(
            records
            for at_s, writer, records in counted
            if writer == name and int(now_s) - _RATE_S <= int(at_s) < int(now_s)
        )
        assert rates[name] == seen / _RATE_S


def test_of_one_that_is_forgotten_nothing_counts() -> None:
    observed = Observed()
    for second in range(20):
        observed.count("a", 1, second)
        observed.count("b", 3, second)
    observed.forget("a")
    for now_s in (20, 25, 400):
        shares = observed.shares(["a", "b"], now_s)
        assert set(shares["a"].values()) <= {0, None}
        assert set(shares["b"].values()) <= {1, None}
        assert "a" not in observed.rates(now_s)
