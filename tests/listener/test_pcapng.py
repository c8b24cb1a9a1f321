"""pcapng files: what is read is what was written, whoever wrote it, and damage is told."""

import random
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.decode.protocols import LinkType
from listener.files.buffer import CHUNK_BYTES
from tapfan.skips import Skipped
from tests.listener.pcaps import (
    ENHANCED,
    IF_TSOFFSET,
    IF_TSRESOL,
    INTERFACE,
    NAMES,
    OBSOLETE,
    SECTION,
    SIMPLE,
    STATISTICS,
    Reading,
    block,
    by_link,
    damaged,
    enhanced,
    interface,
    obsolete,
    option,
    packets,
    pcap,
    read,
    section,
    simple,
)

ORDERS = ("<", ">")
MOST_BYTES = 1 << 24
ETHERNET, SLL2, USB = 1, 276, 220


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


def _agrees(tmp_path: Path, data: bytes, chunk_bytes: int = CHUNK_BYTES) -> Reading:
    """What is read, which must be what a plain reader reads."""
    path = tmp_path / "file.pcapng"
    path.write_bytes(data)
    result = read(path, chunk_bytes)
    plain = _Plainly(data).result
    assert result.by_link() == by_link(plain.packets)
    assert (result.ending(), result.skipped) == (plain.ending(), plain.skipped), result.error
    return result


