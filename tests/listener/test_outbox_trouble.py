"""The outbox when its spool is damaged under way, or its disk is full: what is lost is told, the rest goes on."""

import sqlite3
from contextlib import closing

import pytest
from structlog.typing import EventDict

from listener.spool import Spool
from tapfan.losses import Reason
from tests.listener.outgoing import Piece, random_records
from tests.listener.spooling import Spools, fill_disk
from tests.listener.starts import Start, Starts

_FIRST, _SECOND = "local.00000001", "local.00000002"
_LARGE = 20_000  # records of a batch of almost 1 MB


def test_what_was_only_in_a_damaged_spool_is_a_gap(starts: Starts, events: list[EventDict]) -> None:
    """Of each stream; what is in memory is sent, and what is captured from then on as well."""
    starts.start(always=True).add(2, 3)
    running = starts.start(records=2)
    running.outbox.refill()
    running.add(4)
    _damage(running.spool)
    running.add(1)
    running.outbox.refill()
    assert _told(running.settle()) == [
        (_FIRST, 0, 2, None),
        (_FIRST, 2, 5, "dropped_spool_damaged"),
        (_SECOND, 0, 4, "dropped_spool_damaged"),
        (_SECOND, 4, 5, None),
    ]
    assert [event["event"] for event in events] == ["spool_damaged"]


def test_damage_that_is_found_when_loading_is_a_gap(starts: Starts) -> None:
    running = starts.start(records=2)
    running.add(2, 3, 4)
    _damage(running.spool)
    running.send()
    running.acknowledge(_FIRST, 2)
    running.outbox.refill()
    running.add(1)
    report = running.live_report()
    assert (report.base, report.captured, report.spooled) == (2, 10, 0)
    assert _told(running.settle()) == [(_FIRST, 2, 9, "dropped_spool_damaged"), (_FIRST, 9, 10, None)]


def test_damage_in_the_middle_of_a_file_is_found_when_it_is_loaded(starts: Starts, spools: Spools) -> None:
    """More than SQLite has in its cache was overwritten by somebody."""
    running = starts.start(records=1)
    for number in range(8):
        running.outbox.add(random_records(number * _LARGE, _LARGE))
    for path in (spools.path, spools.path.with_name(spools.path.name + "-wal")):
        path.write_bytes(bytes(path.stat().st_size))
    pieces = _told(running.settle())
    assert pieces[0] == (_FIRST, 0, _LARGE, None)
    assert pieces[-1][2:] == (8 * _LARGE, "dropped_spool_damaged")
    _assert_without_a_hole(pieces)


def test_after_damage_that_was_found_when_removing_what_is_in_memory_is_still_sent(starts: Starts) -> None:
    running = starts.start(always=True, records=5)
    running.add(2, 3, 4)
    running.send()
    running.acknowledge(_FIRST, 2, 5)
    _damage(running.spool)
    assert running.live_report().spooled == 0
    starts.stop(running)
    assert _told(starts.start().settle()) == [(_FIRST, 2, 5, None), (_FIRST, 5, 9, "dropped_spool_damaged")]


@pytest.mark.parametrize("always", [False, True])
def test_what_follows_damage_is_kept_in_order_at_a_stop(starts: Starts, always: bool) -> None:
    running = starts.start(always=always, records=2)
    running.add(2, 3, 4)
    _damage(running.spool)
    running.add(1, 2)
    starts.stop(running)
    assert _told(starts.start().settle()) == [
        (_FIRST, 0, 2, None),
        (_FIRST, 2, 9, "dropped_spool_damaged"),
        (_FIRST, 9, 10, None),
        (_FIRST, 10, 12, None),
    ]


def test_damage_that_is_found_at_a_stop_loses_only_what_is_not_in_memory(starts: Starts) -> None:
    """Also that is written again which the damaged spool had."""
    starts.start(always=True).add(2, 3)
    running = starts.start(records=9)
    running.outbox.refill()
    running.add(4, 5, 6)
    _damage(running.spool)
    starts.stop(running)
    assert _told(starts.start().settle()) == [
        (_FIRST, 0, 2, None),
        (_FIRST, 2, 5, None),
        (_SECOND, 0, 4, None),
        (_SECOND, 4, 15, "dropped_spool_damaged"),
    ]


def test_a_gap_for_what_a_killed_listener_had_is_not_in_the_spool_and_comes_again(
    starts: Starts, spools: Spools
) -> None:
    """Also when all else is written again after damage."""
    running = starts.start(records=4)
    running.add(4, 2)
    running.send()
    running.acknowledge(_FIRST, 4)
    running.outbox.refill()
    running.add(2, 3)
    running = starts.start()
    running.outbox.refill()
    _damage(running.spool)
    running.add(1)
    starts.stop(running)
    running = starts.start()
    assert _told(running.settle()) == [
        (_FIRST, 4, 6, None),
        (_FIRST, 6, 8, "dropped_listener_killed"),
        (_FIRST, 8, 11, None),
        (_SECOND, 0, 1, None),
    ]
    assert spools.places() == []


