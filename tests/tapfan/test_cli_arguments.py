"""Weights as they are typed."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.cli.arguments import weight_vector, without_effect
from tapfan.values import MAX_WEIGHT


@pytest.mark.parametrize(
    ("typed", "vector"),
    [
        ([], {}),
        (["a=30", "b=70"], {"a": 30.0, "b": 70.0}),
        (["b=0.5"], {"b": 0.5}),
        (["a=0", "redis-1=1e3"], {"a": 0.0, "redis-1": 1000.0}),
        (["a=+10", "b=-0.5", "c=50%", "d=12.5%"], {"a": "+10", "b": "-0.5", "c": "50%", "d": "12.5%"}),
    ],
)
def test_weights_are_read_by_name(typed: list[str], vector: dict[str, float | str]) -> None:
    assert weight_vector(typed) == vector


@pytest.mark.parametrize("typed", ["a", "30", "", "=30", "a:30"])
def test_what_is_no_weight_of_a_name_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(ValueError, match=f"^'{typed}' is not NAME=WEIGHT, such as a=30; or a=\\+10"):
        weight_vector(["b=70", typed])


@pytest.mark.parametrize("value", ["", "many", "nan", "inf", "1e10", "=3"])
def test_a_bad_weight_is_refused_with_its_name_and_what_is_valid(value: str) -> None:
    with pytest.raises(ValueError, match=f"^the weight of a, '{value}', must be a finite number from 0 to 1000000000$"):
        weight_vector([f"a={value}"])


@pytest.mark.parametrize(
    "value", ["+", "%", "+%", "+5%", "-5%", "nan%", "+inf", "+-3", "-1e3", "+1_0", "5 %", "+\u0663"]
)
def test_a_bad_step_or_part_is_refused_with_what_is_valid(value: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"the weight of a, '{value}', must be +10 or -10 (more or less")):
        weight_vector([f"a={value}"])


@pytest.mark.parametrize("value", ["+1000000001", "1000000001%"])
def test_a_step_or_part_out_of_bounds_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must be a finite number from 0 to 1000000000"):
        weight_vector([f"a={value}"])


@pytest.mark.parametrize(
    ("vector", "name"),
    [
        ({"a": "50%", "b": "50%"}, "b"),
        ({"a": "50%", "b": "0%"}, None),
        ({"b": 5.0}, None),
        ({"b": "+5"}, None),
        ({"unknown": "50%"}, None),
    ],
)
def test_a_part_of_nothing_is_found(vector: dict[str, float | str], name: str | None) -> None:
    assert without_effect(vector, {"a": 30.0, "b": 0.0}) == name


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="a is given twice"):
        weight_vector(["a=30", "b=70", "a=40"])


@given(st.lists(st.one_of(st.text(), st.from_regex(r"[a-c]=[+-]?[0-9.e_ ]{0,12}%?", fullmatch=True)), max_size=4))
def test_whatever_is_typed_is_read_or_refused(typed: list[str]) -> None:
    vector: dict[str, float | str] = {}
    with suppress(ValueError):
        vector = weight_vector(typed)
    for value in vector.values():
        if isinstance(value, str):
            assert (value[0] in "+-") != (value[-1] == "%")
        else:
            assert 0 <= value <= MAX_WEIGHT
