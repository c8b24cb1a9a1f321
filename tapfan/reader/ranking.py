"""Who has the most packets: records counted by address, pair or port, in bulk and in bounded memory."""

from types import TracebackType
from typing import Self

import numpy as np

from tapfan.batch import Column, Records
from tapfan.endpoints import address_text
from tapfan.reader.merging import Runs
from tapfan.reader.query import By, Ranking, Talker

_ADDRESS_WORDS = 4
_WORDS = {"source": _ADDRESS_WORDS, "destination": _ADDRESS_WORDS, "pair": 2 * _ADDRESS_WORDS, "port": 1}
_WORD_BITS = 64
_RECORDS_AT_ONCE = 262_144


class Counts:
    """Counts records by what `by` says; a context manager. `held`: how many different keys are held in memory."""

    def __init__(self, by: By, held: int) -> None:
        self._by = by
        words = (_WORDS[by],)
        self._row = np.dtype([("key", "<u4", words), ("packets", "<i8"), ("first", "<u8"), ("last", "<u8")])
        self._runs = Runs(self._settle, _key, held)
        self._waiting: list[Records] = []
        self._count = 0
        self._total = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runs.__exit__(kind, error, trace)

    def add(self, records: Records) -> None:
        """Count records; their addresses have shape (n, 16)."""
        self._waiting.append(records)
        self._count += len(records)
        if self._count >= _RECORDS_AT_ONCE:
            self._aggregate()

    def ranking(self, limit: int) -> Ranking:
        """The `limit` keys with the most packets; at the same number, by the bytes of their addresses or by port."""
        if self._count:
            self._aggregate()
        best = np.empty(0, self._row)
        keys = 0
        for rows in self._runs.merged():
            keys += len(rows)
            best = _most(np.concatenate([best, _most(rows, limit)]), limit)
        talkers = [
            Talker(
                self._text(row["key"]),
                int(row["packets"]),
                int(row["packets"]) / self._total,
                int(row["first"]),
                int(row["last"]),
            )
            for row in best
        ]
        return Ranking(talkers, self._total, keys)

    def _aggregate(self) -> None:
        records = Records.concatenate(self._waiting)
        self._waiting, self._count = [], 0
        self._total += len(records)
        keys = self._keys(records)
        order, starts = _grouped(keys)
        rows = np.empty(len(starts), self._row)
        timestamp = records.timestamp[order]
        rows["key"] = keys[order[starts]]
        rows["packets"] = np.diff(starts, append=len(order))
        rows["first"] = np.minimum.reduceat(timestamp, starts)
        rows["last"] = np.maximum.reduceat(timestamp, starts)
        self._runs.add(rows)

    def _keys(self, records: Records) -> Column:
        """Each record's key as words of shape (n, some)."""
        if self._by == "port":
            return records.destination_port.astype("<u4")[:, None]
        if self._by == "pair":
            return np.hstack([_words(records.source), _words(records.destination)])
        return _words(getattr(records, self._by))

    def _settle(self, rows: Column) -> Column:
        """Rows by their keys, those with the same key added up."""
        order, starts = _grouped(rows["key"])
        ordered = rows[order]
        settled = ordered[starts]
        if len(settled) < len(ordered):
            settled["packets"] = np.add.reduceat(ordered["packets"], starts)
            settled["first"] = np.minimum.reduceat(ordered["first"], starts)
            settled["last"] = np.maximum.reduceat(ordered["last"], starts)
        return settled

    def _text(self, key: Column) -> tuple[str, ...]:
        if self._by == "port":
            return (str(int(key[0])),)
        data = key.astype(">u4").tobytes()
        return tuple(address_text(data[at : at + 16]) for at in range(0, len(data), 16))


def _words(addresses: Column) -> Column:
    """Addresses as numbers of 32 bits, whose order is that of the bytes."""
    if addresses.strides[0] == 0:
        return np.broadcast_to(_words(addresses[:1].copy())[0], (len(addresses), _ADDRESS_WORDS))
    return np.ascontiguousarray(addresses).view(">u4").astype("<u4")


def _key(rows: Column) -> list[Column]:
    return [rows["key"][:, word] for word in range(rows["key"].shape[1])]


def _grouped(keys: Column) -> tuple[Column, Column]:
    """The order that sorts keys of shape (n, words), n > 0, and where in it each different one begins.

    Only what varies is sorted by: put together in as few numbers as hold it, with the rows' places where these fit in.
    """
    count = len(keys)
    packs: list[Column] = []
    room = 0
    for word in range(keys.shape[1]):
        column = keys[:, word]
        low = column[0] if column.strides[0] == 0 else column.min()
        bits = 0 if column.strides[0] == 0 else int(column.max() - low).bit_length()
        if not bits:
            continue
        varying = (column - low).astype(np.uint64)
        if bits <= room:
            packs[-1] = packs[-1] << np.uint64(bits) | varying
            room -= bits
        else:
            packs.append(varying)
            room = _WORD_BITS - bits
    if not packs:
        return np.arange(count), np.zeros(1, np.int64)
    place_bits = np.uint64((count - 1).bit_length())
    if len(packs) == 1 and room >= place_bits:
        placed = packs[0] << place_bits | np.arange(count, dtype=np.uint64)
        placed.sort()
        order = (placed & (np.uint64(1) << place_bits) - np.uint64(1)).astype(np.int64)
        ordered = [placed >> place_bits]
    else:
        order = np.argsort(packs[0]) if len(packs) == 1 else np.lexsort(packs[::-1])
        ordered = [pack[order] for pack in packs]
    begins = np.ones(count, bool)
    begins[1:] = np.logical_or.reduce([pack[1:] != pack[:-1] for pack in ordered])
    return order, np.flatnonzero(begins)


def _most(rows: Column, limit: int) -> Column:
    """Those with the most packets, the first of them first; at the same number, in the order of their keys."""
    if 0 < limit < len(rows):
        least = np.partition(rows["packets"], len(rows) - limit)[len(rows) - limit]
        rows = rows[rows["packets"] >= least]
    order = np.lexsort((*_key(rows)[::-1], -rows["packets"]))
    return rows[order[:limit]]
