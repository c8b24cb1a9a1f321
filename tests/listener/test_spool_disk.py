"""A spool on a small disk of its own, that gets full, or is read-only: as root, on a tmpfs."""

import subprocess
from itertools import count, takewhile

import pytest
from structlog.typing import EventDict

from listener.spool import Spool
from tapfan.program import CannotRunError
from tests.listener.spooling import DISK_BYTES, EVERYTHING, Spools, fill, fill_disk, load_all, opaque

_MESSAGE_BYTES = 50_000
_MORE_THAN_FIT = 2 * DISK_BYTES // _MESSAGE_BYTES


def test_on_a_disk_that_it_fills_the_oldest_go_and_one_gap_stands_for_them(
    small: Spools, events: list[EventDict]
) -> None:
    spool = small.open()
    assert all(spool.append(opaque(place, _MESSAGE_BYTES)) for place in range(1, _MORE_THAN_FIT + 1))
    gap, *rest = load_all(spool)
    assert (gap.place, gap.first, gap.reason) == (1, 0, "dropped_disk")
    assert [entry.place for entry in rest] == list(range(gap.end + 1, _MORE_THAN_FIT + 1))
    assert all(entry.message == opaque(entry.place, _MESSAGE_BYTES).message for entry in rest)
    assert len(rest) * _MESSAGE_BYTES > DISK_BYTES / 8
    assert {event["event"] for event in events} == {"spool_disk_error", "disk"}


def test_on_a_disk_that_it_fills_what_is_loaded_never_goes(small: Spools) -> None:
    spool = small.open()
    fill(spool, range(1, 101), _MESSAGE_BYTES)
    loaded = spool.load(EVERYTHING, 50 * _MESSAGE_BYTES, 0)
    places = [entry.place for entry in loaded]
    for place in range(101, _MORE_THAN_FIT + 1):
        assert spool.append(opaque(place, _MESSAGE_BYTES))
    gap, *rest = load_all(spool)
    assert (gap.place, gap.first, gap.reason) == (places[-1] + 1, places[-1], "dropped_disk")
    assert [entry.place for entry in rest] == list(range(gap.end + 1, _MORE_THAN_FIT + 1))
    assert small.places()[: len(places)] == places


def test_on_a_disk_that_it_fills_with_what_is_loaded_nothing_more_is_taken(small: Spools) -> None:
    """Until some of that is settled."""
    spool = small.open()
    taken = list(takewhile(lambda place: spool.append(opaque(place, _MESSAGE_BYTES), loaded=True), count(1)))
    assert len(taken) * _MESSAGE_BYTES > DISK_BYTES / 8
    refused = len(taken) + 1
    assert not spool.append(opaque(refused, _MESSAGE_BYTES))
    spool.remove(taken[:50])
    fill(spool, range(refused, refused + 40), _MESSAGE_BYTES)
    assert small.places() == [*taken[50:], *range(refused, refused + 40)]


def test_from_a_full_disk_more_can_be_removed_at_once_than_there_is_room_for(small: Spools) -> None:
    """What is removed takes no room in the log."""
    spool = small.open()
    taken = list(takewhile(lambda place: spool.append(opaque(place, _MESSAGE_BYTES), loaded=True), range(1, 501)))
    other = fill_disk(small.path.parent, reserve_too=False)
    spool.remove(taken)
    other.unlink()
    assert small.places() == []


def test_a_disk_that_somebody_else_has_filled_refuses_and_what_is_there_remains(
    small: Spools, events: list[EventDict]
) -> None:
    spool = small.open()
    fill(spool, range(1, 11), _MESSAGE_BYTES)
    other = fill_disk(small.path.parent)
    refused = range(11, 41)
    taken = [place for place in refused if spool.append(opaque(place, _MESSAGE_BYTES))]
    assert len(taken) < len(refused)
    assert "spool_disk_error" in {event["event"] for event in events}
    other.unlink()
    fill(spool, [41], _MESSAGE_BYTES)
    _assert_whole(spool, [*range(1, 11), *taken, 41])


