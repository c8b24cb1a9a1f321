"""The weights in force: exact by every effective vector, through changes, ramps, states and who is up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.changes import apply
from router.history import History
from router.ramp import positions
from router.steering import Steering
from router.vectors import exact, simplest
from router.weights import Weights
from tapfan.control import ControlError
from tests.router.wanting import a_request, an_intent

_batch_sizes = st.lists(st.integers(0, 50), max_size=20)
_vectors = st.lists(st.integers(0, 100), min_size=3, max_size=3).filter(any)


def _steering(*, now_s: float = 0.0, **weights: float) -> Steering:
    return Steering(an_intent(**weights), History(), now_s)


def _change(steering: Steering, command: str, now_s: float = 0.0, **arguments: Any) -> None:
    intent, entry = apply(steering.intent, steering.history, a_request(command, now_s, **arguments))
    if entry is not None:
        steering.adopt(intent, [entry], now_s)


class Counted:
    """Counts what each writer gets of the vector that is in force, which it is told apart from the split's own."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering
        self._vector: dict[str, Fraction] = {}
        self._counts: Counter[str] = Counter()

    def take(self, sizes: Sequence[int], vector: Mapping[str, Fraction]) -> None:
        """Split so many records; after each batch everyone is within one record of its part, since the vector began."""
        vector = {name: weight for name, weight in vector.items() if weight}
        if vector != self._vector:
            self._vector, self._counts = dict(vector), Counter()
        weights, total = self._steering.weights, sum(vector.values())
        assert weights.any_up == bool(vector)
        assert weights.shares() == pytest.approx({name: float(weight / total) for name, weight in vector.items()})
        for size in sizes if vector else []:
            shares = weights.take(size)
            assert sum(shares.values()) == size
            self._counts.update(shares)
            assert self._counts.keys() <= vector.keys()
            for name, weight in vector.items():
                assert abs(self._counts[name] - weight * self._counts.total() / total) < 1


def _exactly(weights: Mapping[str, float]) -> dict[str, Fraction]:
    return {name: Fraction(repr(float(weight))) for name, weight in weights.items()}


@given(_vectors, _vectors, _batch_sizes, _batch_sizes)
def test_a_change_in_mid_stream_is_exact_on_both_sides(
    before: list[int], after: list[int], sizes_before: list[int], sizes_after: list[int]
) -> None:
    steering = _steering(**dict(zip("abc", before, strict=True)))
    counted = Counted(steering)
    counted.take(sizes_before, _exactly(dict(zip("abc", before, strict=True))))
    _change(steering, "weights", weights=dict(zip("abc", after, strict=True)))
    counted.take(sizes_after, _exactly(dict(zip("abc", after, strict=True))))


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {}},
        {"weights": {"a": 30.0, "b": "70"}},
        {"weights": {"a": -1}},
        {"weights": {"c": 1}},
        {"weights": {"a": 0, "b": 0}},
        {"weights": {"a": 1}, "if_version": 5},
    ],
)
def test_what_changes_nothing_does_not_begin_the_split_anew(change: dict[str, Any]) -> None:
    """A split begun anew at each record would give every record to the same writer."""
    steering = _steering(a=30, b=70)
    counts: Counter[str] = Counter()
    for _ in range(100):
        counts.update(steering.weights.take(1))
        try:
            _change(steering, "weights", **change)
        except ControlError:
            continue
        _change(steering, "ttl", ttl=60 + counts.total())
    assert counts == {"a": 30, "b": 70}


@given(_vectors, st.lists(st.tuples(st.sets(st.sampled_from("abc")), _batch_sizes), max_size=6))
def test_whoever_is_up_gets_exactly_its_part_of_the_weights_that_are_up(
    vector: list[int], spans: list[tuple[set[str], list[int]]]
) -> None:
    """From the change on, and no weight is changed by it."""
    configured = dict(zip("abc", vector, strict=True))
    steering = _steering(**configured)
    intent, counted, up = steering.intent, Counted(steering), set("abc")
    for now_up, sizes in spans:
        assert steering.set_up(now_up) == (now_up != up)
        up = now_up
        counted.take(sizes, _exactly({name: weight for name, weight in configured.items() if name in up}))
        assert steering.intent is intent


