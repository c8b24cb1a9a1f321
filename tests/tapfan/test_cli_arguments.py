"""Weights as they are typed."""

import pytest

from tapfan.cli.arguments import weight_vector


@pytest.mark.parametrize(
    ("typed", "vector"),
    [
        ([], {}),
        (["a=30", "b=70"], {"a": 30.0, "b": 70.0}),
        (["b=0.5"], {"b": 0.5}),
        (["a=0", "redis-1=1e3"], {"a": 0.0, "redis-1": 1000.0}),
    ],
)
def test_weights_are_read_by_name(typed: list[str], vector: dict[str, float]) -> None:
    assert weight_vector(typed) == vector


@pytest.mark.parametrize("typed", ["a", "30", "", "=30", "a:30"])
def test_what_is_no_weight_of_a_name_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(ValueError, match=f"^'{typed}' is not NAME=WEIGHT, such as a=30$"):
        weight_vector(["b=70", typed])


@pytest.mark.parametrize("value", ["", "many", "-1", "nan", "inf", "30%", "1e10", "=3"])
def test_a_bad_weight_is_refused_with_its_name_and_what_is_valid(value: str) -> None:
    with pytest.raises(ValueError, match=f"^the weight of a, '{value}', must be a finite number from 0 to 1000000000$"):
        weight_vector([f"a={value}"])


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="a is given twice"):
        weight_vector(["a=30", "b=70", "a=40"])
