"""What the listener keeps on disk: batches in the order of their capture, in one SQLite file, bounded in bytes.

SQLite in WAL mode with synchronous=NORMAL: what is written survives the end of the process, however that comes. After
a power failure the last moments may be missing, but not the file.
"""

import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from listener.entry import Entry
from listener.reserve import Reserve
from listener.spool_rows import INSERT, TABLE, SpoolDamagedError, check_seal, row
from tapfan.logs import Logger, Repeated
from tapfan.losses import Reason
from tapfan.program import CannotRunError

_FORMAT = 1  # user_version of the file
_PAGE_BYTES = 16_384
_CHECKPOINT_PAGES = 1024  # 16 MiB of write-ahead log between two times that the disk is waited for
_ROWS_AT_ONCE = 256
_SHRINK_BYTES = 64 * 2**20  # a file larger than this is begun anew as soon as it is empty
_MAKE_ROOM_BYTES = 2**20  # given up at least, when the disk takes no more
# Of the disk: for the write-ahead log to be copied to the file, where that has to grow. Then the log can begin anew,
# and nothing needs to grow any more for old entries to make room for new ones.
_RESERVE_BYTES = _CHECKPOINT_PAGES * _PAGE_BYTES + 4 * 2**20
_MOST_PAGES = 2**30 - 1
# Of a file that is not what was written; all others are of the disk, or of who else uses the file.
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}


class _DiskError(Exception):
    """Raised when the disk does not take what is written."""


class _DiskFullError(_DiskError):
    """Raised when that is for want of room."""


@dataclass(frozen=True)
class Leftover:
    """A stream of which something was found in the file: from its first record there to its last one."""

    stream: str
    first: int
    end: int