def test_a_weight_set_while_its_writer_is_down_is_in_force_when_it_is_back() -> None:
    steering = _steering(a=30, b=70, c=100)
    steering.set_up({"b", "c"})
    counts: Counter[str] = Counter()
    for value in range(170):
        counts.update(steering.weights.take(1))
        _change(steering, "weights", weights={"a": 100 + value})
    assert counts == {"b": 70, "c": 100}, "the split of the others did not begin anew"
    assert steering.intent.version == 171
    _change(steering, "weights", weights={"a": 30})
    assert steering.set_up({"a", "b", "c"})
    assert steering.weights.take(200) == {"a": 30, "b": 70, "c": 100}


def test_who_has_no_weight_gets_nothing_also_when_nobody_else_is_up() -> None:
    steering = _steering(a=0, b=70)
    assert steering.set_up({"a"})
    assert not steering.weights.any_up
    assert steering.weights.shares() == {}
    assert steering.view()["shares"] == {"a": 0, "b": 0}
    _change(steering, "weights", weights={"a": 1})
    assert steering.weights.take(7) == {"a": 7}


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_who_is_not_ready_gets_nothing_and_its_weight_waits_for_it(state: str) -> None:
    steering = _steering(a=30, b=70)
    _change(steering, "state", states={"b": state})
    assert steering.weights.take(10) == {"a": 10}
    assert steering.view()["shares"] == {"a": 1, "b": 0}
    _change(steering, "weights", weights={"b": 10})
    _change(steering, "state", states={"b": "ready"})
    assert steering.weights.take(40) == {"a": 30, "b": 10}


def test_that_nobody_is_ready_is_possible_when_forced_and_over_with_the_first_who_is() -> None:
    steering = _steering(a=30, b=70)
    _change(steering, "state", states={"a": "maint", "b": "drain"}, force=True)
    assert not steering.weights.any_up
    _change(steering, "state", states={"a": "ready"})
    assert steering.weights.take(7) == {"a": 7}


_ramped = st.one_of(st.integers(0, 100), st.sampled_from([0.1, 0.2, 0.3, 1e-9, 1e9, 12.34])).map(float)