def test_on_a_disk_that_somebody_else_has_filled_the_reserve_lets_the_oldest_make_room(small: Spools) -> None:
    spool = small.open()
    fill(spool, range(1, 101), _MESSAGE_BYTES)
    reserve = small.path.with_suffix(".reserve")
    size = reserve.stat().st_size
    other = fill_disk(small.path.parent, reserve_too=False)
    fill(spool, range(101, 1001), _MESSAGE_BYTES)
    gap, *rest = load_all(spool)
    assert (gap.first, gap.reason) == (0, "dropped_disk")
    assert [entry.place for entry in rest] == list(range(gap.end + 1, 1001))
    assert not reserve.exists()
    other.unlink()
    spool.tell()
    assert reserve.stat().st_size == size
    fill(spool, range(1001, 1201), _MESSAGE_BYTES)
    _assert_whole(spool, range(1001, 1201))


def test_what_is_too_large_for_the_disk_makes_the_rest_go_and_is_refused(small: Spools) -> None:
    spool = small.open()
    fill(spool, range(1, 11), _MESSAGE_BYTES)
    assert not spool.append(opaque(11, DISK_BYTES))
    assert [(entry.first, entry.end, entry.reason) for entry in load_all(spool)] == [(0, 10, "dropped_disk")]
    fill(spool, [12], _MESSAGE_BYTES)
    assert [entry.place for entry in load_all(spool)] == [12]


def test_a_disk_that_is_full_at_the_start_is_no_hindrance(small: Spools) -> None:
    fill(small.open(), range(1, 11), _MESSAGE_BYTES)
    small.close()
    fill_disk(small.path.parent)
    spool = small.open()
    _assert_whole(spool, range(1, 11))
    assert not spool.append(opaque(11, 10 * _MESSAGE_BYTES))


def test_a_spool_that_was_killed_on_a_full_disk_can_be_opened(small: Spools) -> None:
    """With its write-ahead log, which there is no room to copy from."""
    spool = small.open()
    appended = list(takewhile(lambda place: spool.append(opaque(place, _MESSAGE_BYTES)), range(1, 200)))
    fill_disk(small.path.parent)
    copies = [(path, path.read_bytes()) for path in (small.path, small.path.with_name(small.path.name + "-wal"))]
    small.close()
    for path, content in copies:
        path.write_bytes(content)
    _assert_whole(small.open(), appended)


def test_a_disk_that_is_full_before_there_is_a_file_is_told_and_done_without(
    small: Spools, events: list[EventDict]
) -> None:
    other = fill_disk(small.path.parent)
    spool = small.open()
    assert [event["event"] for event in events] == ["spool_not_usable"]
    assert not spool.append(opaque(1))
    assert (spool.leftovers(), spool.has_more) == ([], False)
    spool.tell()
    assert not spool.append(opaque(1))
    other.unlink()
    spool.tell()
    fill(spool, range(2, 5), _MESSAGE_BYTES)
    _assert_whole(spool, range(2, 5))
    assert small.places() == [2, 3, 4]


def test_what_could_not_be_removed_is_removed_later(small: Spools) -> None:
    spool = small.open(limit=10 * _MESSAGE_BYTES)
    fill(spool, range(1, 11), _MESSAGE_BYTES)
    places = [entry.place for entry in load_all(spool)]
    other = fill_disk(small.path.parent)
    spool.remove(places[:5])
    other.unlink()
    spool.remove(places[5:])
    fill(spool, range(11, 21), _MESSAGE_BYTES)
    assert [entry.reason for entry in load_all(spool)] == [None] * 10
    assert small.places() == list(range(11, 21))


@pytest.mark.parametrize("exists", [False, True])
def test_a_disk_that_is_read_only_is_told(small: Spools, exists: bool) -> None:
    if exists:
        fill(small.open(), [1])
        small.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small.path.parent)], check=True)
    with pytest.raises(CannotRunError, match=f"cannot use the spool {small.path}: (it is read-only|unable to open)"):
        small.open()


def _assert_whole(spool: Spool, expected: list[int] | range) -> None:
    """These entries are there, gaps in the place of what was dropped apart."""
    entries = load_all(spool)
    assert [entry.place for entry in entries if not entry.reason] == list(expected)
    assert all(entry.message == opaque(entry.place, _MESSAGE_BYTES).message for entry in entries)
