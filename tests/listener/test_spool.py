"""The spool: what was written comes back, in order, after whatever end of the process, within a bound of bytes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.typing import EventDict

from tests.listener.outgoing import STREAM, a_gap, an_entry
from tests.listener.spooling import EVERYTHING, Spools, fill, load_all, opaque

_ROOT = Path(__file__).parents[2]
_APPENDING = """
import os, sys
from pathlib import Path
import structlog
from listener.spool import Spool
from tests.listener.spooling import LIMIT, opaque

spool = Spool(Path(sys.argv[1]), LIMIT, structlog.get_logger())
for place in range(1, 1_000_000):
    assert spool.append(opaque(place, int(sys.argv[2])))
    print(place, flush=True)
    if place == int(sys.argv[3]):
        os._exit(0)
"""
_OTHER = "local.00000002"


def test_a_new_spool_is_empty(spools: Spools) -> None:
    spool = spools.open()
    assert (spool.has_more, spool.last_place, spool.leftovers()) == (False, 0, [])
    assert spool.load(EVERYTHING, EVERYTHING, 0) == []


def test_what_was_appended_is_loaded_in_order_and_once(spools: Spools) -> None:
    spool = spools.open()
    entries = [an_entry(1, 0, 5), an_entry(2, 5, 1), an_entry(3, 0, 7, _OTHER), a_gap(7, 7, 20, "dropped_disk", _OTHER)]
    for entry in entries:
        assert spool.append(entry)
    assert load_all(spool) == [replace(entry, on_disk=True) for entry in entries]
    assert load_all(spool) == []
    assert spool.append(opaque(8))
    assert [entry.place for entry in load_all(spool)] == [8]


def test_order_and_content_survive_reopening(spools: Spools) -> None:
    entries = [
        an_entry(1, 10, 5),
        an_entry(2, 15, 1),
        an_entry(5, 0, 7, _OTHER),
        a_gap(6, 7, 9, "dropped_disk", _OTHER),
    ]
    spool = spools.open()
    for entry in entries[:3]:
        spool.append(entry)
    load_all(spool)
    spools.open().append(entries[3])
    spool = spools.open()
    assert (spool.has_more, spool.last_place) == (True, 6)
    assert load_all(spool) == [replace(entry, on_disk=True) for entry in entries]


def test_the_place_says_the_order_and_not_the_time_of_writing(spools: Spools) -> None:
    """At a stop, what had been in memory is written behind what it comes before."""
    spool = spools.open()
    fill(spool, [5, 6])
    for place in (2, 3, 7):
        spool.append(opaque(place), loaded=True)
    assert [entry.place for entry in load_all(spools.open())] == [2, 3, 5, 6, 7]


def test_what_is_appended_as_loaded_is_not_loaded_again(spools: Spools) -> None:
    spool = spools.open()
    spool.append(opaque(1), loaded=True)
    assert (spool.has_more, spool.last_place) == (False, 1)
    spool.append(opaque(2))
    assert [entry.place for entry in load_all(spool)] == [2]


def test_leftovers_are_the_streams_in_the_order_of_capture(spools: Spools) -> None:
    spool = spools.open()
    for place, first, stream in ((1, 10, STREAM), (2, 15, STREAM), (3, 0, _OTHER), (4, 5, _OTHER)):
        spool.append(an_entry(place, first, 5, stream))
    found = [(leftover.stream, leftover.first, leftover.end) for leftover in spools.open().leftovers()]
    assert found == [(STREAM, 10, 20), (_OTHER, 0, 10)]


@pytest.mark.parametrize(("records", "size", "loaded"), [(5, EVERYTHING, 2), (6, EVERYTHING, 2), (7, EVERYTHING, 3)])
def test_loading_ends_when_there_are_records_enough(spools: Spools, records: int, size: int, loaded: int) -> None:
    spool = spools.open()
    for place in range(1, 6):
        spool.append(an_entry(place, 3 * place, 3))
    assert [entry.place for entry in spool.load(records, size, 0)] == list(range(1, loaded + 1))
    assert [entry.place for entry in load_all(spool)] == list(range(loaded + 1, 6))


def test_loading_ends_when_there_are_bytes_enough(spools: Spools) -> None:
    spool = spools.open()
    fill(spool, range(1, 6), size=10_000)
    one = opaque(1, 10_000).size
    assert len(spool.load(EVERYTHING, 2 * one, 0)) == 2
    assert len(spool.load(EVERYTHING, 1, 0)) == 1
    assert len(spool.load(EVERYTHING, one + 1, 0)) == 2


def test_thousands_of_entries_come_in_parts(spools: Spools) -> None:
    spool = spools.open()
    fill(spool, range(1, 1001))
    assert [entry.place for entry in load_all(spool)] == list(range(1, 1001))


@pytest.mark.parametrize(("size", "count"), [(100, 1), (100, 200), (200_000, 100)])
def test_a_process_that_exits_right_after_appending_has_lost_nothing(spools: Spools, size: int, count: int) -> None:
    """With more than fits into the write-ahead log, too."""
    command = [sys.executable, "-c", _APPENDING, str(spools.path), str(size), str(count)]
    subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.DEVNULL, timeout=30)
    assert _whole(spools, size) == count


def test_a_process_that_is_killed_at_any_moment_has_lost_nothing_that_was_appended(spools: Spools) -> None:
    command = [sys.executable, "-c", _APPENDING, str(spools.path), "50000", "-1"]
    appended = 0
    for told in (300, 1, 20):
        with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            lines = [next(process.stdout) for _ in range(told)]
            process.kill()
            lines += process.stdout
        appended = int(lines[-1])
        assert appended <= _whole(spools, 50_000) <= appended + 1
        spools.close()
        spools.path.unlink()
    assert appended


def _whole(spools: Spools, size: int) -> int:
    """How many opaque entries there are, without one missing or damaged."""
    entries = load_all(spools.open())
    assert entries == [replace(opaque(place, size), on_disk=True) for place in range(1, len(entries) + 1)]
    return len(entries)


def test_beyond_the_limit_the_oldest_go_and_one_gap_stands_for_them(spools: Spools, events: list[EventDict]) -> None:
    spool = spools.open(limit=1000)
    fill(spool, range(1, 18))
    first, *rest = load_all(spool)
    assert (first.place, first.stream, first.first, first.end) == (1, STREAM, 0, 7)
    assert (first.reason, first.message, first.on_disk) == ("dropped_spool_full", b"", True)
    assert [entry.place for entry in rest] == list(range(8, 18))
    assert [(event["event"], event["records"]) for event in events] == [("spool_full", 1)]


def test_the_gap_is_there_after_reopening(spools: Spools) -> None:
    fill(spools.open(limit=1000), range(1, 18))
    assert spools.places() == [1, *range(8, 18)]
    spool = spools.open(limit=1000)
    assert [(found.first, found.end) for found in spool.leftovers()] == [(0, 17)]
    fill(spool, [18])
    first, second, *_ = load_all(spool)
    assert (first.first, first.end, second.place) == (0, 8, 9)


def test_gaps_of_different_streams_and_reasons_are_not_merged(spools: Spools) -> None:
    spool = spools.open(limit=1000)
    for place in (1, 2):
        spool.append(opaque(place, stream=_OTHER))
    spool.append(opaque(3))
    spool.append(a_gap(4, 3, 5))
    fill(spool, range(6, 20))
    gaps = [(entry.stream, entry.first, entry.end, entry.reason) for entry in load_all(spool) if entry.reason]
    assert gaps == [
        (_OTHER, 0, 2, "dropped_spool_full"),
        (STREAM, 2, 3, "dropped_spool_full"),
        (STREAM, 3, 5, "dropped_disk"),
        (STREAM, 5, 9, "dropped_spool_full"),
    ]


def test_what_is_loaded_never_goes(spools: Spools) -> None:
    spool = spools.open(limit=1000)
    fill(spool, range(1, 9))
    loaded = spool.load(5, EVERYTHING, 0)
    assert [entry.place for entry in loaded] == [1, 2, 3, 4, 5]
    fill(spool, range(9, 21))
    first, *rest = load_all(spool)
    assert (first.place, first.first, first.end, first.reason) == (6, 5, 15, "dropped_spool_full")
    assert [entry.place for entry in rest] == list(range(16, 21))
    assert spools.places() == [*range(1, 7), *range(16, 21)]


def test_when_all_is_loaded_the_limit_gives_way(spools: Spools) -> None:
    spool = spools.open(limit=1000)
    for place in range(1, 15):
        assert spool.append(opaque(place), loaded=True)
    assert spools.places() == list(range(1, 15))


def test_a_large_message_makes_as_many_small_ones_go_as_it_takes(spools: Spools) -> None:
    spool = spools.open(limit=100_000)
    fill(spool, range(1, 1001))
    fill(spool, [1001], size=50_000)
    gap, *rest = load_all(spool)
    assert (gap.first, gap.end) == (0, 500)
    assert sum(len(entry.message) for entry in rest) == 100_000


def test_a_lower_limit_than_at_the_last_start_holds_with_the_next_entry(spools: Spools) -> None:
    fill(spools.open(), range(1, 2001))
    spool = spools.open(limit=1000)
    fill(spool, [2001])
    assert [entry.place for entry in load_all(spool)] == [1, *range(1992, 2002)]


def test_a_batch_that_has_expired_comes_as_a_gap(spools: Spools) -> None:
    """Without being read: it does not matter that it is damaged."""
    fill(spools.open(), range(1, 7))
    spools.change("UPDATE entry SET message = x'00' WHERE place IN (2, 4)")
    reasons = [entry.reason for entry in load_all(spools.open(), oldest_ns=4)]
    assert reasons == ["expired_in_spool"] * 3 + ["dropped_spool_damaged", None, None]


def test_a_gap_does_not_expire(spools: Spools) -> None:
    spool = spools.open()
    spool.append(a_gap(1, 0, 10))
    assert [entry.reason for entry in load_all(spool, oldest_ns=100)] == ["dropped_disk"]


def test_what_is_removed_makes_room(spools: Spools) -> None:
    spool = spools.open(limit=1000)
    fill(spool, range(1, 11))
    loaded = spool.load(6, EVERYTHING, 0)
    spool.remove([entry.place for entry in loaded])
    fill(spool, range(11, 17))
    assert [(entry.place, entry.reason) for entry in load_all(spool)] == [(place, None) for place in range(7, 17)]
    spool.remove(range(7, 17))
    assert spools.places() == []


def test_removing_what_is_not_there_changes_nothing(spools: Spools) -> None:
    spool = spools.open(limit=1000)
    fill(spool, range(1, 11))
    spool.remove([0, 11, 500])
    assert len(load_all(spool)) == 10


def test_a_large_file_is_begun_anew_when_it_is_empty(spools: Spools) -> None:
    """Else it would keep the disk's space for ever."""
    spool = spools.open()
    fill(spool, range(1, 36), size=2**21)
    places = [entry.place for entry in load_all(spool)]
    spool.remove(places[:-1])
    large = spools.path.stat().st_size
    assert large > 64 * 2**20
    spool.remove(places[-1:])
    assert spools.path.stat().st_size < large / 100
    assert (spool.has_more, spool.last_place) == (False, 35)
    fill(spool, [36])
    assert [entry.place for entry in load_all(spool)] == [36]


@pytest.mark.parametrize("loaded", [35, 36])
def test_a_large_file_is_not_begun_anew_while_there_is_a_gap_in_it(spools: Spools, loaded: int) -> None:
    """Be it loaded or not: it is not settled."""
    spool = spools.open()
    fill(spool, range(1, 36), size=2**21)
    spool.append(a_gap(36, 35, 40))
    places = [entry.place for entry in spool.load(loaded, EVERYTHING, 0)]
    spool.remove(places[:35])
    assert len(places) == loaded
    assert spools.places() == [36]