def test_a_spool_whose_damage_is_found_when_it_is_first_read_is_no_hindrance(starts: Starts, spools: Spools) -> None:
    with closing(sqlite3.connect(spools.path, isolation_level=None)) as database:
        database.execute("CREATE TABLE entry (place INTEGER PRIMARY KEY, message BLOB)")
        database.execute("INSERT INTO entry VALUES (7, x'00')")
        database.execute("PRAGMA user_version = 1")
    running = starts.start(always=True)
    assert running.reports().keys() == {_FIRST}
    running.add(2)
    assert _told(running.settle()) == [(_FIRST, 0, 2, None)]
    assert spools.damaged.exists()


def test_what_a_full_disk_did_not_take_is_a_gap_behind_what_it_has(small: Spools, events: list[EventDict]) -> None:
    running = Starts(small).start(records=1)
    _add_large(running, 3)
    other = fill_disk(small.path.parent)
    _add_large(running, 2)
    running.outbox.refill()
    report = running.live_report()
    assert (report.captured, report.spooled) == (5 * _LARGE, 4 * _LARGE)
    other.unlink()
    _add_large(running, 2)
    pieces = _told(running.settle())
    _assert_without_a_hole(pieces)
    assert [end for _, _, end, reason in pieces if not reason] == [at * _LARGE for at in (1, 2, 3, 6, 7)]
    assert {reason for *_, reason in pieces} == {None, "dropped_disk"}
    assert {event["event"] for event in events} == {"spool_disk_error"}
    running.add(3)
    assert _told(running.settle()) == [(_FIRST, 7 * _LARGE, 7 * _LARGE + 3, None)]


def test_a_gap_that_the_disk_does_not_take_either_follows_what_comes_from_the_spool(small: Spools) -> None:
    running = Starts(small).start(records=1)
    _add_large(running, 2)
    fill_disk(small.path.parent)
    _add_large(running, 3)
    running.send()
    running.acknowledge(_FIRST, _LARGE)
    running.outbox.refill()
    _add_large(running, 1)
    pieces = _told(running.settle())
    _assert_without_a_hole(pieces)
    assert pieces[0] == (_FIRST, _LARGE, 2 * _LARGE, None)
    assert [(end, reason) for _, _, end, reason in pieces[1:]][-1] == (6 * _LARGE, "dropped_disk")
    _add_large(running, 1)
    assert _told(running.settle()) == [(_FIRST, 6 * _LARGE, 7 * _LARGE, None)]


def test_nothing_overtakes_a_gap_that_the_disk_does_not_take(small: Spools) -> None:
    """Though nothing is in the spool, and there is room."""
    running = Starts(small).start(records=1)
    _add_large(running, 1)
    fill_disk(small.path.parent)
    _add_large(running, 1)
    running.send()
    running.acknowledge(_FIRST, _LARGE)
    _add_large(running, 1)
    assert running.send() == []
    running.outbox.refill()
    _add_large(running, 1)
    assert _told(running.settle()) == [
        (_FIRST, _LARGE, 3 * _LARGE, "dropped_disk"),
        (_FIRST, 3 * _LARGE, 4 * _LARGE, None),
    ]


def test_a_gap_that_the_disk_did_not_take_is_kept_at_a_stop(small: Spools) -> None:
    starts = Starts(small)
    running = starts.start(records=1)
    _add_large(running, 2)
    other = fill_disk(small.path.parent)
    _add_large(running, 3)
    other.unlink()
    starts.stop(running)
    assert _told(starts.start().settle()) == [
        (_FIRST, 0, _LARGE, None),
        (_FIRST, _LARGE, 2 * _LARGE, None),
        (_FIRST, 2 * _LARGE, 5 * _LARGE, "dropped_disk"),
    ]


def test_always_sends_from_memory_what_a_full_disk_does_not_take(small: Spools) -> None:
    running = Starts(small).start(always=True)
    _add_large(running, 1)
    fill_disk(small.path.parent)
    _add_large(running, 2)
    assert _told(running.settle()) == [(_FIRST, at * _LARGE, (at + 1) * _LARGE, None) for at in range(3)]


def _damage(spool: Spool) -> None:
    """As nobody else gets at the file, its own connection has to do it."""
    spool._database.execute("DROP TABLE entry")


def _add_large(running: Start, batches: int) -> None:
    for _ in range(batches):
        running.outbox.add(random_records(running.captured, _LARGE))
        running.captured += _LARGE


def _told(pieces: list[Piece]) -> list[tuple[str, int, int, Reason | None]]:
    return [(piece.stream, piece.first, piece.end, piece.reason) for piece in pieces]


def _assert_without_a_hole(pieces: list[tuple[str, int, int, Reason | None]]) -> None:
    assert [first for _, first, _, _ in pieces[1:]] == [end for _, _, end, _ in pieces[:-1]]
