"""Key presses out of a terminal's bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.cli.watch.keys import Keys

DATA = b"jk+-\r\x7f\x1b[A\x1b[B\x1bOA\x1bOB\x1b[H\x1b[F\x1b[1~\x1b[4~\x1b[5~\x1b[6~\xc3\xa4q"
KEYS = [*"jk+-", "enter", "backspace", "up", "down", "up", "down", "home", "end", "home", "end"]
KEYS += ["page up", "page down", "ä", "q"]


def test_keys_have_names() -> None:
    assert Keys().feed(DATA) == KEYS


@given(st.lists(st.integers(0, len(DATA))))
def test_it_does_not_matter_where_reads_split_them(places: list[int]) -> None:
    keys = Keys()
    bounds = [0, *sorted(places), len(DATA)]
    found = [key for begin, end in pairwise(bounds) for key in keys.feed(DATA[begin:end])]
    assert found == KEYS
    assert not keys.is_inside


def test_an_escape_alone_is_a_key_once_nothing_followed() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b") == []
    assert keys.is_inside
    assert keys.pause() == ["escape"]
    assert not keys.is_inside
    assert keys.feed(b"A") == ["A"], "it is no part of what came before"


def test_a_sequence_that_is_cut_off_is_dropped() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b[1;") == []
    assert keys.pause() == []
    assert keys.feed(b"d") == ["d"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b[1;5C",  # Ctrl with an arrow
        b"\x1b[200~d+m\r\x1b[A\x1b[201~",  # pasted
        b"\x1bd",  # Alt with a letter, which must not drain anything
        b"\x1b[?62;c",  # a terminal says what it is
        b"\x1b[<0;3;4M",  # a mouse
        b"\x00\x01\x02\xff\xfe",
        b"\xc3",
    ],
)
def test_what_has_no_name_here_does_nothing(data: bytes) -> None:
    keys = Keys()
    assert keys.feed(data) == []
    assert keys.feed(b"q") == ["q"]


def test_a_sequence_without_an_end_is_not_kept() -> None:
    keys = Keys()
    assert "q" in keys.feed(b"\x1b[" + b"0" * 10_000 + b"q")
    assert not keys.is_inside


@given(st.binary())
def test_nothing_that_a_terminal_sends_is_an_error(data: bytes) -> None:
    keys = Keys()
    assert all(len(key) == 1 or key.isascii() for key in keys.feed(data) + keys.pause())
    assert not keys.is_inside