@given(
    st.lists(_ramped, min_size=3, max_size=3).filter(any),
    st.lists(_ramped, min_size=3, max_size=3).filter(any),
    st.sampled_from([0.1, 0.35, 1.0, 7.3, 60.0]),
    st.lists(st.tuples(st.integers(0, 30), _batch_sizes), max_size=12),
)
@example([0, 0, 1], [1, 0, 0], 10.0, [(9, [1] * 10)] * 12)
def test_the_split_is_exact_at_every_step_of_a_ramp(
    before: list[float], after: list[float], over_s: float, turns: list[tuple[int, list[int]]]
) -> None:
    """The vector at step k of n is before + (after - before) * k/n, reckoned here on its own."""
    origin, target = (_exactly(dict(zip("abc", vector, strict=True))) for vector in (before, after))
    steering = _steering(now_s=1000.0, **dict(zip("abc", before, strict=True)))
    counted = Counted(steering)
    _change(steering, "weights", 1000.0, weights=dict(zip("abc", after, strict=True)), over=over_s)
    count = min(100, round(over_s * 1000) // 100)
    step = 0
    for more, sizes in turns:
        step = min(count, step + more)
        steering.tick(1000.0 + (step + 0.5) / count * over_s, 0.0)
        part = Fraction(step, count)
        counted.take(sizes, {name: origin[name] + (target[name] - origin[name]) * part for name in "abc"})
    assert steering.view()["weights"] == dict(zip("abc", after, strict=True))
    assert (steering.intent.ramp is None) == (step == count or before == after)


def test_a_fraction_that_is_a_decimal_is_the_same_weight_as_that() -> None:
    assert exact(0.1) == Fraction(1, 10)
    assert simplest(Fraction(1, 10)) == 0.1
    for other in (Fraction(0.1), Fraction(1, 3)):
        assert exact(other) == simplest(other) == other
    weights = Weights()
    assert weights.set({"a": simplest(Fraction(1, 10)), "b": 1.0})
    assert not weights.set({"b": Fraction(1), "a": 0.1})


def test_parts_are_exact_also_of_weights_that_no_float_is_small_enough_for() -> None:
    """A saved file of an earlier version may have such weights."""
    weights = Weights()
    least = Fraction(5e-324) / 100
    weights.set({"a": least, "b": 3 * least})
    assert weights.shares() == {"a": 0.25, "b": 0.75}
    assert weights.shares() is weights.shares(), "reckoned once"
    assert weights.take(4) == {"a": 1, "b": 3}
    weights.set({"a": least, "b": 1e9})
    assert weights.shares() == {"a": 0, "b": 1}
    weights.set({})
    assert weights.shares() == {}
    with pytest.raises(LookupError):
        weights.take(1)


def test_a_ramp_that_is_cancelled_at_a_step_does_not_begin_the_split_anew() -> None:
    steering = _steering(now_s=100.0, a=0.3, b=0.7)
    _change(steering, "weights", 100.0, weights={"a": 0.7, "b": 0.3}, over=10)
    steering.tick(102.55, 0.0)
    counts: Counter[str] = Counter()
    for second in range(100):
        if second == 50:
            _change(steering, "weights", 102.56, cancel=True)
        counts.update(steering.weights.take(1))
    assert counts == {"a": 40, "b": 60}
    assert steering.view()["weights"] == {"a": 0.4, "b": 0.6}


def test_a_ramp_is_where_the_time_has_it_and_its_end_is_told() -> None:
    steering = _steering(now_s=100.0, a=0, b=100)
    _change(steering, "weights", 100.0, weights={"a": 100, "b": 0}, over=10)
    for now_s, then in ((100.0, (0, 100)), (102.5, (25, 75)), (105.0, (50, 50)), (109.95, (99, 1)), (110.0, (100, 0))):
        steering.tick(now_s, 0.0)
        assert positions(steering.intent, now_s) == {"a": then[0], "b": then[1]}
        assert steering.view()["shares"] == {"a": then[0] / 100, "b": then[1] / 100}
        left = steering.view()["ramp"]
        assert left == (
            {"from": {"a": 0, "b": 100}, "to": {"a": 100, "b": 0}, "over": 10, "left": 110.0 - now_s}
            if now_s < 110
            else None
        )
    assert steering.intent.version == 2
    last = steering.take_entries()[-1]
    assert (last.version, last.kind, last.by, last.at_s) == (2, "ramp", "(automatic)", 110.0)
    assert not steering.tick(111.0, 0.0)
    assert steering.take_entries() == []


def test_a_clock_that_goes_back_holds_a_ramp_up_and_breaks_nothing() -> None:
    steering = _steering(now_s=100.0, a=0, b=100)
    _change(steering, "weights", 100.0, weights={"a": 100}, over=10)
    steering.tick(50.0, 0.0)
    assert steering.weights.take(7) == {"b": 7}
    assert steering.view()["ramp"]["left"] == 10
    steering.tick(110.0, 0.0)
    assert steering.weights.take(10) == {"a": 5, "b": 5}


def test_a_ramp_goes_on_in_a_router_that_starts_in_its_middle() -> None:
    steering = _steering(now_s=100.0, a=0, b=100)
    _change(steering, "weights", 100.0, weights={"a": 100}, over=10)
    later = Steering(steering.intent, steering.history, 105.0)
    assert later.weights.take(15) == {"a": 5, "b": 10}
    later.tick(110.0, 0.0)
    assert later.intent.ramp is None
    much_later = Steering(steering.intent, steering.history, 500.0)
    assert much_later.weights.take(2) == {"a": 1, "b": 1}
    much_later.tick(500.0, 0.0)
    assert (much_later.intent.ramp, len(much_later.history)) == (None, 2)


def test_a_change_that_was_made_before_a_ramps_end_and_is_adopted_after_does_not_begin_it_again() -> None:
    steering = _steering(now_s=100.0, a=0, b=100)
    _change(steering, "weights", 100.0, weights={"a": 100}, over=10)
    staged, entry = apply(steering.intent, steering.history, a_request("ttl", 109.9, ttl=60))
    assert entry is not None
    steering.tick(110.0, 0.0)
    steering.adopt(staged, [entry], 110.1)
    steering.tick(110.2, 0.0)
    assert steering.intent.ramp is None
    assert [entry.kind for entry in steering.take_entries()] == ["ramp", "ramp", "ttl"]


def test_a_ramp_whose_end_nobody_saw_before_the_next_change_has_ended_all_the_same() -> None:
    steering = _steering(now_s=100.0, a=0, b=100)
    _change(steering, "weights", 100.0, weights={"a": 100}, over=10)
    _change(steering, "weights", 120.0, weights={"b": 50})
    assert [entry.by for entry in steering.take_entries()] == ["somebody", "(automatic)", "somebody"]
    assert steering.weights.take(3) == {"a": 2, "b": 1}