@pytest.mark.parametrize("order", ORDERS)
def test_one_interface(tmp_path: Path, order: str) -> None:
    content = packets(60, 0, 1, 1514, 61)
    data = section(order, options=option(4, b"test", order)) + interface(order)
    data += b"".join(enhanced(packet.data, packet.timestamp_ns // 1000, order) for packet in content)
    assert _agrees(tmp_path, data).packets == [packet.seen() for packet in content]


@pytest.mark.parametrize("order", ORDERS)
def test_all_blocks(tmp_path: Path, order: str) -> None:
    data = section(order, (1, 2)) + interface(order) + block(NAMES, b"names", order) + interface(order, 101, 7)
    data += enhanced(b"enhanced", 1, order, 1, 3000) + obsolete(b"obsolete", 2, order, 1) + simple(b"simple", order)
    data += block(STATISTICS, bytes(4), order) + block(0x80000001, b"own", order) + enhanced(b"again", 3, order)
    result = _agrees(tmp_path, data)
    assert result.by_link() == {
        1: [(1, b"simple", 6, 2000), (1, b"again", 5, 3000)],
        101: [(101, b"enhanced", 3000, 1000), (101, b"obsolete", 8, 2000)],
    }


def test_interfaces_and_sections(tmp_path: Path) -> None:
    """Each section has its own byte order and interfaces, each interface its resolution and link type."""
    rng = random.Random(3)
    data = b""
    for order in (">", "<", ">"):
        data += section(order)
        for resolution, link in ((6, 1), (9, 1), (0x80 | 20, 113), (None, SLL2), (3, USB)):
            data += interface(order, link, resolution=resolution, offset_s=rng.choice((None, 5, -1000)))
        for _ in range(500):
            data += enhanced(rng.randbytes(rng.randrange(80)), rng.randrange(10**15, 10**16), order, rng.randrange(5))
    result = _agrees(tmp_path, data)
    assert set(result.by_link()) == {1, 113, SLL2}
    assert result.skipped["link_type"] > 0


@pytest.mark.parametrize("resolution", [*range(20), *(0x80 | bits for bits in range(64))])
def test_resolutions(tmp_path: Path, resolution: int) -> None:
    """Exact, whatever the ticks are."""
    rng = random.Random(resolution)
    ticks = [0, 1, 2**32, 2**63, 2**64 - 1, *(rng.randrange(2**64) >> rng.randrange(64) for _ in range(50))]
    data = section() + interface(resolution=resolution, offset_s=rng.randrange(-(10**9), 10**9))
    assert len(_agrees(tmp_path, data + b"".join(enhanced(b"", tick) for tick in ticks)).packets) == len(ticks)


@pytest.mark.parametrize("resolution", [20, 127, 0x80 | 64, 255])
def test_unsupported_resolution(tmp_path: Path, resolution: int) -> None:
    error = _agrees(tmp_path, section() + interface() + enhanced(b"1") + interface(resolution=resolution)).error
    assert error is not None
    assert "if_tsresol" in error


def test_simple_packets_have_the_last_timestamp(tmp_path: Path) -> None:
    data = section() + interface(snap_length=3) + interface(link=USB)
    data += simple(b"none yet"[:3], length=8) + enhanced(b"USB", 5, number=1) + simple(b"has", length=8)
    data += section() + interface() + simple(b"still has") + enhanced(b"", 7) + simple(b"another")
    result = _agrees(tmp_path, data)
    assert [seen[1:] for seen in result.packets] == [
        (b"has", 8, 5000),
        (b"still has", 9, 5000),
        (b"", 0, 7000),
        (b"another", 7, 7000),
    ]
    assert result.skipped == {"no_timestamp": 1, "link_type": 1}


def test_only_unsupported_link_types(tmp_path: Path) -> None:
    result = _agrees(tmp_path, section() + interface(link=USB) + enhanced(b"1") * 1000)
    assert result == Reading(skipped=Skipped({"link_type": 1000}))


@pytest.mark.parametrize("order", ORDERS)
def test_large_file_in_chunks(tmp_path: Path, order: str) -> None:
    rng = random.Random(1)
    data = [section(order), interface(order), interface(order, SLL2, resolution=9)]
    for _ in range(300):
        few = [(rng.randrange(100), rng.randrange(2)) for _ in range(rng.randint(1, 3))]
        for _ in range(rng.choice((1, 31, 32, 33, 300))):
            size, number = rng.choice(few)
            data.append(enhanced(rng.randbytes(size), rng.randrange(2**60), order, number))
        data.append(rng.choice((b"", simple(b"simple", order), block(NAMES, bytes(5000), order), interface(order))))
    data += [enhanced(rng.randbytes(3_000_000), 1, order), enhanced(b"small", 2, order)]
    result = _agrees(tmp_path, b"".join(data))
    assert len(result.packets) > 10_000


def test_large_blocks(tmp_path: Path) -> None:
    """One that is not looked into may have any size, and takes no memory."""
    large = block(NAMES, bytes(MOST_BYTES + 4))
    data = section() + interface() + enhanced(b"before") + large + enhanced(b"after")
    assert len(_agrees(tmp_path, data).packets) == 2
    start = len(data) - len(enhanced(b"after")) - len(large)
    for size in (start + 8, start + 2_000_000, start + len(large) - 3):
        assert _agrees(tmp_path, data[:size]).cut_at == start
    wrong = data[: start + len(large) - 4] + b"wrng"
    assert "its length" in str(_agrees(tmp_path, wrong).error)
    assert "16777232" in str(_agrees(tmp_path, data[:start] + block(ENHANCED, bytes(MOST_BYTES + 4))).error)


def test_cut_anywhere(tmp_path: Path) -> None:
    data = section() + interface() + enhanced(b"one") + block(NAMES, b"") + simple(b"two") + section(">")
    data += interface(">") + obsolete(b"three", 1, ">")
    for size in range(1, len(data) + 1):
        result = _agrees(tmp_path, data[:size])
        assert (result.error is None) == (size >= len(section()))
    assert len(result.packets) == 3


WHOLE = section() + interface() + enhanced(b"fine") * 40


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (struct.pack("<III", NAMES, 8, 8), "a block of 8 bytes"),
        (struct.pack("<III", NAMES, 0, 0), "a block of 0 bytes"),
        (struct.pack("<III", NAMES, 13, 13) + b"1", "a block of 13 bytes"),
        (block(NAMES, b"") + struct.pack("<IIHI", NAMES, 14, 0, 14), "a block of 14 bytes, which is no multiple of 4,"),
        (struct.pack("<III", NAMES, 12, 16), "ends with 16 as its length"),
        (struct.pack("<II", ENHANCED, 1 << 31), "a block of 2147483648 bytes"),
        (struct.pack("<III", ENHANCED, 12, 12), "in a block of 12"),
        (block(ENHANCED, struct.pack("<IIIII", 1, 0, 0, 0, 0)), "a packet of interface 1, while 1 are described,"),
        (block(ENHANCED, struct.pack("<IIIII", 0, 0, 0, 5, 5) + b"four"), "a packet of 5 bytes in a block of 36"),
        (simple(b"four", length=5), "a packet of 5 bytes in a block of 20"),
        (section() + simple(b"four"), "interface 0, while 0 are described,"),
        (block(SECTION, bytes(16)), "no byte order"),
        (section(version=(2, 0)), "version 2.0"),
        (block(INTERFACE, b"four"), "a block of 16 bytes, where its type has at least 20,"),
        (block(INTERFACE, struct.pack("<HHIHH", 1, 0, 0, 2, 100)), "option 2 of 100 bytes"),
        (block(INTERFACE, struct.pack("<HHI", 1, 0, 0) + option(IF_TSRESOL, b"12")), "of 2 bytes instead of 1"),
        (block(INTERFACE, struct.pack("<HHI", 1, 0, 0) + option(IF_TSOFFSET, b"12")), "of 2 bytes instead of 8"),
    ],
)
@pytest.mark.parametrize("after", [b"", enhanced(b"after")])
def test_damage(tmp_path: Path, bad: bytes, problem: str, after: bytes) -> None:
    """What is before it is given, and then it is told what is wrong, and where."""
    data = WHOLE + bad + after + bytes(40)
    error = str(_agrees(tmp_path, data).error)
    assert problem in error
    assert " at byte " in error


