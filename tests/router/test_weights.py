"""The weights: changed as one vector or not at all, and exact on both sides of a change of them or of who is up."""

import math
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.weights import Weights
from tapfan.control import ControlError
from tapfan.values import MAX_WEIGHT

_batch_sizes = st.lists(st.integers(0, 50), max_size=20)
_vectors = st.lists(st.integers(0, 100), min_size=3, max_size=3).filter(any)


def _weights() -> Weights:
    return Weights({"a": 30, "b": 70})


def _assert_untouched(weights: Weights) -> None:
    assert (weights.current, weights.configured, weights.version) == ({"a": 30, "b": 70}, {"a": 30, "b": 70}, 1)
    assert weights.take(10) == {"a": 3, "b": 7}


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.001,
        math.nan,
        math.inf,
        -math.inf,
        True,
        False,
        None,
        "many",
        "nan",
        "inf",
        "-1",
        "",
        b"30",
        [30],
        {"a": 30},
        MAX_WEIGHT + 1,
        10**400,
    ],
)
def test_a_bad_weight_is_refused_by_name_and_changes_nothing(value: object) -> None:
    weights = _weights()
    with pytest.raises(
        ControlError, match=rf"weight of b, .*, must be a finite number from 0 to {MAX_WEIGHT}"
    ) as refusal:
        weights.change({"a": 50, "b": value})
    assert refusal.value.code == "bad_weight"
    _assert_untouched(weights)


@pytest.mark.parametrize("depth", [10, 500, 5000])
def test_a_weight_nested_deeply_is_refused_shortly(depth: int) -> None:
    nested: list[object] = []
    for _ in range(depth):
        nested = [nested]
    weights = _weights()
    with pytest.raises(ControlError) as refusal:
        weights.change({"b": nested})
    assert refusal.value.code == "bad_weight"
    assert len(refusal.value.message) < 200
    _assert_untouched(weights)


@pytest.mark.parametrize("given_name", ["c", "", "A", "x" * 10_000])
def test_an_unknown_writer_is_refused_and_changes_nothing(given_name: str) -> None:
    weights = _weights()
    with pytest.raises(ControlError, match=r"no writer is named .*; there are: a, b") as refusal:
        weights.change({"a": 50, given_name: 50})
    assert refusal.value.code == "unknown_writer"
    assert len(refusal.value.message) < 200
    _assert_untouched(weights)


@pytest.mark.parametrize("given_weights", [{"a": 0, "b": 0}, {"a": 0.0, "b": "0"}])
def test_all_weights_zero_is_refused_and_changes_nothing(given_weights: dict[str, object]) -> None:
    weights = _weights()
    with pytest.raises(ControlError, match="all weights would be 0") as refusal:
        weights.change(given_weights)
    assert refusal.value.code == "bad_weight"
    _assert_untouched(weights)


def test_the_last_weight_above_zero_cannot_be_taken_away_by_itself() -> None:
    weights = Weights({"a": 0, "b": 70})
    with pytest.raises(ControlError, match="all weights would be 0"):
        weights.change({"b": 0})
    assert weights.current == {"a": 0, "b": 70}


@pytest.mark.parametrize("value", [0, 0.5, 71, MAX_WEIGHT, "12.5", "1e3"])
def test_a_good_weight_is_in_force_at_once_and_the_others_keep_theirs(value: float | str) -> None:
    weights = _weights()
    weights.change({"b": value})
    assert weights.current == {"a": 30, "b": float(value)}
    assert weights.configured == {"a": 30, "b": 70}
    assert weights.version == 2


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.integers(0, 2)), max_size=20))
def test_the_version_counts_changes_and_nothing_else(changes: list[dict[str, int]]) -> None:
    weights = Weights({"a": 1, "b": 1})
    current, version = {"a": 1, "b": 1}, 1
    for change in changes:
        wanted = current | change
        if not any(wanted.values()):
            with pytest.raises(ControlError):
                weights.change(change)
        else:
            weights.change(change)
            version += wanted != current
            current = wanted
        assert (weights.current, weights.version) == (current, version)


