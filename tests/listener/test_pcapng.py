"""pcapng files: what is read is what was written, whoever wrote it."""

import random
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import pytest

from tapfan.skips import Skipped
from tests.listener.pcaps import (
    ENHANCED,
    IF_TSRESOL,
    INTERFACE,
    NAMES,
    STATISTICS,
    Reading,
    block,
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
from tests.listener.plain_pcapng import MOST_BYTES, ORDERS, SLL2, USB, read_as_plainly


@pytest.mark.parametrize("order", ORDERS)
def test_one_interface(tmp_path: Path, order: str) -> None:
    content = packets(60, 0, 1, 1514, 61)
    data = section(order, options=option(4, b"test", order)) + interface(order)
    data += b"".join(enhanced(packet.data, packet.timestamp_ns // 1000, order) for packet in content)
    assert read_as_plainly(tmp_path, data).packets == [packet.seen() for packet in content]


@pytest.mark.parametrize("order", ORDERS)
def test_all_blocks(tmp_path: Path, order: str) -> None:
    data = section(order, (1, 2)) + interface(order) + block(NAMES, b"names", order) + interface(order, 101, 7)
    data += enhanced(b"enhanced", 1, order, 1, 3000) + obsolete(b"obsolete", 2, order, 1) + simple(b"simple", order)
    data += block(STATISTICS, bytes(4), order) + block(0x80000001, b"own", order) + enhanced(b"again", 3, order)
    result = read_as_plainly(tmp_path, data)
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
    result = read_as_plainly(tmp_path, data)
    assert set(result.by_link()) == {1, 113, SLL2}
    assert result.skipped["link_type"] > 0


@pytest.mark.parametrize("resolution", [*range(20), *(0x80 | bits for bits in range(64))])
def test_resolutions(tmp_path: Path, resolution: int) -> None:
    """Exact, whatever the ticks are."""
    rng = random.Random(resolution)
    ticks = [0, 1, 2**32, 2**63, 2**64 - 1, *(rng.randrange(2**64) >> rng.randrange(64) for _ in range(50))]
    data = section() + interface(resolution=resolution, offset_s=rng.randrange(-(10**9), 10**9))
    assert len(read_as_plainly(tmp_path, data + b"".join(enhanced(b"", tick) for tick in ticks)).packets) == len(ticks)


@pytest.mark.parametrize("resolution", [20, 127, 0x80 | 64, 255])
def test_unsupported_resolution(tmp_path: Path, resolution: int) -> None:
    error = read_as_plainly(tmp_path, section() + interface() + enhanced(b"1") + interface(resolution=resolution)).error
    assert error is not None
    assert "if_tsresol" in error


def test_simple_packets_have_the_last_timestamp(tmp_path: Path) -> None:
    data = section() + interface(snap_length=3) + interface(link=USB)
    data += simple(b"none yet"[:3], length=8) + enhanced(b"USB", 5, number=1) + simple(b"has", length=8)
    data += section() + interface() + simple(b"still has") + enhanced(b"", 7) + simple(b"another")
    result = read_as_plainly(tmp_path, data)
    assert [seen[1:] for seen in result.packets] == [
        (b"has", 8, 5000),
        (b"still has", 9, 5000),
        (b"", 0, 7000),
        (b"another", 7, 7000),
    ]
    assert result.skipped == {"no_timestamp": 1, "link_type": 1}


def test_only_unsupported_link_types(tmp_path: Path) -> None:
    result = read_as_plainly(tmp_path, section() + interface(link=USB) + enhanced(b"1") * 1000)
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
    result = read_as_plainly(tmp_path, b"".join(data))
    assert len(result.packets) > 10_000


def test_large_blocks(tmp_path: Path) -> None:
    """One that is not looked into may have any size, and takes no memory."""
    large = block(NAMES, bytes(MOST_BYTES + 4))
    data = section() + interface() + enhanced(b"before") + large + enhanced(b"after")
    assert len(read_as_plainly(tmp_path, data).packets) == 2
    start = len(data) - len(enhanced(b"after")) - len(large)
    for size in (start + 8, start + 2_000_000, start + len(large) - 3):
        assert read_as_plainly(tmp_path, data[:size]).cut_at == start
    wrong = data[: start + len(large) - 4] + b"wrng"
    assert "its length" in str(read_as_plainly(tmp_path, wrong).error)
    assert "16777232" in str(read_as_plainly(tmp_path, data[:start] + block(ENHANCED, bytes(MOST_BYTES + 4))).error)


def test_what_is_behind_the_last_option(tmp_path: Path) -> None:
    body = struct.pack("<HHI", 1, 0, 0) + option(0, b"") + option(IF_TSRESOL, b"is none") + b"\xff" * 8
    assert len(read_as_plainly(tmp_path, section() + block(INTERFACE, body) + enhanced(b"fine")).packets) == 1


def test_too_many_interfaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(section() + interface() * 65536 + enhanced(b"fine", number=65535) + interface())
    result = read(path)
    assert len(result.packets) == 1
    assert "more than 65536 interfaces" in str(result.error)


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
