"""Capture files are recognised whatever they are called and wherever they come from; what cannot be read is told."""

import gzip
import os
import random
import re
import shutil
import subprocess
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.decode.frames import Frames
from listener.files.buffer import CHUNK_BYTES
from listener.files.errors import CaptureFileError
from listener.files.opening import open_capture
from listener.files.source import Descriptor, Gunzip
from tests.listener.pcaps import (
    NAMES,
    Packet,
    block,
    damaged,
    enhanced,
    interface,
    packets,
    pcap,
    read,
    section,
    seen,
)

CONTENT = packets(60, 1514, 0, 61, 60)
PCAP = pcap(CONTENT)
PCAPNG = section() + interface() + b"".join(enhanced(packet.data, packet.timestamp_ns // 1000) for packet in CONTENT)
BOTH = pytest.mark.parametrize("data", [PCAP, PCAPNG], ids=["pcap", "pcapng"])
SEEN = [packet.seen() for packet in CONTENT]


def _packed(data: bytes, members: int = 1) -> bytes:
    size = -(-len(data) // members)
    return b"".join(gzip.compress(data[at : at + size]) for at in range(0, len(data), size))


@BOTH
@pytest.mark.parametrize("name", ["a.pcap", "a.gz", "a"])
@pytest.mark.parametrize("members", [1, 2, 100])
def test_gzip(tmp_path: Path, data: bytes, name: str, members: int) -> None:
    path = tmp_path / name
    path.write_bytes(_packed(data, members))
    result = read(path)
    assert (result.packets, result.ending()) == (SEEN, (None, False))


@BOTH
def test_padded_gzip(tmp_path: Path, data: bytes) -> None:
    """Zeros may be between and after members."""
    half = len(data) // 2
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(data[:half]) + bytes(512) + gzip.compress(data[half:]) + bytes(200_000))
    assert (read(path).packets, read(path).ending()) == (SEEN, (None, False))


@BOTH
def test_cut_gzip(tmp_path: Path, data: bytes) -> None:
    """What can be unpacked is given."""
    packed = gzip.compress(data)
    path = tmp_path / "file"
    last = 0
    for size in range(2, len(packed)):
        path.write_bytes(packed[:size])
        result = read(path)
        assert result.packets == SEEN[: len(result.packets)]
        assert len(result.packets) >= last
        last = len(result.packets)
        assert (result.cut_at is None) == (result.error is not None)
    assert (last, result.cut_at) == (len(SEEN), len(data))


def test_little_room_to_unpack() -> None:
    """Nothing stays within zlib."""
    packed = gzip.compress(bytes(1000) + b"something else" + bytes(300))
    nothing = Descriptor("/dev/null")
    for size in range(20, len(packed)):
        source = Gunzip(nothing, packed[:size])
        room = memoryview(bytearray(1))
        unpacked = bytearray()
        while not source.ended:
            unpacked += room[: source.read_into(room)]
        assert source.cut
        assert unpacked == zlib.decompressobj(wbits=31).decompress(packed[:size])
    nothing.close()


@BOTH
@pytest.mark.parametrize("where", ["checksum", "middle", "behind"])
def test_damaged_gzip(tmp_path: Path, data: bytes, where: str) -> None:
    """What is before the damage is given."""
    packed = bytearray(gzip.compress(data, 0 if where == "checksum" else 6))
    if where == "checksum":
        packed[-8] ^= 1
    elif where == "middle":
        packed = packed[:-8] + b"\xff" * 100
    else:
        packed += b"no member"
    path = tmp_path / "file"
    path.write_bytes(packed)
    result = read(path)
    assert result.packets == SEEN
    assert "gzip data are damaged" in str(result.error)
    assert f"at byte {len(data)}" in str(result.error)


def test_large_gzip(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(2000)
    content = [Packet(noise[n % 500 : n % 1999]) for n in range(4000)]
    path = tmp_path / "file"
    path.write_bytes(_packed(pcap(content), 3))
    with open_capture(str(path)) as file:
        assert file.size == path.stat().st_size
        assert 0 < file.position <= file.size
        result = [packet for frames in file.frames() for packet in seen(frames)]
        assert file.position == file.size
    assert result == [packet.seen() for packet in content]
    path.write_bytes(path.read_bytes()[:-8] + b"damage")
    damaged_end = read(path)
    assert damaged_end.packets == result
    assert "gzip data are damaged" in str(damaged_end.error)
    path.write_bytes(gzip.compress(pcap(content), 0))
    assert read(path).chunks <= len(pcap(content)) // 2**20 + 2
    path.write_bytes(_packed(pcap(content), 20_000) + gzip.compress(b"") * 20_000)
    assert read(path).packets == result


def test_what_unpacks_to_much_takes_little_memory(tmp_path: Path) -> None:
    zeros = gzip.compress(bytes(1 << 24))
    header = section() + interface() + block(NAMES, bytes(1 << 26))[: -(1 << 26) - 4]
    path = tmp_path / "file"
    path.write_bytes(
        gzip.compress(header) + zeros * 4 + gzip.compress(block(NAMES, bytes(1 << 26))[-4:] + enhanced(b"it"))
    )
    tracemalloc.start()
    try:
        assert [data for _, data, _, _ in read(path).packets] == [b"it"]
        assert tracemalloc.get_traced_memory()[1] < 6 * CHUNK_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\xd4\xc3", "begins with the bytes d4 c3, which is no capture file"),
        (b"GET / HTTP/1.1", "begins with the bytes 47 45 54 20, which is no capture file"),
        (gzip.compress(b"something else", mtime=0), "pcap or pcapng, also in gzip, can be read"),
        (b"\x28\xb5\x2f\xfd1234", "is packed with zstd"),
        (b"\x1f\x8b\x08", "is cut before"),
        (b"\x1f\x8b\x09\x00 not gzip", "gzip data are damaged"),
        (PCAP[:23], "ends within the pcap file header"),
        (PCAPNG[:27], "ends within its first section header block"),
    ],
)
def test_no_capture_file(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    result = read(path)
    assert problem in str(result.error)
    assert not result.packets


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(CaptureFileError, match=r"gone: cannot be read: No such file or directory"):
        open_capture(str(tmp_path / "gone"))
    with pytest.raises(CaptureFileError, match=r"cannot be read: Is a directory"):
        open_capture(str(tmp_path))


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for data in (PCAP, PCAPNG, b"something else", gzip.compress(PCAP)[:-9]):
        (tmp_path / "file").write_bytes(data)
        read(tmp_path / "file")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def _gzipped(file: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(file, file.map(gzip.compress), damaged(file.map(gzip.compress)))


STARTS = st.sampled_from((b"", PCAP[:24], PCAP[:40], PCAPNG[:28], PCAPNG, b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x1f"))


@given(
    data=_gzipped(st.one_of(damaged(st.sampled_from((PCAP, PCAPNG))), st.builds(bytes.__add__, STARTS, st.binary())))
)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Nothing but a CaptureFileError, and an end."""
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    read(path)


@contextmanager
def _standard_input(descriptor: int) -> Iterator[None]:
    """Puts a descriptor in its place, and closes it."""
    before = os.dup(0)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


@pytest.fixture
def pipe() -> Generator[int, None, None]:
    """A pipe's end to write to; the other is the standard input."""
    reading, writing = os.pipe()
    with _standard_input(reading):
        yield writing


@BOTH
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100, 10_000])
def test_pipe_in_pieces(pipe: int, data: bytes, pack: Callable[[bytes], bytes], piece: int) -> None:
    written = pack(data)

    def feed() -> None:
        with open(pipe, "wb", buffering=0) as end:
            for at in range(0, len(written), piece):
                end.write(written[at : at + piece])

    feeder = threading.Thread(target=feed)
    feeder.start()
    result = read("-")
    feeder.join()
    assert (result.packets, result.ending()) == (SEEN, (None, False))


@BOTH
@pytest.mark.parametrize("packed", ["plain", "members", "flushed"])
def test_slow_pipe_gives_what_is_there(pipe: int, data: bytes, packed: str) -> None:
    """Each packet comes before anything after it is written."""
    head = 24 if data is PCAP else len(section() + interface())
    parts = [data[:head], *_parts(data, head)]
    if packed == "members":
        parts = [gzip.compress(part) for part in parts]
    if packed == "flushed":
        member = zlib.compressobj(wbits=31)
        parts = [member.compress(part) + member.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    with open(pipe, "wb", buffering=0) as end:
        end.write(parts[0])
        with open_capture("-") as file:
            assert file.size is None
            frames: Iterator[Frames] = file.frames()
            for part, expected in zip(parts[1:], SEEN, strict=True):
                end.write(part)
                assert list(seen(next(frames))) == [expected]
            end.close()
            assert list(frames) == []
            assert (file.truncated_at is not None) == (packed == "flushed")
            assert file.position == sum(map(len, parts))


def _parts(data: bytes, head: int) -> Iterator[bytes]:
    """One for each packet."""
    at = head
    for packet in CONTENT:
        size = 16 + len(packet.data) if data is PCAP else len(enhanced(packet.data))
        yield data[at : at + size]
        at += size


def test_fast_pipe_is_read_in_large_chunks(pipe: int) -> None:
    content = packets(*[1000] * 20_000)
    data = pcap(content)

    def feed() -> None:
        with open(pipe, "wb", buffering=0) as end:
            rest = memoryview(data)
            while rest:
                rest = rest[end.write(rest) :]

    feeder = threading.Thread(target=feed)
    feeder.start()
    result = read("-")
    feeder.join()
    assert result.packets == [packet.seen() for packet in content]
    assert result.chunks < len(data) / 100_000


def test_standard_input_that_does_not_wait(pipe: int) -> None:
    os.set_blocking(0, False)

    def feed() -> None:
        with open(pipe, "wb", buffering=0) as end:
            end.write(PCAP)

    feeder = threading.Timer(0.05, feed)
    feeder.start()
    assert read("-").packets == SEEN
    feeder.join()


def test_file_as_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(PCAP)
    with _standard_input(os.open(path, os.O_RDONLY)), open_capture("-") as file:
        assert file.size == len(PCAP)
        assert [packet for frames in file.frames() for packet in seen(frames)] == SEEN


def test_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "file"
    os.mkfifo(path)
    feeder = threading.Thread(target=path.write_bytes, args=(PCAP,))
    feeder.start()
    assert read(path).packets == SEEN
    feeder.join()


def _tcpdump() -> str:
    command = shutil.which("tcpdump")
    if command is None:
        pytest.skip("needs the command `tcpdump`")
    return command


@pytest.mark.parametrize("precision", ["micro", "nano"])
def test_written_by_tcpdump(tmp_path: Path, precision: str) -> None:
    """From a file in the other byte order."""
    path = tmp_path / "file"
    path.write_bytes(pcap(CONTENT, ">"))
    command = [_tcpdump(), "-r", str(path), f"--time-stamp-precision={precision}", "-w", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        with _standard_input(os.dup(process.stdout.fileno())):
            assert read("-").packets == SEEN


def test_cut_as_tcpdump_has_it(tmp_path: Path) -> None:
    for data in (PCAP[:-1], PCAPNG[:-1]):
        path = tmp_path / "file"
        path.write_bytes(data)
        printed = subprocess.run(
            [_tcpdump(), "-nn", "-tt", "-r", str(path)], capture_output=True, text=True, check=False, timeout=30
        )
        assert re.search(r"truncated (pcapng )?dump file", printed.stderr)
        result = read(path)
        assert result.packets == SEEN[:-1]
        assert result.cut_at is not None
        assert len(result.packets) == sum(not line.startswith("\t") for line in printed.stdout.splitlines())