@pytest.mark.parametrize("change", [{}, {"a": 30}, {"a": 30.0, "b": "70"}, {"a": -1}, {"c": 1}, {"a": 0, "b": 0}])
def test_what_changes_nothing_does_not_begin_the_split_anew(change: dict[str, object]) -> None:
    """A split begun anew at each record would give every record to the same writer."""
    weights = _weights()
    counts: Counter[str] = Counter()
    for _ in range(100):
        counts.update(weights.take(1))
        try:
            weights.change(change)
        except ControlError:
            continue
    assert counts == {"a": 30, "b": 70}


@given(_vectors, _vectors, _batch_sizes, _batch_sizes)
def test_a_change_in_mid_stream_is_exact_on_both_sides(
    before: list[int], after: list[int], sizes_before: list[int], sizes_after: list[int]
) -> None:
    weights = Weights(dict(zip("abc", before, strict=True)))
    _assert_exact(weights, sizes_before, before)
    weights.change(dict(zip("abc", after, strict=True)))
    if before != after:
        _assert_exact(weights, sizes_after, after)


def _assert_exact(weights: Weights, sizes: list[int], vector: list[int]) -> None:
    counts = Counter(dict.fromkeys("abc", 0))
    for size in sizes:
        counts.update(weights.take(size))
        for name, weight in zip("abc", vector, strict=True):
            assert abs(counts[name] - Fraction(weight * counts.total(), sum(vector))) < 1


@given(_vectors, st.lists(st.tuples(st.sets(st.sampled_from("abc")), _batch_sizes), max_size=6))
def test_whoever_is_up_gets_exactly_its_part_of_the_weights_that_are_up(
    vector: list[int], spans: list[tuple[set[str], list[int]]]
) -> None:
    """From the change on, and no weight is changed by it."""
    configured = dict(zip("abc", vector, strict=True))
    weights = Weights(configured)
    up, counts = set("abc"), Counter[str]()
    for now_up, sizes in spans:
        assert weights.set_up(now_up) == (now_up != up)
        effective = {name: configured[name] if name in now_up else 0 for name in "abc"}
        if effective != {name: configured[name] if name in up else 0 for name in "abc"}:
            counts = Counter()
        up = now_up
        total = sum(effective.values())
        assert weights.any_up == (total > 0)
        assert weights.shares() == {name: weight / total if total else 0 for name, weight in effective.items()}
        assert (weights.current, weights.configured, weights.version) == (configured, configured, 1)
        for size in sizes if total else []:
            counts.update(weights.take(size))
            for name, weight in effective.items():
                assert abs(counts[name] - Fraction(weight * counts.total(), total)) < 1
                assert weight or not counts[name]


def test_a_weight_set_while_its_writer_is_down_is_in_force_when_it_is_back() -> None:
    weights = Weights({"a": 30, "b": 70, "c": 100})
    weights.set_up({"b", "c"})
    counts: Counter[str] = Counter()
    for value in range(170):
        counts.update(weights.take(1))
        weights.change({"a": 100 + value})
    assert counts == {"a": 0, "b": 70, "c": 100}, "the split of the others did not begin anew"
    assert (weights.version, weights.current["a"]) == (171, 269)
    weights.change({"a": 30})
    assert weights.set_up({"a", "b", "c"})
    assert weights.take(200) == {"a": 30, "b": 70, "c": 100}


def test_who_has_no_weight_gets_nothing_also_when_nobody_else_is_up() -> None:
    weights = Weights({"a": 0, "b": 70})
    assert weights.set_up({"a"})
    assert not weights.any_up
    assert weights.shares() == {"a": 0, "b": 0}
    weights.change({"a": 1})
    assert weights.any_up
    assert weights.take(7) == {"a": 7, "b": 0}


def test_all_weights_zero_is_refused_whoever_is_up() -> None:
    weights = _weights()
    weights.set_up({"a"})
    with pytest.raises(ControlError, match="all weights would be 0"):
        weights.change({"a": 0, "b": 0})
    weights.change({"a": 0})
    assert not weights.any_up


@given(_vectors)
def test_the_shares_are_the_parts_of_one(vector: list[int]) -> None:
    shares = Weights(dict(zip("abc", vector, strict=True))).shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == {name: weight / sum(vector) for name, weight in zip("abc", vector, strict=True)}
