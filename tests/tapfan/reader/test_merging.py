"""More rows than are held, sorted and joined."""

import resource
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import Column
from tapfan.reader import merging
from tapfan.reader.merging import Runs
from tapfan.reader.query import ReaderError

_ROW = np.dtype([("high", "<u8"), ("low", "<u8")])


def _settle(rows: Column) -> Column:
    rows = rows[np.lexsort((rows["low"], rows["high"]))]
    kept = np.ones(len(rows), bool)
    kept[1:] = (np.diff(rows["high"]) != 0) | (np.diff(rows["low"]) != 0)
    return rows[kept]


def _key(rows: Column) -> list[Column]:
    return [rows["high"], rows["low"]]


_values = st.sampled_from([0, 1, 2, 3, 2**63, 2**64 - 1])
_pieces = st.lists(st.lists(st.tuples(_values, _values), max_size=30), max_size=12)


@given(_pieces, st.integers(1, 20), st.integers(1, 4), st.none() | st.integers(1, 30))
def test_all_or_the_last_ones_come_sorted_and_once(
    pieces: list[list[tuple[int, int]]], held: int, least: int, last: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch, Runs(_settle, _key, held, last) as runs:
        patch.setattr(merging, "_LEAST_PIECE", least)
        for piece in pieces:
            runs.add(np.array(piece, _ROW))
        parts = [rows.tolist() for rows in runs.merged()]
    assert all(parts)
    assert [row for rows in parts for row in rows] == sorted({row for piece in pieces for row in piece})[-(last or 0) :]


@pytest.mark.parametrize("last", [None, 1_000, 500_000])
def test_memory_is_bounded(last: int | None) -> None:
    count, held = 1_000_000, 50_000
    random = np.random.default_rng(2)
    tracemalloc.start()
    with Runs(_settle, _key, held, last) as runs:
        for _ in range(count // 10_000):
            rows = np.empty(10_000, _ROW)
            rows["high"] = random.integers(0, 2**63, len(rows))
            rows["low"] = 0
            runs.add(rows)
        assert sum(map(len, runs.merged())) == (last or count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * held * _ROW.itemsize < count * _ROW.itemsize


def test_a_disk_that_takes_no_more_is_told() -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with Runs(_settle, _key, 10) as runs, pytest.raises(ReaderError, match=r"File too large.*TMPDIR"):
            runs.add(np.array([(1, row) for row in range(20)], _ROW))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
