"""How often a peer may ask: so many at once, so many a second in the long run, and nobody at another one's cost."""

from hypothesis import given
from hypothesis import strategies as st

from router.limits import BURST, RATE, Limits


def test_a_burst_is_let_through_and_then_the_rate() -> None:
    limits = Limits(rate=10, burst=3)
    assert [limits.allows("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert [limits.allows("a", 0.1), limits.allows("a", 0.1)] == [True, False]
    assert [limits.allows("a", 60.0) for _ in range(4)] == [True, True, True, False], "no more than a burst is saved up"


def test_each_peer_has_its_own() -> None:
    limits = Limits(rate=10, burst=1)
    assert limits.allows("a", 0.0)
    assert not limits.allows("a", 0.0)
    assert limits.allows("b", 0.0)


def test_few_peers_are_kept_those_that_asked_last() -> None:
    limits = Limits(rate=1, burst=1, most_peers=2)
    assert all(limits.allows(peer, 0.0) for peer in "abc")
    assert len(limits) == 2
    assert [limits.allows(peer, 0.0) for peer in "cb"] == [False, False]
    assert limits.allows("a", 0.0), "it was forgotten"


@given(st.lists(st.floats(0, 5, allow_nan=False), max_size=300))
def test_never_more_than_a_burst_and_the_rate_are_let_through(pauses_s: list[float]) -> None:
    limits = Limits(rate=7, burst=5)
    now_s, allowed = 100.0, 0
    for pause_s in pauses_s:
        now_s += pause_s / 20
        allowed += limits.allows("a", now_s)
    assert allowed <= 5 + 7 * (now_s - 100.0) + 1e-6


def test_the_usual_limits_let_a_person_and_a_dashboard_work() -> None:
    limits = Limits()
    assert sum(limits.allows("a", 0.0) for _ in range(1000)) == BURST
    assert sum(limits.allows("a", 1.0 + n / 1000) for n in range(10_000)) <= RATE * 11 + BURST
