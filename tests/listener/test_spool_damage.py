"""A spool whose file is not what was written, or not to be had: nothing stops the listener that need not."""

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.typing import EventDict

from listener.spool import Spool
from listener.spool_rows import SpoolDamagedError
from tapfan.logs import Logger
from tapfan.program import CannotRunError
from tests.listener.spooling import LIMIT, Spools, fill, load_all, opaque

_NOBODY = 65534


_CHANGES = {
    "place": 77,
    "stream": "2ocal.0123abcd",
    "first": -5,
    "end": 1000,
    "newest": 10**18,
    "reason": "nonsense",
    "checksum": 1,
    "seal": 1,
}


@pytest.mark.parametrize("column", _CHANGES)
def test_an_entry_of_which_anything_else_is_not_what_was_written_is_damage(spools: Spools, column: str) -> None:
    fill(spools.open(), range(1, 6))
    spools.change(f"UPDATE entry SET {column} = ? WHERE place = 2", _CHANGES[column])
    spool = spools.open()
    with pytest.raises(SpoolDamagedError, match="not as it was written"):
        spool.leftovers()
    with pytest.raises(SpoolDamagedError, match="not as it was written"):
        load_all(spool)


def test_a_file_that_is_removed_while_it_is_used_is_damage(spools: Spools) -> None:
    spool = spools.open()
    fill(spool, range(1, 6))
    spools.path.unlink()
    with pytest.raises(SpoolDamagedError, match="removed") as damage:
        spool.tell()
    spool.set_aside(damage.value)
    fill(spool, [6])
    spool.tell()
    assert spools.places() == [6]


def test_a_message_that_is_not_what_was_written_comes_as_a_gap(spools: Spools, events: list[EventDict]) -> None:
    fill(spools.open(), range(1, 6))
    spools.change("UPDATE entry SET message = ? WHERE place IN (2, 4)", opaque(7).message)
    entries = load_all(spools.open())
    assert [entry.place for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.place for entry in entries if entry.reason == "dropped_spool_damaged"] == [2, 4]
    assert [entry.end for entry in entries] == [1, 2, 3, 4, 5]
    assert [event["event"] for event in events] == ["spool_entry_damaged"]


def _garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(100_000))


def _garbage_in_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(16_384)
        file.write(random.Random(1).randbytes(5 * 16_384))


def _half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _a_few_bytes(path: Path) -> None:
    os.truncate(path, 50)


def _another_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")


def _another_layout(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE entry")
        database.execute("CREATE TABLE entry (place INTEGER PRIMARY KEY, content BLOB)")


@pytest.mark.parametrize(
    "damage", [_garbage, _garbage_in_the_middle, _half, _a_few_bytes, _another_version, _another_layout]
)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    spools: Spools, damage: Callable[[Path], None], events: list[EventDict]
) -> None:
    fill(spools.open(), range(1, 101), size=2000)
    spools.close()
    damage(spools.path)
    content = spools.path.read_bytes()
    spool = spools.open()
    assert (spool.has_more, spool.leftovers(), spool.last_place) == (False, [], 0)
    assert spools.damaged.read_bytes() == content
    assert [(event["event"], event["log_level"]) for event in events] == [("spool_damaged", "error")]
    assert events[0]["moved_to"] == str(spools.damaged)
    fill(spool, [1, 2])
    assert [entry.place for entry in load_all(spools.open())] == [1, 2]


def test_a_layout_that_lacks_what_is_needed_later_is_damage_when_it_is_needed(spools: Spools) -> None:
    spools.change("CREATE TABLE entry (place INTEGER PRIMARY KEY, message BLOB)")
    spools.change("PRAGMA user_version = 1")
    spool = spools.open()
    with pytest.raises(SpoolDamagedError):
        spool.leftovers()
    with pytest.raises(SpoolDamagedError):
        spool.load(1, 1, 0)
    with pytest.raises(SpoolDamagedError):
        spool.append(opaque(1))


def test_the_later_of_two_damaged_files_is_kept(spools: Spools) -> None:
    for content in (b"first" * 1000, b"second" * 1000):
        spools.close()
        spools.path.write_bytes(content)
        spools.open()
    assert spools.damaged.read_bytes() == b"second" * 1000


def test_an_empty_file_is_a_new_spool(spools: Spools, events: list[EventDict]) -> None:
    spools.path.touch()
    fill(spools.open(), [1])
    assert [entry.place for entry in load_all(spools.open())] == [1]
    assert events == []


def test_the_write_ahead_log_of_a_damaged_file_is_not_taken_for_that_of_the_new_one(spools: Spools) -> None:
    """A listener that was killed leaves one, with the last pages that were written."""
    log = spools.path.with_name(spools.path.name + "-wal")
    fill(spools.open(), range(1, 401), size=50_000)
    content = log.read_bytes()
    spools.close()
    _garbage(spools.path)
    log.write_bytes(content)
    spool = spools.open()
    assert (spool.has_more, spool.leftovers()) == (False, [])
    assert spools.damaged.exists()
    fill(spool, [1])
    assert spools.places() == [1]


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _nothing(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("overwrite", [_zeros, _nothing])
def test_damage_under_way_is_told_and_the_spool_goes_on_with_a_new_file(
    spools: Spools, overwrite: Callable[[Path], None]
) -> None:
    """More than SQLite has in its cache was overwritten by somebody."""
    spool = spools.open()
    fill(spool, range(1, 101), size=100_000)
    overwrite(spools.path)
    overwrite(spools.path.with_name(spools.path.name + "-wal"))
    with pytest.raises(SpoolDamagedError) as caught:
        load_all(spool)
    spool.set_aside(caught.value)
    assert (spool.has_more, spool.last_place) == (False, 0)
    fill(spool, range(101, 104))
    assert [entry.place for entry in load_all(spools.open())] == [101, 102, 103]


def test_a_file_that_somebody_else_has_locked_is_not_damaged(spools: Spools) -> None:
    fill(spools.open(), [1, 2])
    spools.close()
    with closing(sqlite3.connect(spools.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CannotRunError, match="locked"):
            spools.open()
    assert not spools.damaged.exists()
    assert spools.places() == [1, 2]


def test_nobody_else_reads_or_changes_the_file_meanwhile(spools: Spools) -> None:
    fill(spools.open(), [1])
    with (
        closing(sqlite3.connect(spools.path, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("DELETE FROM entry")


def test_a_folder_in_the_place_of_the_file_is_told(spools: Spools) -> None:
    spools.path.mkdir()
    with pytest.raises(CannotRunError, match=f"cannot use the spool {spools.path}: unable to open"):
        spools.open()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, log: Logger) -> None:
    path = tmp_path / "none" / "spool.db"
    with pytest.raises(CannotRunError, match=f"cannot use the spool {path}: unable to open"):
        Spool(path, LIMIT, log)
