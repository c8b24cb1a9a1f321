"""How shares become Redis commands: a key for each record, or one for as many as there are."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tapfan import blocks
from tapfan.bounds import MAX_RECORDS
from tapfan.sections import Layout
from tapfan.wire import PackedBatch
from writers.commands import Commands, expiry_ms, pack

_SLICE_RECORDS = 4096  # packed at once: 1 MiB of commands
_BLOCK_RECORDS = 2000  # a share as large is a block of its own, of which a key's own memory is a hundredth
_LATEST_S = 0.06  # with the rest of a record's way, it is still in Redis within a tenth of a second


@dataclass(frozen=True)
class Share:
    """Records to be stored, and the share's number in the row of that router's."""

    router: str
    number: int
    ttl_ms: int
    records: PackedBatch

    def __len__(self) -> int:
        return len(self.records)

    @property
    def expiry_ms(self) -> int:
        """When the last of its records is over."""
        return expiry_ms(self.records.span_ns[1], self.ttl_ms)


@dataclass(frozen=True)
class Packed:
    """The commands of some shares, and how many records of each had expired and are in none."""

    commands: Commands
    expired: Sequence[int]


class Shaping(Protocol):
    """A layout.

    `enough`: a share of so many records is stored at once, a smaller one waits `hold_s` for others to be stored with;
    `most`: records that are stored together.
    """

    hold_s: float
    enough: int
    most: int

    def pieces(self, shares: Sequence[Share]) -> Iterator[Sequence[Share]]:
        """What of the shares is sent to Redis at once, one after the other."""

    def packed(self, shares: Sequence[Share]) -> Packed:
        """The commands of a piece for what lives now."""


class RecordLayout:
    """One key a record; a share is stored in slices."""

    hold_s = 0.0
    enough = most = 0

    def pieces(self, shares: Sequence[Share]) -> Iterator[Sequence[Share]]:
        """Slices of one share."""
        (share,) = shares
        for start in range(0, len(share), _SLICE_RECORDS):
            yield [replace(share, records=share.records.slice(start, min(start + _SLICE_RECORDS, len(share))))]

    def packed(self, shares: Sequence[Share]) -> Packed:
        """A SET for each record of one slice."""
        (share,) = shares
        commands = pack(share.records.unpacked(), share.ttl_ms, _now_ms())
        return Packed(commands, [commands.expired])


class BlockLayout:
    """One key for shares that came within a short while.

    A block lives as long as its last record: what is older in it is not read any more (`tapfan.blocks`). Shares whose
    last record is over have expired.
    """

    enough = _BLOCK_RECORDS
    most = MAX_RECORDS

    def __init__(self, linger_s: float) -> None:
        """`linger_s`: for how long the records may have waited already."""
        self.hold_s = max(0.0, _LATEST_S - linger_s)

    def pieces(self, shares: Sequence[Share]) -> Iterator[Sequence[Share]]:
        """All of them, together."""
        yield shares

    def packed(self, shares: Sequence[Share]) -> Packed:
        """One SET for all of the shares that live."""
        now_ms = _now_ms()
        expired = [0 if share.expiry_ms > now_ms else len(share) for share in shares]
        living = [share for share, gone in zip(shares, expired, strict=True) if not gone]
        if not living:
            return Packed(Commands(memoryview(b""), 0, sum(expired)), expired)
        ttl_ms = living[0].ttl_ms
        if len(living) == 1:
            key, value = blocks.pack_one(living[0].records, ttl_ms)
        else:
            key, value = blocks.pack([share.records.unpacked() for share in living], ttl_ms)
        until_ms = max(share.expiry_ms for share in living)
        data = b"*5\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n$4\r\nPXAT\r\n$13\r\n%013d\r\n"
        data %= len(key), key, len(value), value, until_ms
        return Packed(Commands(memoryview(data), 1, sum(expired)), expired)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def shaping(layout: Layout, linger_s: float) -> Shaping:
    """The layout of that name, where the listener lets records wait so long for others."""
    return RecordLayout() if layout == "record" else BlockLayout(linger_s)
