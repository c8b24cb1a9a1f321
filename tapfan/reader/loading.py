"""Keys of either layout made to the records that a query wants; whatever is none of ours is skipped and counted."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import hiredis
import numpy as np

from tapfan import blocks
from tapfan.batch import COLUMNS, Column, Records, widened
from tapfan.bounds import MAX_MESSAGE_BYTES
from tapfan.reader import keys as record_keys
from tapfan.reader import values as record_values
from tapfan.reader.exchange import Connection, RefusedError, packed, unexpected
from tapfan.reader.filtering import Filter
from tapfan.reader.found import Found
from tapfan.reader.identities import SEQUENCE_BITS, Streams
from tapfan.reader.keys import RecordKeys, read_record_keys
from tapfan.reader.report import Report
from tapfan.reader.texts import Texts
from tapfan.reader.values import read_record_values

_NS_A_MS = 1_000_000
_PIECE_BYTES = 4 * 1024 * 1024  # of values that are asked for at once, at most; more of a single one
_BLOCK_HEAD_BYTES = 1024
_BLOCK_RECORD_BYTES = 128  # the columns at their full width, and a span of its own
_VALUES_AT_ONCE = _PIECE_BYTES // record_values.MAX_BYTES
_WRONG_TYPE = "WRONGTYPE"
_TRIAL = re.compile(rb"tcpb?:check[0-9]*")  # what writers try by whether they may store; gone at once


@dataclass(frozen=True)
class Wanted:
    """What to make of keys: records that pass the filter, numbered by `streams`.

    `with_values`: also ports, flags and segments of records that have a key each; else these are 0.
    `ttl_ns`: a record key that is older than that is believed only if it has an expiry.
    """

    filter: Filter
    streams: Streams
    ttl_ns: int
    with_values: bool


class Loader:
    """Makes the keys of one server to records; for one thread."""

    def __init__(self, connection: Connection, wanted: Wanted, report: Report) -> None:
        self._connection = connection
        self._wanted = wanted
        self._report = report

    def load(self, keys: Texts, now_ns: int) -> Iterator[Found]:
        """What the keys hold that lives at that time, in pieces of at most a block's records or as many as the keys."""
        single = keys.begin_with(record_keys.PREFIX)
        if single.any():
            yield from self._singles(keys if single.all() else keys.chosen(single), now_ns)
        if not single.all():
            yield from self._blocks(keys.bytes_of(keys.begin_with(blocks.PREFIX)), now_ns)

    def _singles(self, keys: Texts, now_ns: int) -> Iterator[Found]:
        read = read_record_keys(keys)
        if len(read.rows) < len(keys):
            self._report.skip("foreign_key", len(keys) - len(read.rows) - _trials(keys))
        identity, is_known = self._identity(read)
        chosen = np.flatnonzero(is_known & self._wanted.filter.addressed(read.timestamp, read.source, read.destination))
        chosen = self._expiring(keys, read, chosen, now_ns)
        if self._wanted.with_values:
            for start in range(0, len(chosen), _VALUES_AT_ONCE):
                yield self._with_values(keys, read, identity, chosen[start : start + _VALUES_AT_ONCE])
        else:
            yield Found(_records(read, chosen, {}), _picked(identity, chosen))

    def _identity(self, read: RecordKeys) -> tuple[Column, Column]:
        """The records' identities, and which of them have one."""
        if not len(read.rows):
            return np.empty(0, np.uint64), np.empty(0, bool)
        numbers = [self._wanted.streams.number(name) if name else None for name in read.streams]
        number = np.array([0 if number is None else number for number in numbers], np.uint64)[read.stream]
        is_known = np.array([number is not None for number in numbers])[read.stream]
        self._report.skip("too_many_streams", int(np.count_nonzero(~is_known)))
        return number << np.uint64(SEQUENCE_BITS) | read.sequence, is_known

    def _expiring(self, keys: Texts, read: RecordKeys, chosen: Column, now_ns: int) -> Column:
        """Those of the chosen that live: of old ones, only those whose keys will expire."""
        old = np.flatnonzero(read.timestamp[chosen] < max(0, now_ns - self._wanted.ttl_ns))
        if not len(old):
            return chosen
        kept = np.ones(len(chosen), bool)
        for start in range(0, len(old), _VALUES_AT_ONCE):
            rows = old[start : start + _VALUES_AT_ONCE]
            asked = keys.bytes_of(read.rows[chosen[rows]])
            self._connection.send(b"".join(packed(b"PTTL", key) for key in asked))
            left_ms = np.array([self._milliseconds() for _ in asked])
            kept[rows] = left_ms > 0
            self._report.skip("no_expiry", int(np.count_nonzero(left_ms == -1)))
        return chosen[kept]

    def _milliseconds(self) -> int:
        """The next answer to PTTL."""
        reply = self._connection.accept()
        if not isinstance(reply, int):
            raise unexpected(reply, "a number")
        return reply

    def _with_values(self, keys: Texts, read: RecordKeys, identity: Column, chosen: Column) -> Found:
        asked = keys.bytes_of(read.rows[chosen])
        answers = self._connection.values(asked, itertools.repeat(record_values.MAX_BYTES))
        there = self._texts(answers)
        chosen = chosen[np.array(there, np.int64)]
        texts = Texts.of([answers[row] for row in there])
        columns = (column[chosen] for column in (read.timestamp, read.source, read.destination))
        found = read_record_values(texts, *columns)
        self._report.skip("bad_value", len(there) - len(found.rows))
        chosen = chosen[found.rows]
        said = {name: getattr(found, name) for name in ("source_port", "destination_port", "flags", "segments")}
        return self._filtered(Found(_records(read, chosen, said), identity[chosen]))

    def _texts(self, answers: Sequence[object]) -> list[int]:
        """The places of those answers that are values; what is gone is not counted."""
        for answer in answers:
            if isinstance(answer, hiredis.ReplyError):
                if not str(answer).startswith(_WRONG_TYPE):
                    raise RefusedError(str(answer))
                self._report.skip("wrong_type")
            elif not isinstance(answer, bytes):
                raise unexpected(answer, "a value")
        return [row for row, answer in enumerate(answers) if isinstance(answer, bytes) and answer]

    def _blocks(self, keys: Sequence[bytes], now_ns: int) -> Iterator[Found]:
        asked: list[bytes] = []
        most: list[int] = []
        for key in keys:
            try:
                said = blocks.Key.read(key)
            except blocks.BlockError:
                self._report.skip("foreign_key", not _TRIAL.fullmatch(key))
                continue
            if not self._wanted.filter.overlaps(said.first_ns, said.last_ns):
                continue
            size = min(MAX_MESSAGE_BYTES, _BLOCK_HEAD_BYTES + said.count * _BLOCK_RECORD_BYTES)
            if asked and sum(most) + size > _PIECE_BYTES:
                yield from self._unpacked(asked, most, now_ns)
                asked, most = [], []
            asked.append(key)
            most.append(size)
        if asked:
            yield from self._unpacked(asked, most, now_ns)

    def _unpacked(self, keys: Sequence[bytes], most: Sequence[int], now_ns: int) -> Iterator[Found]:
        answers = self._connection.values(keys, most)
        for row in self._texts(answers):
            try:
                block = blocks.unpack(keys[row], answers[row])
            except blocks.BlockError:
                self._report.skip("bad_block")
                continue
            if (found := self._found(block, now_ns)) is not None:
                yield found

    def _found(self, block: blocks.Block, now_ns: int) -> Found | None:
        """What of a block lives, has an identity and is wanted."""
        numbers = [self._wanted.streams.number(span.stream) for span in block.spans]
        if None in numbers:
            self._report.skip("too_many_streams", len(block.records))
            return None
        bases = [np.uint64((number or 0) << SEQUENCE_BITS) for number in numbers]
        counts = [span.count for span in block.spans]
        identity = block.sequence | (bases[0] if len(bases) == 1 else np.repeat(np.array(bases), counts))
        columns = {name: getattr(block.records, name) for name in COLUMNS}
        columns |= {name: widened(columns[name]) for name in ("source", "destination")}
        found = Found(Records(**columns), identity)
        oldest_ns = now_ns - block.ttl_ms * _NS_A_MS
        if oldest_ns >= int(found.records.timestamp.min()):
            found = found[found.records.timestamp > oldest_ns]
        return self._filtered(found)

    def _filtered(self, found: Found) -> Found:
        mask = self._wanted.filter.mask(found.records)
        return found if mask.all() else found[mask]


def _trials(keys: Texts) -> int:
    """How many of the keys in record layout are the writers' trials."""
    return sum(map(bool, map(_TRIAL.fullmatch, keys.bytes_of(keys.begin_with(b"tcp:check")))))


def _records(read: RecordKeys, chosen: Column, values: dict[str, Column]) -> Records:
    """The chosen ones' records; columns that there are no values for are 0."""
    columns = {name: _picked(getattr(read, name), chosen) for name in ("timestamp", "source", "destination")}
    for name, (dtype, _) in COLUMNS.items():
        if name not in columns:
            columns[name] = values.get(name, np.broadcast_to(dtype.type(0), len(chosen)))
    return Records(**columns)


def _picked(column: Column, rows: Column) -> Column:
    """What the column has at different places; of all of them, itself: it may be one value that was broadcast."""
    return column if len(rows) == len(column) else column[rows]