def test_what_is_behind_the_last_option(tmp_path: Path) -> None:
    body = struct.pack("<HHI", 1, 0, 0) + option(0, b"") + option(IF_TSRESOL, b"is none") + b"\xff" * 8
    assert len(_agrees(tmp_path, section() + block(INTERFACE, body) + enhanced(b"fine")).packets) == 1


def test_too_many_interfaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(section() + interface() * 65536 + enhanced(b"fine", number=65535) + interface())
    result = read(path)
    assert len(result.packets) == 1
    assert "more than 65536 interfaces" in str(result.error)


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    data = b""
    for _ in range(draw(st.integers(1, 2))):
        order = draw(st.sampled_from(ORDERS))
        data += section(order) + interface(order, snap_length=draw(st.sampled_from((0, 4))))
        blocks = (
            enhanced(b"first", 1, order),
            enhanced(b"second", 2**60 + 1, order, 1),
            obsolete(b"old", 3, order, 1),
            simple(b"simple", order),
            block(NAMES, b"names", order),
            interface(order, draw(st.sampled_from((1, SLL2, USB))), resolution=draw(st.sampled_from((0, 9, 0x90)))),
            enhanced(b"run", 4, order) * 40,
        )
        data += b"".join(draw(st.lists(st.sampled_from(blocks), max_size=12)))
    return data


@given(data=damaged(_files()), chunk_bytes=st.sampled_from((64, 1000, CHUNK_BYTES)))
def test_damaged_as_read_plainly(tmp_path_factory: pytest.TempPathFactory, data: bytes, chunk_bytes: int) -> None:
    if data.startswith(struct.pack("<I", SECTION)):
        _agrees(tmp_path_factory.getbasetemp(), data, chunk_bytes)


def test_written_by_scapy(tmp_path: Path) -> None:
    scapy = pytest.importorskip("scapy.utils")
    raw = pytest.importorskip("scapy.packet").Raw
    content = packets(60, 1514, 61)
    path = tmp_path / "file"
    with scapy.PcapNgWriter(str(path)) as writer:
        writer.linktype = 1
        for packet in content:
            data = raw(packet.data)
            data.time = Fraction(packet.timestamp_ns, 10**9)
            writer.write(data)
    assert [seen[1:3] for seen in read(path).packets] == [packet.seen()[1:3] for packet in content]


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs the command `{name}`, of Wireshark")
    return path


def test_converted_by_wireshark(tmp_path: Path) -> None:
    content = packets(60, 1514, 61)
    (tmp_path / "pcap").write_bytes(pcap(content))
    for form in ("pcapng", "pcap", "nsecpcap"):
        path = tmp_path / f"converted.{form}"
        subprocess.run([_tool("editcap"), "-F", form, str(tmp_path / "pcap"), str(path)], check=True, timeout=30)
        assert read(path).packets == [packet.seen() for packet in content]


def test_as_wireshark_reads_it(tmp_path: Path) -> None:
    rng = random.Random(9)
    data = b""
    for order in ORDERS:
        data += section(order)
        resolutions = {None: 10**6, 3: 10**3, 6: 10**6, 9: 10**9, 0x80 | 10: 2**10, 0x80 | 30: 2**30}
        for resolution in resolutions:
            data += interface(order, snap_length=65535, resolution=resolution, offset_s=rng.choice((None, 100)))
        for _ in range(30):
            number, second = rng.choice(list(enumerate(resolutions.values())))
            data += enhanced(rng.randbytes(60), rng.randrange(10**9 * second, 2 * 10**9 * second), order, number)
        data += obsolete(rng.randbytes(61), 10**15, order, 0)
    path = tmp_path / "file"
    path.write_bytes(data)
    fields = ("frame.time_epoch", "frame.cap_len", "frame.len")
    command = [_tool("tshark"), "-r", str(path), "-T", "fields", *(part for name in fields for part in ("-e", name))]
    lines = subprocess.run(command, check=True, timeout=50, capture_output=True, text=True).stdout.split("\n")[:-1]
    assert len(lines) == 62
    expected = [
        f"{timestamp_ns // 10**9}.{timestamp_ns % 10**9:09}\t{len(data)}\t{length}"
        for _, data, length, timestamp_ns in read(path).packets
    ]
    assert lines == expected
