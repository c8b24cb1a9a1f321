"""pcapng files read step by step, as the format is described, which is what the listener must read of them."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

from listener.decode.protocols import LinkType
from listener.files.buffer import CHUNK_BYTES
from tests.listener.pcaps import (
    ENHANCED,
    IF_TSOFFSET,
    IF_TSRESOL,
    INTERFACE,
    OBSOLETE,
    SECTION,
    SIMPLE,
    Reading,
    by_link,
    read,
)

ORDERS = ("<", ">")
MOST_BYTES = 1 << 24
SLL2, USB = 276, 220


class _DamageError(Exception):
    pass


class _CutError(Exception):
    pass


class _Plainly:
    """Reads step by step, as the format is described."""

    def __init__(self, data: bytes) -> None:
        self.result = Reading()
        self.data = data
        self.order = "<"
        self.interfaces: list[tuple[int, int, Fraction, int]] = []
        self.last_ns: int | None = None
        at = 0
        try:
            while at < len(data):
                at = self.step(at)
        except _CutError:
            self.result.cut_at = at
        except _DamageError as error:
            self.result.error = str(error)
        if self.result.cut_at == 0:  # such a file is not opened
            self.result = Reading(error="no section")

    def numbers(self, form: str, at: int) -> Any:
        return struct.unpack_from(f"{self.order}{form}", self.data, at)

    def need(self, at: int, size: int) -> None:
        if len(self.data) - at < size:
            raise _CutError

    def check(self, sound: bool) -> None:
        if not sound:
            raise _DamageError("unsound")

    def step(self, at: int) -> int:
        """Read a block, and say where the next is."""
        self.need(at, 8)
        is_section = self.numbers("I", at)[0] == SECTION
        if is_section:
            self.need(at, 28)
            orders = [order for order in ORDERS if struct.unpack_from(f"{order}I", self.data, at + 8)[0] == 0x1A2B3C4D]
            self.check(bool(orders))
            self.order = orders[0]
            self.interfaces = []
        kind: int
        size: int
        kind, size = self.numbers("II", at)
        self.check(size >= 12 and size % 4 == 0)
        self.check(size <= MOST_BYTES or kind not in (SECTION, INTERFACE, ENHANCED, SIMPLE, OBSOLETE))
        self.need(at, size)
        self.check(self.numbers("I", at + size - 4)[0] == size)
        if is_section:
            self.check(size >= 28 and self.numbers("HH", at + 12) in ((1, 0), (1, 2)))
        elif kind == INTERFACE:
            self.check(size >= 20)
            self.describe(at, at + size - 4)
        elif kind in (ENHANCED, OBSOLETE):
            self.check(size >= 32)
            number, high, low, kept, length = self.numbers("IIIII" if kind == ENHANCED else "HxxIIII", at + 8)
            self.check(number < len(self.interfaces) and kept <= size - 32)
            link, _, tick_s, offset_s = self.interfaces[number]
            self.last_ns = (int((high << 32 | low) * tick_s * 10**9 // 1) + offset_s * 10**9) % 2**64
            self.see(link, at + 28, kept, length)
        elif kind == SIMPLE:
            self.check(size >= 16 and bool(self.interfaces))
            length = self.numbers("I", at + 8)[0]
            link, snap_length, _, _ = self.interfaces[0]
            kept = min(length, snap_length or length)
            self.check(kept <= size - 16)
            self.see(link, at + 12, kept, length)
        return at + size

    def see(self, link: int, at: int, kept: int, length: int) -> None:
        skipped = self.result.skipped
        if link not in list(LinkType):
            skipped["link_type"] += 1
        elif self.last_ns is None:
            skipped["no_timestamp"] += 1
        else:
            self.result.packets.append((link, self.data[at : at + kept], length, self.last_ns))

    def describe(self, at: int, end: int) -> None:
        link, snap_length = self.numbers("HxxI", at + 8)
        tick_s, offset_s = Fraction(1, 10**6), 0
        at += 16
        while at + 4 <= end:
            code, size = self.numbers("HH", at)
            if code == 0:
                break
            self.check(at + 4 + size <= end)
            if code == IF_TSRESOL:
                self.check(size == 1)
                bits = self.data[at + 4] & 127
                base = 2 if self.data[at + 4] & 128 else 10
                self.check(bits <= (63 if base == 2 else 19))
                tick_s = Fraction(1, base**bits)
            if code == IF_TSOFFSET:
                self.check(size == 8)
                (offset_s,) = self.numbers("q", at + 4)
            at += 4 + (size + 3) // 4 * 4
        self.interfaces.append(({12: 101, 14: 101}.get(link, link), snap_length, tick_s, offset_s))


def read_as_plainly(tmp_path: Path, data: bytes, chunk_bytes: int = CHUNK_BYTES) -> Reading:
    """What is read, which must be what a plain reader reads."""
    path = tmp_path / "file.pcapng"
    path.write_bytes(data)
    result = read(path, chunk_bytes)
    plain = _Plainly(data).result
    assert result.by_link() == by_link(plain.packets)
    assert (result.ending(), result.skipped) == (plain.ending(), plain.skipped), result.error
    return result
