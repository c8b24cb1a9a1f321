"""pcap files: what is read is what was written, whoever wrote it, and damage is told."""

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.decode.protocols import LinkType
from listener.files.buffer import CHUNK_BYTES
from tests.listener.pcaps import NOW_NS, Packet, Reading, damaged, packets, pcap, pcap_header, read

MICRO, NANO, KUZNETZOV = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
ORDERS = ("<", ">")
MOST_BYTES = 262144


def plainly(data: bytes) -> Reading:
    """Read step by step, as the format is described."""
    result = Reading()
    magics = [(order, struct.pack(f"{order}I", magic)) for order in ORDERS for magic in (MICRO, NANO, KUZNETZOV)]
    order = next((order for order, magic in magics if data.startswith(magic)), "")
    if not order or len(data) < 24:
        result.error = "no header"
        return result
    magic, major, minor, link = struct.unpack_from(f"{order}IHH12xI", data)
    link = {12: 101, 14: 101}.get(link & 0xFFFF, link & 0xFFFF)
    if (major, minor) != (2, 4) or link not in list(LinkType):
        result.error = "unsupported"
        return result
    head = 24 if magic == KUZNETZOV else 16
    at = 24
    while at < len(data):
        if len(data) - at < head:
            result.cut_at = at
            return result
        second, fraction, kept, length = struct.unpack_from(f"{order}IIII", data, at)
        if kept > MOST_BYTES:
            result.error = "too long"
            return result
        if len(data) - at < head + kept:
            result.cut_at = at
            return result
        timestamp_ns = second * 1_000_000_000 + fraction * (1 if magic == NANO else 1000)
        result.packets.append((link, data[at + head : at + head + kept], length, timestamp_ns))
        at += head + kept
    return result


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("magic", [MICRO, NANO, KUZNETZOV])
def test_all_forms(tmp_path: Path, order: str, magic: int) -> None:
    content = [*packets(60, 0, 1, 1514, 61), Packet(b"cut", NOW_NS, 9000)]
    if magic == NANO:
        content.append(Packet(b"ns", NOW_NS + 789))
    result = read(_written(tmp_path / "file", pcap(content, order, magic)))
    assert result == Reading([packet.seen() for packet in content], chunks=1)


def test_latest_timestamp(tmp_path: Path) -> None:
    packet = Packet(b"2106", (2**32 - 1) * 1_000_000_000 + 999_999_999)
    assert read(_written(tmp_path / "file", pcap([packet], magic=NANO))).packets == [packet.seen()]


@pytest.mark.parametrize(
    ("number", "link"),
    [*((link, link) for link in LinkType), (12, 101), (14, 101), (0x1401_0001, 1), (0xFFFF_0065, 101)],
)
def test_link_types(tmp_path: Path, number: int, link: int) -> None:
    assert read(_written(tmp_path / "file", pcap(packets(40), link=number))).packets == [packets(40)[0].seen(link)]


@pytest.mark.parametrize("number", [105, 127, 147, 195, 228 - 1, 65535])
def test_unsupported_link_type(tmp_path: Path, number: int) -> None:
    error = read(_written(tmp_path / "file", pcap(packets(40), link=number))).error
    assert error is not None
    assert f"link type {number};" in error
    assert "1 (ETHERNET)" in error


@pytest.mark.parametrize("version", [(2, 2), (2, 5), (3, 0), (543, 0)])
def test_unsupported_version(tmp_path: Path, version: tuple[int, int]) -> None:
    error = read(_written(tmp_path / "file", pcap_header(version=version))).error
    assert error is not None
    assert f"version {version[0]}.{version[1]}; only 2.4" in error


def test_no_packets(tmp_path: Path) -> None:
    assert read(_written(tmp_path / "file", pcap([]))) == Reading()


def _sizes(seed: int) -> list[int]:
    """Of packets: runs of one length, of a few, and of any."""
    rng = random.Random(seed)
    sizes: list[int] = []
    while len(sizes) < 40_000:
        few = rng.sample(range(40, 100), rng.randint(1, 3))
        sizes += [rng.choice(few) for _ in range(rng.choice((1, 20, 31, 32, 33, 300, 5000)))]
        sizes += [rng.randrange(2000) for _ in range(rng.choice((0, 1, 100)))]
    return [*sizes, MOST_BYTES, 60, MOST_BYTES, MOST_BYTES]


@pytest.mark.parametrize("order", ORDERS)
def test_large_file_in_chunks(tmp_path: Path, order: str) -> None:
    noise = random.Random(5).randbytes(2 * MOST_BYTES)
    content = [Packet(noise[n : n + size], NOW_NS + n * 1000) for n, size in enumerate(_sizes(1))]
    path = _written(tmp_path / "file", pcap(content, order))
    result = read(path, 1 << 20)
    assert result.packets == [packet.seen() for packet in content]
    assert 2 < result.chunks <= path.stat().st_size / 2**20 * 1.5 + 2


def test_cut_anywhere(tmp_path: Path) -> None:
    data = pcap(packets(60, 0, 5, 60))
    for size in range(24, len(data) + 1):
        result = read(_written(tmp_path / "file", data[:size]))
        assert result.error is None
        assert (result.packets, result.cut_at) == (plainly(data[:size]).packets, plainly(data[:size]).cut_at)
    assert result.cut_at is None
    for size in range(24):
        assert read(_written(tmp_path / "file", data[:size])).error is not None


@pytest.mark.parametrize("before", [0, 1, 31, 32, 5000, 40_000])
@pytest.mark.parametrize("length", [MOST_BYTES + 1, 2**31, 2**32 - 1])
def test_impossible_length(tmp_path: Path, before: int, length: int) -> None:
    content = packets(*[60] * before)
    data = pcap(content) + struct.pack("<IIII", 1, 2, length, length)
    result = read(_written(tmp_path / "file", data + bytes(300_000)))
    assert result.packets == [packet.seen() for packet in content]
    assert result.error is not None
    assert f"{length} bytes" in result.error
    assert f"at byte {len(data) - 16}" in result.error


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    sizes = draw(st.lists(st.sampled_from((0, 1, 60, 60, 60, 61)), max_size=20))
    run = draw(st.sampled_from((0, 0, 40, 400)))
    magic = draw(st.sampled_from((MICRO, NANO, KUZNETZOV)))
    return pcap(packets(*[60] * run, *sizes), draw(st.sampled_from(ORDERS)), magic)


@given(data=damaged(_files()), chunk_bytes=st.sampled_from((64, 1000, CHUNK_BYTES)))
def test_damaged_as_read_plainly(tmp_path_factory: pytest.TempPathFactory, data: bytes, chunk_bytes: int) -> None:
    result = read(_written(tmp_path_factory.getbasetemp() / "damaged.pcap", data), chunk_bytes)
    plain = plainly(data)
    assert (result.packets, result.ending()) == (plain.packets, plain.ending())


def test_written_by_scapy(tmp_path: Path) -> None:
    scapy = pytest.importorskip("scapy.utils")
    content = packets(60, 1514, 61)
    for nano in (False, True):
        for order in ORDERS:
            path = tmp_path / f"{nano}{order}"
            with scapy.RawPcapWriter(str(path), linktype=1, endianness=order, nano=nano) as writer:
                writer.write_header(None)
                for packet in content:
                    second, rest = divmod(packet.timestamp_ns, 1_000_000_000)
                    writer.write_packet(packet.data, sec=second, usec=rest // (1 if nano else 1000))
            assert read(path).packets == [packet.seen() for packet in content]
