"""The history: who changed what, when and why, automatic changes too; bounded, and what an undo goes by."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import TypeAdapter

from router.repeats import Applied, Record, Repeats
from tapfan.control import AUTOMATIC

Kind = Literal["weights", "ramp", "state", "ttl", "add", "remove", "join", "undo", "health", "configuration"]
MAX_ENTRIES = 500
MAX_BYTES = 256 * 1024  # of them all, as text
_MAX_NOTES = 100  # entries that change no version: a Redis that comes and goes must not push out what operators did


@dataclass(frozen=True)
class Change:
    """One value that changed: of a writer, or, with None, of all."""

    writer: str | None
    what: str  # weight, state, ttl (s), ramp (one began; s), health, redis, configured, rampup (s)
    before: float | str | None  # None: there was none
    after: float | str | None

    def __str__(self) -> str:
        return f"{self.writer or 'all'}: {self.what} {self.before} -> {self.after}"


@dataclass(frozen=True)
class Entry:
    """One change, as it is told to clients and kept on disk."""

    version: int  # in force since
    at_s: float  # since the epoch
    kind: Kind
    by: str  # who, as they said; AUTOMATIC
    key: str | None  # the name of the client's key, where it had one
    reason: str
    over_s: float | None  # of a ramp
    changes: tuple[Change, ...]
    # The id of the request that made it and the digest of what it asked, until History has both apart from the entries.
    request: str | None = field(default=None, compare=False)
    digest: str | None = field(default=None, compare=False)

    @property
    def is_note(self) -> bool:
        """Whether nothing that operators want changed by it: the health of a writer, the end of a ramp."""
        return self.by == AUTOMATIC and self.kind in ("health", "ramp")

    @cached_property
    def text(self) -> str:
        """The entry as JSON, an object with its fields, but for the request's."""
        return _ENTRY.dump_json(self, exclude={"request", "digest"}).decode()

    @cached_property
    def record(self) -> Record | None:
        """What is remembered of the request that made it."""
        return None if self.request is None else Record.of(self.request, self.digest or "", self.version)

    def told(self) -> dict[str, Any]:
        """As clients get it."""
        return {
            "version": self.version,
            "at": self.at_s,
            "kind": self.kind,
            "by": self.by,
            "key": self.key,
            "reason": self.reason,
            "over": self.over_s,
            "changes": [vars(change).copy() for change in self.changes],
        }


_ENTRY = TypeAdapter(Entry)


class History:
    """Entries in the order in which they came; at most MAX_ENTRIES, of MAX_BYTES. Never changes: `add` gives another.

    The newest one is kept whatever its size. `repeats`: the requests that made entries, also of those that are gone.
    """

    def __init__(self, entries: Iterable[Entry] = (), repeats: Repeats | None = None) -> None:
        self.repeats = repeats or Repeats()
        self._kept: tuple[Entry, ...] = ()
        self._bytes = self._notes = 0
        self._extend(entries)

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._kept)

    def __reversed__(self) -> Iterator[Entry]:
        return reversed(self._kept)

    @property
    def text(self) -> str:
        """All entries as a JSON array of objects with the fields of Entry; each is encoded once, when it is added."""
        return f"[{','.join(entry.text for entry in self._kept)}]"

    @property
    def newest(self) -> Entry | None:
        """The last entry."""
        return self._kept[-1] if self._kept else None

    def entries(self, limit: int = MAX_ENTRIES) -> list[Entry]:
        """The newest ones, at most so many, the newest first."""
        return list(self._kept[: -limit - 1 : -1])

    def find(self, request: str) -> Applied | None:
        """What is known of the request with this id, if it made an entry."""
        return self.repeats.find(request)

    def add(self, *entries: Entry) -> Self:
        """The history with one more entry, or some."""
        longer = type(self)(repeats=self.repeats)
        longer._kept, longer._bytes, longer._notes = self._kept, self._bytes, self._notes
        longer._extend(entries)
        return longer

    def _extend(self, entries: Iterable[Entry]) -> None:
        kept = list(self._kept)
        records = []
        for entry in entries:
            kept.append(entry)
            self._bytes += len(entry.text)
            self._notes += entry.is_note
            if entry.record is not None:
                records.append(entry.record)
            if self._notes > _MAX_NOTES:
                self._drop(kept, next(i for i, old in enumerate(kept) if old.is_note))
            while len(kept) > 1 and (len(kept) > MAX_ENTRIES or self._bytes > MAX_BYTES):
                self._drop(kept, 0)
        self._kept = tuple(kept)
        if records:
            self.repeats = self.repeats.extend(records)

    def _drop(self, kept: list[Entry], at: int) -> None:
        dropped = kept.pop(at)
        self._bytes -= len(dropped.text)
        self._notes -= dropped.is_note