class Spool:
    """Entries are appended at the end, loaded from the front, and removed when they are settled.

    `limit`: the bytes of messages that it holds at most. Raises CannotRunError when the file cannot be used.
    """

    def __init__(self, path: Path, limit: int, log: Logger) -> None:
        self._path = path
        self._limit = limit
        self._log = log
        self._repeated = Repeated(log)
        self._bytes = 0  # of all messages
        self._last = self._loaded = 0  # places: the last in the file, and the last that was taken from there
        self._unremoved: list[int] = []  # places that are settled, and still in the file
        self._reserve = Reserve(path.with_suffix(".reserve"), _RESERVE_BYTES)
        self._has_reserve = False
        self._does_without = False  # as there was no room for a file yet
        self.was_damaged = False  # at the start, or since
        try:
            self._open()
        except SpoolDamagedError as error:
            self.set_aside(error)
        except _DiskFullError as error:
            self._do_without(error)
        except _DiskError as error:
            raise CannotRunError(f"cannot use the spool {path}: {error}; is there room on the disk?") from error

    @property
    def last_place(self) -> int:
        """The last entry's place; 0 when there was none yet."""
        return self._last

    @property
    def has_more(self) -> bool:
        """Whether there are entries that were not loaded yet."""
        return self._last > self._loaded

    def leftovers(self) -> list[Leftover]:
        """The streams of all entries, in order. Raises SpoolDamagedError."""
        found: dict[str, Leftover] = {}
        with self._reading():
            query = "SELECT place, stream, first, end, newest, reason, checksum, seal FROM entry ORDER BY place"
            for *columns, seal in self._database.execute(query):
                check_seal(columns, seal)
                _, stream, first, end, *_ = columns
                found[stream] = Leftover(stream, found[stream].first if stream in found else first, end)
        return list(found.values())

    def holds(self, stream: str) -> bool:
        """Whether the file has entries of a stream. Raises SpoolDamagedError."""
        with self._reading():
            query = "SELECT 1 FROM entry WHERE stream = ? LIMIT 1"
            return self._database.execute(query, (stream,)).fetchone() is not None

    def append(self, entry: Entry, loaded: bool = False) -> bool:
        """Write an entry, as loaded if it is on its way already; False when the disk takes none.

        What is beyond the limit makes the oldest go that were not loaded. Raises SpoolDamagedError.
        """
        if self._does_without:
            return False
        over = self._bytes + len(entry.message) - self._limit
        try:
            if over > 0:
                self._drop_oldest(over, "dropped_spool_full")
            self._insert(entry)
        except _DiskError as error:
            self._repeated.warn("spool_disk_error", problem=str(error), then="the oldest records are dropped")
            try:
                self._release_reserve()
                self._drop_oldest(max(len(entry.message), _MAKE_ROOM_BYTES), "dropped_disk")
                self._insert(entry)
            except _DiskError:
                return False
        self._last = max(self._last, entry.place)
        if loaded:
            self._loaded = max(self._loaded, entry.place)
        return True

    def load(self, records: int, size: int, oldest_ns: int) -> list[Entry]:
        """The next entries, one at least: until they have so many records or bytes.

        A batch older than `oldest_ns` comes as a gap, and so does one that cannot be read. Raises SpoolDamagedError.
        """
        entries: list[Entry] = []
        query = (
            "SELECT place, stream, first, end, newest, reason, checksum, seal FROM entry "
            "WHERE place > ? ORDER BY place LIMIT ?"
        )
        with self._reading():
            rows = self._database.execute(query, (self._loaded, _ROWS_AT_ONCE))
            for *columns, seal in rows:
                check_seal(columns, seal)
                place, stream, first, end, newest, reason, checksum = columns
                message, why = self._content(place, newest, reason, checksum, oldest_ns)
                entries.append(Entry(place, stream, first, end, newest, message, why, on_disk=True))
                records -= entries[-1].records
                size -= entries[-1].size
                if records <= 0 or size <= 0:
                    break
        # Where there is none, the last ones have become part of an earlier gap.
        self._loaded = entries[-1].place if entries else self._last
        return entries

    def remove(self, places: Sequence[int]) -> None:
        """Forget entries that are settled. Raises SpoolDamagedError."""
        self._unremoved += places
        try:
            self._delete()
        except _DiskError as error:
            # Should they be loaded again after a restart, the router will know them.
            self._repeated.warn("spool_disk_error", problem=str(error), then="what is settled is removed later")
            return
        if not self._bytes and self._is_empty() and self._is_large():
            self._begin_anew()

    def set_aside(self, error: SpoolDamagedError) -> None:
        """Put the damaged file away and begin a new one. Raises CannotRunError."""
        aside = self._path.with_suffix(".damaged")
        self.was_damaged = True
        self._log.error("spool_damaged", problem=str(error), moved_to=str(aside), then="begins a new one")
        try:
            self.close()
            if self._path.exists():
                self._path.replace(aside)
            self._forget_log()
            self._open()
        except _DiskFullError as full:
            self._do_without(full)
        except (OSError, SpoolDamagedError, _DiskError) as failure:
            raise CannotRunError(f"cannot replace the damaged spool {self._path}: {failure}") from failure

    def tell(self) -> None:
        """To be called now and then: logs what was counted of warnings, and sees to the file and the room on the disk.

        Raises SpoolDamagedError when the file is not there any more.
        """
        self._repeated.tell()
        if self._does_without:
            self._try_again()
            return
        try:
            removed = self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            removed = True
        if removed:
            raise SpoolDamagedError("the file was removed")
        if not self._has_reserve:
            self._take_reserve()

    def close(self) -> None:
        """Close the file."""
        try:
            self._database.close()
        except sqlite3.Error as error:
            self._log.warning("spool_not_closed", problem=str(error))

    def _open(self) -> None:
        with self._translated():
            self._database = sqlite3.connect(self._path, isolation_level=None)
            if not os.access(self._path, os.W_OK):
                raise _DiskError("it is read-only")
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")  # the listener's lock has seen to that already
            self._database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            # On in some builds: what is removed would be written over, and that through the log.
            self._database.execute("PRAGMA secure_delete = OFF")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _FORMAT):
                raise SpoolDamagedError(f"a file of format {version}, not {_FORMAT}")
            self._database.execute(TABLE)
            if version != _FORMAT:  # else nothing is written: a full disk is no hindrance
                self._database.execute(f"PRAGMA user_version = {_FORMAT}")
            self._bytes, self._last = self._database.execute(
                "SELECT coalesce(sum(length(message)), 0), coalesce(max(place), 0) FROM entry"
            ).fetchone()
            self._loaded = 0
            self._unremoved = []
        self._inode = self._path.stat().st_ino
        self._take_reserve()

    def _do_without(self, error: Exception) -> None:
        """Have nothing in it and take nothing, until the disk has room."""
        self._repeated.warn("spool_not_usable", problem=str(error), then="goes on without it, and tries again")
        self._does_without = True
        self._bytes = self._last = self._loaded = 0
        self.close()
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.execute(TABLE)

    def _try_again(self) -> None:
        self.close()
        try:
            self._open()
            if self._last:  # what nobody was told of at the start is not to be taken for settled
                raise _DiskError("it has records of an earlier start; restart the listener to have them sent")
            self._does_without = False
        except (SpoolDamagedError, _DiskError) as error:
            self._do_without(error)

    def _is_large(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > _SHRINK_BYTES

    def _take_reserve(self) -> None:
        self._has_reserve = self._reserve.take()
        if self._has_reserve:
            self._database.execute(f"PRAGMA max_page_count = {_MOST_PAGES}")

    def _release_reserve(self) -> None:
        """Let the file grow by what its log has, and no more until the disk has room again. Raises _DiskError."""
        self._has_reserve = False
        self._reserve.release()
        with self._translated():
            self._database.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            pages = self._database.execute("PRAGMA page_count").fetchone()[0]
            self._database.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    def _delete(self) -> None:
        with self._translated(), self._transaction():
            freed = sum(map(self._length, self._unremoved))
            self._database.executemany("DELETE FROM entry WHERE place = ?", [(place,) for place in self._unremoved])
        self._bytes -= freed
        self._unremoved = []

    def _is_empty(self) -> bool:
        """Whether there are not even gaps in the file. Raises SpoolDamagedError."""
        with self._reading():
            return self._database.execute("SELECT 1 FROM entry LIMIT 1").fetchone() is None

    def _begin_anew(self) -> None:
        """Give an empty file's space back to the disk. Raises SpoolDamagedError."""
        last = self._last
        self.close()
        self._path.unlink(missing_ok=True)
        self._forget_log()
        with self._reading():
            self._open()
        self._last = self._loaded = last

    def _forget_log(self) -> None:
        """Remove the write-ahead log of a file that is gone."""
        self._path.with_name(self._path.name + "-wal").unlink(missing_ok=True)

    def _insert(self, entry: Entry) -> None:
        with self._translated(), self._transaction():
            self._database.execute(INSERT, row(entry))
        self._bytes += len(entry.message)

    def _content(
        self, place: int, newest: int, reason: Reason | None, checksum: int, oldest_ns: int
    ) -> tuple[bytes, Reason | None]:
        """An entry's message, or the reason for which it has none."""
        if reason is not None:
            return b"", reason
        if newest < oldest_ns:
            return b"", "expired_in_spool"
        message = bytes(self._database.execute("SELECT message FROM entry WHERE place = ?", (place,)).fetchone()[0])
        if zlib.crc32(message) != checksum:
            self._repeated.warn("spool_entry_damaged", then="its records are dropped")
            return b"", "dropped_spool_damaged"
        return message, None

    def _drop_oldest(self, size: int, reason: Reason) -> None:
        """Put gaps in the place of the first batches that were not loaded, until so many bytes are free."""
        query = "SELECT place, stream, first, end, reason, length(message) FROM entry WHERE place > ? ORDER BY place"
        freed = records = 0
        gaps: list[Entry] = []
        places = []
        with self._translated():
            for place, stream, first, end, reason_before, length in self._database.execute(query, (self._loaded,)):
                if freed >= size:
                    break
                if reason_before in (None, reason):
                    freed += length
                    records += end - first if reason_before is None else 0
                    places.append((place,))
                    if gaps and gaps[-1].stream == stream and gaps[-1].end == first:
                        gaps[-1] = replace(gaps[-1], end=end)
                    else:
                        gaps.append(Entry(place, stream, first, end, reason=reason))
        with self._translated(), self._transaction():
            self._database.executemany("DELETE FROM entry WHERE place = ?", places)
            self._database.executemany(INSERT, map(row, gaps))
        self._bytes -= freed
        if records:
            self._repeated.warn(reason.removeprefix("dropped_"), records=records, then="the oldest are dropped")

    def _length(self, place: int) -> int:
        row = self._database.execute("SELECT length(message) FROM entry WHERE place = ?", (place,)).fetchone()
        return int(row[0]) if row else 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """SQLite's errors, told apart. Raises _DiskError, SpoolDamagedError."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without the details
            if code == sqlite3.SQLITE_FULL:
                raise _DiskFullError(str(error)) from error
            raise (SpoolDamagedError if code in _DAMAGE else _DiskError)(str(error)) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What cannot be read is lost, for whatever reason. Raises SpoolDamagedError."""
        try:
            with self._translated():
                yield
        except _DiskError as error:
            raise SpoolDamagedError(str(error)) from error
