"""Counting in bulk beside counting one by one."""

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import Records
from tapfan.endpoints import address_text
from tapfan.reader import ranking
from tapfan.reader.query import By, Ranking, Talker
from tapfan.reader.ranking import Counts
from tests.tapfan.strategies import records


def _key(some: Records, row: int, by: By) -> tuple[str, ...]:
    source, destination = (address_text(column[row].tobytes()) for column in (some.source, some.destination))
    port = str(int(some.destination_port[row]))
    return {"source": (source,), "destination": (destination,), "pair": (source, destination), "port": (port,)}[by]


def _expected(pieces: list[Records], by: By) -> dict[tuple[str, ...], list[int]]:
    times: dict[tuple[str, ...], list[int]] = {}
    for some in pieces:
        for row in range(len(some)):
            times.setdefault(_key(some, row, by), []).append(int(some.timestamp[row]))
    return times


@given(
    st.lists(records(), min_size=1, max_size=5), st.sampled_from(get_args(By)), st.integers(1, 30), st.integers(1, 50)
)
def test_the_ranking_is_that_of_counting_one_by_one(pieces: list[Records], by: By, held: int, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch, Counts(by, held) as counts:
        patch.setattr(ranking, "_RECORDS_AT_ONCE", at_once)
        for some in pieces:
            counts.add(some)
        everyone = counts.ranking(10**6)
    times = _expected(pieces, by)
    total = sum(map(len, pieces))
    assert (everyone.total, everyone.keys) == (total, len(times))
    assert {talker.key: talker for talker in everyone.talkers} == {
        key: Talker(key, len(own), len(own) / total, min(own), max(own)) for key, own in times.items()
    }
    packets = [talker.packets for talker in everyone.talkers]
    assert packets == sorted(packets, reverse=True)


@given(st.lists(records(), min_size=1, max_size=5), st.integers(0, 6), st.integers(1, 30))
def test_the_first_few_are_those_of_all(pieces: list[Records], limit: int, held: int) -> None:
    rankings: list[Ranking] = []
    for most, rows in ((limit, held), (10**6, 10**6)):
        with Counts("pair", rows) as counts:
            for some in pieces:
                counts.add(some)
            rankings.append(counts.ranking(most))
    assert rankings[0].talkers == rankings[1].talkers[:limit]
    assert Counter(talker.packets for talker in rankings[1].talkers).total() == rankings[0].keys


def test_nothing_counted() -> None:
    with Counts("source", 10) as counts:
        assert counts.ranking(5) == Ranking([], 0, 0)
