"""A row of the spool's table: how an entry is written, and whether a row is still what was written."""

import zlib
from collections.abc import Sequence

from listener.entry import Entry

TABLE = """
CREATE TABLE IF NOT EXISTS entry (
    place INTEGER PRIMARY KEY,  -- in the order of capture
    stream TEXT NOT NULL,
    first INTEGER NOT NULL,  -- sequence numbers of the records
    end INTEGER NOT NULL,
    newest INTEGER NOT NULL,  -- the latest capture time of the batch, ns; 0 for a gap
    reason TEXT,  -- for a gap: why its records are lost
    checksum INTEGER NOT NULL,  -- CRC-32 of the message
    seal INTEGER NOT NULL,  -- CRC-32 of all of the above
    message BLOB NOT NULL  -- empty for a gap
)
"""
INSERT = "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class SpoolDamagedError(Exception):
    """Raised when the file is not what was written; it is to be set aside."""


def row(entry: Entry) -> tuple[object, ...]:
    """What is written of an entry."""
    columns = (entry.place, entry.stream, entry.first, entry.end, entry.newest, entry.reason, zlib.crc32(entry.message))
    return *columns, _seal(columns), entry.message


def _seal(columns: Sequence[object]) -> int:
    return zlib.crc32(repr(tuple(columns)).encode())


def check_seal(columns: Sequence[object], seal: int) -> None:
    """Raises SpoolDamagedError when a row is not as it was written."""
    if _seal(columns) != seal:
        raise SpoolDamagedError(f"the entry at place {columns[0]} is not as it was written")
