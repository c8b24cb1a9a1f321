"""A spool in a file of its own, and what is in it."""

import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from listener.entry import Entry
from listener.spool import Spool
from tapfan.logs import Logger
from tests.listener.outgoing import STREAM

LIMIT = 10**9
DISK_BYTES = 64 * 2**20  # of the small disk that some tests have
_PAGE_BYTES = 4096
EVERYTHING = 10**12  # more records and bytes than any test has


class Spools:
    """Opens spools on one file after another, each as if in a process of its own."""

    def __init__(self, folder: Path, log: Logger) -> None:
        self.path = folder / "spool-local.db"
        self.damaged = self.path.with_suffix(".damaged")
        self._log = log
        self._open: Spool | None = None

    def open(self, limit: int = LIMIT) -> Spool:
        """The spool on the file; the one before is closed."""
        self.close()
        self._open = Spool(self.path, limit, self._log)
        return self._open

    def close(self) -> None:
        """Close the spool that is open, if there is one."""
        if self._open:
            self._open.close()
            self._open = None

    def change(self, statement: str, *arguments: object) -> None:
        """Change the file from outside, while no spool is open."""
        self.close()
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            database.execute(statement, arguments)

    def places(self) -> list[int]:
        """Those of all entries in the file, from outside, while no spool is open."""
        self.close()
        with closing(sqlite3.connect(self.path)) as database:
            return [place for (place,) in database.execute("SELECT place FROM entry ORDER BY place")]


def opaque(place: int, size: int = 100, stream: str = STREAM) -> Entry:
    """A batch of one record, captured at `place`, whose message is so many bytes of whatever."""
    message = random.Random(place).randbytes(size)
    return Entry(place, stream, place - 1, place, newest=place, message=message)


def fill(spool: Spool, places: Iterable[int], size: int = 100) -> None:
    """Append opaque entries."""
    for place in places:
        assert spool.append(opaque(place, size))


def load_all(spool: Spool, oldest_ns: int = 0) -> list[Entry]:
    """All entries that were not loaded yet."""
    return list(_loaded(spool, oldest_ns))


def _loaded(spool: Spool, oldest_ns: int) -> Iterator[Entry]:
    while spool.has_more:
        yield from spool.load(EVERYTHING, EVERYTHING, oldest_ns)


def fill_disk(folder: Path, reserve_too: bool = True) -> Path:
    """Write to another file until there is no room left, not even the spool's reserve; gives the file."""
    other = folder / "other"
    for reserve in folder.glob("*.reserve") if reserve_too else ():
        reserve.unlink()
    with other.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(_PAGE_BYTES))
        except OSError:
            return other
