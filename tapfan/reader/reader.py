"""The reader: all configured Redis databases as one, both layouts, each record once."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Generator
from typing import Self

import numpy as np

from tapfan.batch import Records
from tapfan.bounds import MAX_RECORDS
from tapfan.reader import ordering
from tapfan.reader.filtering import Filter
from tapfan.reader.following import Following
from tapfan.reader.found import Found
from tapfan.reader.gathering import Gathering, find_nodes
from tapfan.reader.identities import CrowdedError, Seen, Streams
from tapfan.reader.loading import Wanted
from tapfan.reader.merging import Runs
from tapfan.reader.plain import plain
from tapfan.reader.query import By, Query, Ranking, Record
from tapfan.reader.ranking import Counts
from tapfan.reader.report import Report
from tapfan.settings import Settings

_TIMEOUT_S = 5.0
_HELD_RECORDS = 500_000
_HELD_CHUNKS = 2048  # of identities, for 134 million that are close to each other
_FOLLOWED_CHUNKS = 1024
_EVERYTHING = Query()
_NO_ROWS = ordering.rows(Found(Records.empty(), np.empty(0, np.uint64)))


def _never() -> bool:
    return False


class Reader:
    """Reads the records of all configured writers; a context manager, for one thread and one call at a time.

    Every record that a query wants is given once, whatever the layout, and however many databases hold it. A call
    raises ReaderError when no Redis could be read; while some can, it gives what they have, and `problems` says which
    could not. Memory is bounded: what exceeds `held` records waits in a temporary file until it is given out.
    `timeout_s`: for one answer of Redis.
    """

    def __init__(self, settings: Settings, *, timeout_s: float = _TIMEOUT_S, held: int = _HELD_RECORDS) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._held = held
        self._report = Report()
        self._streams = Streams()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is kept open between calls; iterators end what they opened when they are used up or closed."""

    @property
    def problems(self) -> list[str]:
        """Of the last call: a text for each Redis that could not be read; complete when its first batch is there."""
        return list(self._report.problems.values())

    @property
    def failed(self) -> dict[str, str]:
        """The `problems` by what each Redis is called."""
        return self._report.problems

    @property
    def skipped(self) -> Counter[str]:
        """Of the last call: how much under our prefixes is none of our records, by reason.

        `foreign_key`, `bad_value`, `bad_block`, `wrong_type`, `no_expiry`, and `too_many_streams` for the records of
        streams beyond the first 65,536.
        """
        return self._report.skipped

    def batches(self, query: Query = _EVERYTHING, newest: int | None = None) -> Generator[Records, None, None]:
        """The records in the order of their capture times, at most 65,536 at a time; addresses have shape (n, 16).

        `newest`: only so many of them, the last ones.
        """
        with contextlib.closing(self._sorted(query, newest)) as pieces:
            for found in pieces:
                yield found.records

    def records(self, query: Query = _EVERYTHING) -> Generator[Record, None, None]:
        """The same, one by one."""
        with contextlib.closing(self._sorted(query)) as pieces:
            for found in pieces:
                yield from plain(found, self._streams)

    def top(self, query: Query = _EVERYTHING, by: By = "source", limit: int = 20) -> Ranking:
        """Who has the most packets of those that the query wants.

        Of records that have a key each, only the keys are read where ports and flags do not matter.
        """
        with contextlib.suppress(CrowdedError):
            return self._top_unsorted(query, by, limit)
        with Counts(by, self._held) as counts, contextlib.closing(self._sorted(query)) as pieces:
            for found in pieces:
                counts.add(found.records)
            return counts.ranking(limit)

    def _top_unsorted(self, query: Query, by: By, limit: int) -> Ranking:
        """The same without sorting what was found. Raises CrowdedError where duplicates cannot be told by that."""
        seen = Seen(_HELD_CHUNKS)
        with Counts(by, self._held) as counts, contextlib.closing(self._found(query, by == "port")) as pieces:
            for found in pieces:
                fresh = seen.fresh(found.identity)
                counts.add(found.records if fresh.all() else found.records[fresh])
            return counts.ranking(limit)

    def follow(
        self, query: Query = _EVERYTHING, stop: Callable[[], bool] = _never, poll_s: float = 1.0
    ) -> Generator[Records, None, None]:
        """The records that are stored from now on, for ever, or until `stop` says so.

        Those that come together are in the order of their capture times. An empty batch comes first, when each Redis
        is followed or has failed, and whenever nothing else came for `poll_s`. `problems` says which cannot be
        followed at the moment; each is tried again every second.
        """
        self._report = Report("it is tried again every second")
        seen = Seen(_FOLLOWED_CHUNKS, forgetful=True)
        following = Following(self._settings, query, self._report, self._timeout_s)
        with contextlib.closing(following):
            following.start()
            yield Records.empty()
            while not stop():
                found = following.take(poll_s)
                fresh = [each[seen.fresh(each.identity)] for each in found]
                rows = ordering.settle(np.concatenate([ordering.rows(each) for each in fresh])) if fresh else _NO_ROWS
                for start in range(0, len(rows), MAX_RECORDS):
                    yield ordering.found(rows[start : start + MAX_RECORDS]).records
                if not len(rows):
                    yield Records.empty()

    def _found(self, query: Query, with_values: bool) -> Generator[Found, None, None]:
        """What the query wants, in no order, duplicates among it."""
        self._report = report = Report()
        self._streams = Streams()
        chosen = Filter(query)
        wanted = Wanted(chosen, self._streams, int(self._settings.ttl * 1e9), with_values or chosen.needs_values)
        servers = find_nodes(self._settings.writers, self._timeout_s, report)
        gathering = Gathering(servers, wanted, report, self._timeout_s, time.time_ns())
        with contextlib.closing(gathering):
            yield from gathering

    def _sorted(self, query: Query, newest: int | None = None) -> Generator[Found, None, None]:
        """What the query wants, or the newest of it, by time, each once, at most 65,536 at a time."""
        with (
            Runs(ordering.settle, ordering.key, self._held, newest) as runs,
            contextlib.closing(self._found(query, True)) as pieces,
        ):
            for found in pieces:
                runs.add(ordering.rows(found))
            for rows in runs.merged():
                for start in range(0, len(rows), MAX_RECORDS):
                    yield ordering.found(rows[start : start + MAX_RECORDS])
