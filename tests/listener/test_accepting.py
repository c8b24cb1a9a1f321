"""Rows in a pipe, as the serving process writes them, and the records that the listener reads from there."""

import fcntl
import os
import select
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.accepting import AcceptSource
from listener.serving.rows import FORM, SYN
from tapfan.messages import PacketCounts
from tests.listener.frames import Record, rows

_ADDRESSES = st.binary(min_size=16, max_size=16)
_PORTS = st.integers(0, 65_535)
_RECORDS = st.lists(
    st.builds(Record, st.integers(0, 2**64 - 1), _ADDRESSES, _ADDRESSES, _PORTS, _PORTS, st.integers(0, 255), _PORTS),
    max_size=50,
)


@pytest.fixture
def pipe() -> Iterator[tuple[AcceptSource, int]]:
    """A source, and the end of its pipe to write to; both are closed after the test."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    source = AcceptSource(reading)
    yield source, writing
    source.close()
    os.close(writing)


def _written(records: list[Record]) -> bytes:
    return b"".join(FORM.pack(*vars(record).values()) for record in records)


def _numbered(count: int, first: int = 0) -> list[Record]:
    return [Record(i, bytes([i % 256] * 16), bytes(16), i, 9000, SYN, 1) for i in range(first, first + count)]


@given(_RECORDS)
def test_rows_are_read_as_the_records_that_were_written(records: list[Record]) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    source = AcceptSource(reading)
    os.write(writing, _written(records))
    os.close(writing)
    found = source.read()
    source.close()
    assert (rows(found) if found else []) == records


def test_an_empty_pipe_has_no_records_and_does_not_wait(pipe: tuple[AcceptSource, int]) -> None:
    source, _ = pipe
    assert source.read() is None


def test_each_read_gives_what_has_come_since_the_last(pipe: tuple[AcceptSource, int]) -> None:
    source, writing = pipe
    for first in (0, 3, 6):
        os.write(writing, _written(_numbered(3, first)))
        found = source.read()
        assert found
        assert rows(found) == _numbered(3, first)
        assert source.read() is None


def test_a_full_pipe_is_read_in_several_parts_with_no_row_torn(pipe: tuple[AcceptSource, int]) -> None:
    """It is as large as the listener makes it, and more than one read takes; a write takes a page of it."""
    source, writing = pipe
    in_page = select.PIPE_BUF // FORM.size
    pages = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 2**20) // select.PIPE_BUF
    expected = _numbered(pages * in_page)
    for start in range(0, len(expected), in_page):
        os.write(writing, _written(expected[start : start + in_page]))
    parts = []
    while (part := source.read()) is not None:
        parts.append(rows(part))
    assert len(parts) > 1
    assert [record for part in parts for record in part] == expected


def test_at_the_end_of_the_pipe_there_are_no_records() -> None:
    reading, writing = os.pipe()
    os.write(writing, _written(_numbered(2)))
    os.close(writing)
    source = AcceptSource(reading)
    found = source.read()
    assert found
    assert rows(found) == _numbered(2)
    assert [source.read(), source.read()] == [None, None]
    source.close()


def test_it_is_polled_by_its_pipe_and_drops_nothing(pipe: tuple[AcceptSource, int]) -> None:
    source, writing = pipe
    assert [os.fstat(descriptor).st_ino for descriptor in source.descriptors()] == [os.fstat(writing).st_ino]
    assert (source.counts(), source.kind) == (PacketCounts(), "accept")


def test_closing_it_closes_its_pipe() -> None:
    reading, writing = os.pipe()
    AcceptSource(reading).close()
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"row")
    os.close(writing)
