"""Texts and numbers that fit into a screen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tapfan.cli.watch import words


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (99_999, "99,999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (12_345_678, "12.3M"),
        (10**18, "1000P"),
    ],
)
def test_counts_are_short(number: int, text: str) -> None:
    assert words.count(number) == text


def test_memory_is_of_its_limit_if_there_is_one() -> None:
    assert words.memory(54 * 2**20, 2 * 2**30) == "54.0M/2.00G"
    assert words.memory(1000, 0) == "1000B"
    assert words.memory(None, None) == "-"


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.0, "0"), (0.25, "0.2"), (9.94, "9.9"), (9.96, "10"), (14_201.3, "14,201")]
)
def test_rates_have_two_digits_at_least(value: float | None, text: str) -> None:
    assert words.rate(value) == text


@pytest.mark.parametrize(
    ("duration_s", "text"), [(-1, "0s"), (42.4, "42s"), (59.6, "1m00s"), (90, "1m30s"), (86_400, "24h00m")]
)
def test_time_that_is_left_is_told_to_the_second(duration_s: float, text: str) -> None:
    assert words.left(duration_s) == text


def test_a_name_keeps_both_ends() -> None:
    assert words.clipped_inside("writer-frankfurt-01", 9) == "writ~t-01"
    assert words.clipped_inside("a", 9) == "a"


@given(st.text(), st.integers(0, 12))
def test_what_is_clipped_fits(text: str, width: int) -> None:
    assert cell_len(words.clipped(text, width)) <= width


@given(st.text(alphabet="abcdef"), st.integers(0, 12))
def test_a_clipped_name_fits(text: str, width: int) -> None:
    assert len(words.clipped_inside(text, width)) <= width


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nothing_is_left_that_a_terminal_would_obey(value: object) -> None:
    def texts(found: object) -> list[str]:
        if isinstance(found, dict):
            return [text for pair in found.items() for each in pair for text in texts(each)]
        return [text for each in found for text in texts(each)] if isinstance(found, list) else [str(found)]

    assert all(text.isprintable() for text in texts(words.cleaned(value, ascii_only=False)))
    assert all(text.isascii() for text in texts(words.cleaned(value, ascii_only=True)))
    assert words.cleaned({"a": ["b", 1, None]}, ascii_only=True) == {"a": ["b", 1, None]}
