"""Capture files, built byte by byte, and what is read from one."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from listener.decode.frames import SPARE_BYTES, Frames
from listener.files.buffer import CHUNK_BYTES
from listener.files.errors import CaptureFileError
from listener.files.opening import CaptureFile, open_capture
from tapfan.skips import Skipped

NOW_NS = 1_700_000_000_123_456_000
SECTION, INTERFACE, OBSOLETE, SIMPLE, NAMES, STATISTICS, ENHANCED = 0x0A0D0D0A, 1, 2, 3, 4, 5, 6
IF_TSRESOL, IF_TSOFFSET = 9, 14

# Link type, bytes, length on the wire, timestamp in ns.
Seen = tuple[int, bytes, int, int]


@dataclass(frozen=True)
class Packet:
    """A packet to be written. `length`: on the wire, if it is another than that of the data."""

    data: bytes
    timestamp_ns: int = NOW_NS
    length: int | None = None

    def seen(self, link: int = 1) -> Seen:
        """What is to be read."""
        return link, self.data, len(self.data) if self.length is None else self.length, self.timestamp_ns


def packets(*sizes: int) -> list[Packet]:
    """Packets of these sizes, each with other contents and at another time."""
    return [Packet(bytes((n + k) % 256 for k in range(size)), NOW_NS + n * 1000) for n, size in enumerate(sizes)]


def pcap_header(order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1, version: tuple[int, int] = (2, 4)) -> bytes:
    """The file header."""
    return struct.pack(f"{order}IHHiIII", magic, *version, 0, 0, 262144, link)


def pcap(content: Sequence[Packet], order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1) -> bytes:
    """A whole pcap file."""
    unit_ns = 1 if magic == 0xA1B23C4D else 1000
    more = bytes(8) if magic == 0xA1B2CD34 else b""
    parts = [pcap_header(order, magic, link)]
    for packet in content:
        second, rest = divmod(packet.timestamp_ns, 1_000_000_000)
        length = packet.seen()[2]
        parts += [struct.pack(f"{order}IIII", second, rest // unit_ns, len(packet.data), length), more, packet.data]
    return b"".join(parts)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block; its body is padded."""
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def option(code: int, value: bytes, order: str = "<") -> bytes:
    """An option, padded."""
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<", version: tuple[int, int] = (1, 0), options: bytes = b"") -> bytes:
    """A section header block."""
    return block(SECTION, struct.pack(f"{order}IHHq", 0x1A2B3C4D, *version, -1) + options, order)


def interface(
    order: str = "<", link: int = 1, snap_length: int = 0, resolution: int | None = None, offset_s: int | None = None
) -> bytes:
    """An interface description block."""
    body = struct.pack(f"{order}HHI", link, 0, snap_length) + option(2, b"eth0", order)
    if resolution is not None:
        body += option(IF_TSRESOL, bytes((resolution,)), order)
    if offset_s is not None:
        body += option(IF_TSOFFSET, struct.pack(f"{order}q", offset_s), order)
    return block(INTERFACE, body + option(0, b"", order), order)


def enhanced(
    data: bytes, ticks: int = NOW_NS // 1000, order: str = "<", number: int = 0, length: int | None = None
) -> bytes:
    """An enhanced packet block with a comment."""
    wire = len(data) if length is None else length
    head = struct.pack(f"{order}IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), wire)
    return block(ENHANCED, head + data + bytes(-len(data) % 4) + option(1, b"comment", order), order)


def obsolete(data: bytes, ticks: int = NOW_NS // 1000, order: str = "<", number: int = 0) -> bytes:
    """A packet block."""
    head = struct.pack(f"{order}HHIIII", number, 77, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(OBSOLETE, head + data, order)


def simple(data: bytes, order: str = "<", length: int | None = None) -> bytes:
    """A simple packet block."""
    return block(SIMPLE, struct.pack(f"{order}I", len(data) if length is None else length) + data, order)


@dataclass
class Reading:
    """What was read from a file, and how that ended."""

    packets: list[Seen] = field(default_factory=list)
    chunks: int = 0
    cut_at: int | None = None
    error: str | None = None
    skipped: Skipped = field(default_factory=Skipped)

    def by_link(self) -> dict[int, list[Seen]]:
        """Each link type's packets in their order."""
        return by_link(self.packets)

    def ending(self) -> tuple[int | None, bool]:
        """Where the file is cut, and whether it is damaged."""
        return self.cut_at, self.error is not None


def by_link(content: Sequence[Seen]) -> dict[int, list[Seen]]:
    """Each link type's packets in their order."""
    return {link: [seen for seen in content if seen[0] == link] for link in {seen[0] for seen in content}}


def seen(frames: Frames) -> Iterator[Seen]:
    """The packets of a chunk, which must be as it is promised."""
    assert {frames.at.dtype, frames.kept.dtype, frames.length.dtype} == {np.dtype(np.int64)}
    assert frames.timestamp.dtype == np.uint64
    assert len(frames) == len(frames.kept) == len(frames.length) == len(frames.timestamp) > 0
    assert (frames.at + frames.kept).max() + SPARE_BYTES <= len(frames.buffer)
    for at, kept, length, timestamp_ns in zip(
        frames.at.tolist(), frames.kept.tolist(), frames.length.tolist(), frames.timestamp.tolist(), strict=True
    ):
        yield int(frames.link), frames.buffer[at : at + kept].tobytes(), length, timestamp_ns


def read(path: Path | str, chunk_bytes: int = CHUNK_BYTES) -> Reading:
    """Read all of a file, in chunks of about this size."""
    result = Reading()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("listener.files.buffer.CHUNK_BYTES", chunk_bytes)
        try:
            with open_capture(str(path)) as file:
                _read_all(file, result)
        except CaptureFileError as error:
            result.error = str(error)
            assert "\n" not in result.error
            assert str(path) in result.error or path == "-"
    return result


def _read_all(file: CaptureFile, result: Reading) -> None:
    try:
        for frames in file.frames():
            result.packets += seen(frames)
            result.chunks += 1
        assert file.size is None or file.position == file.size
    finally:
        result.cut_at = file.truncated_at
        result.skipped = file.skipped


@st.composite
def damaged(draw: st.DrawFn, file: st.SearchStrategy[bytes]) -> bytes:
    """A file of which something is changed, cut out or put in; or nothing."""
    data = bytearray(draw(file))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(("byte", "word", "words", "cut", "end")))
        if how == "byte":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "end":
            del data[at:]
        else:
            at = at // 4 * 4
            word = draw(
                st.sampled_from((0, 1, 4, 8, 12, 16, 28, 32, 1 << 16, (1 << 18) + 1, 1 << 24, 1 << 31, 2**32 - 1))
            )
            new = b"" if how == "cut" else struct.pack(draw(st.sampled_from("<>")) + "I", word)
            data[at : at + (0 if how == "words" else 4)] = new
    return bytes(data)
