"""Columns of text: joined as a loop over the records would join them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.writers.fields import texts
from writers.texts import Field, Text, join, length

_MAX_WIDTH = 40
_constants = st.binary(min_size=1, max_size=20)


@st.composite
def _fixed(draw: st.DrawFn, count: int, min_width: int = 1) -> Text:
    """Texts that fill their rows; the rows may be a part of wider ones."""
    width = draw(st.integers(min_width, _MAX_WIDTH))
    skipped = draw(st.integers(0, 3))
    return Text(_rows(draw(st.integers(0, 255)), count, width + skipped)[:, skipped:])


@st.composite
def _varying(draw: st.DrawFn, count: int) -> Text:
    """Texts that end anywhere in their rows, with whatever behind them."""
    width = draw(st.integers(1, _MAX_WIDTH))
    lengths = draw(st.lists(st.integers(0, width), min_size=count, max_size=count))
    return Text(_rows(draw(st.integers(0, 255)), count, width), np.array(lengths))


def _rows(start: int, count: int, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Bytes of which neighbours in a row and in a column differ."""
    return (start + 7 * np.arange(count)[:, None] + np.arange(width)[None, :]).astype(np.uint8)


@st.composite
def _lines(draw: st.DrawFn) -> tuple[list[Field], int]:
    """Fields of some records; the last is fixed, and as long as any padding can be."""
    count = draw(st.integers(1, 12))
    kinds = st.one_of(_constants, _fixed(count), _varying(count), _varying(count))
    fields: list[Field] = draw(st.lists(kinds, max_size=8))
    last = draw(st.one_of(st.just(b"." * _MAX_WIDTH), _fixed(count, _MAX_WIDTH)))
    return [*fields, last], count


@given(_lines())
def test_records_are_joined_field_by_field_and_one_after_the_other(lines: tuple[list[Field], int]) -> None:
    fields, count = lines
    columns = [texts(field, count) for field in fields]
    expected = b"".join(b"".join(column[row] for column in columns) for row in range(count))
    assert bytes(join(fields, count)) == expected


def test_constants_alone_are_repeated() -> None:
    assert bytes(join([b"ab", b"c"], 3)) == b"abcabcabc"


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"abc", 3),
        (b"", 0),
        (Text(np.zeros((2, 5), np.uint8)), 5),
        (Text(np.zeros((2, 5), np.uint8), np.array([1, 4])), [1, 4]),
    ],
)
def test_a_length_is_that_of_the_texts_and_not_of_their_rows(field: Field, expected: int | list[int]) -> None:
    assert np.asarray(length(field)).tolist() == expected
