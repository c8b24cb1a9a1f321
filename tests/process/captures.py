"""Capture files for the listener to read, and what it says of them at the end."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.listener import frames, pcaps
from tests.listener.pcaps import Packet
from tests.process.running import READING, Programs

SOURCES = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
NANOSECONDS = 0xA1B23C4D  # a pcap file's magic number
_SPACING_NS = 1_000
_AGE_NS = 10 * 10**9  # of the first packet


def packets(port: int, count: int, first_ns: int | None = None) -> list[Packet]:
    """Packets to 127.0.0.1:port, a microsecond apart; the first ones ten seconds ago unless told otherwise."""
    begin_ns = time.time_ns() - _AGE_NS if first_ns is None else first_ns
    made = []
    for number in range(count):
        segment = frames.tcp(40_000 + number % 1000, port, frames.ACK)
        packet = frames.ipv4(segment, SOURCES[number % len(SOURCES)], "127.0.0.1")
        made.append(Packet(frames.ethernet(packet).data, begin_ns + number * _SPACING_NS))
    return made


def others(port: int, at_ns: int) -> dict[str, list[Packet]]:
    """Packets that give no record, by the reason."""
    segment = frames.tcp(40_000, port)
    inside = {
        "other_endpoint": [frames.ipv4(frames.tcp(40_000, port + 1), destination="127.0.0.1")] * 3,
        "not_tcp": [frames.ipv4(segment, destination="127.0.0.1", protocol=frames.UDP)] * 2,
        "fragment": [frames.ipv4(segment, destination="127.0.0.1", fragment=100)] * 4,
        "truncated": [frames.ipv4(segment, destination="127.0.0.1")[:30]],
        "bad_tcp": [frames.ipv4(segment[:12] + b"\0" + segment[13:], destination="127.0.0.1")],
    }
    return {reason: [Packet(frames.ethernet(packet).data, at_ns) for packet in some] for reason, some in inside.items()}


def pcapng(content: Sequence[Packet], order: str = "<") -> bytes:
    """A pcapng file with timestamps in nanoseconds."""
    blocks = [pcaps.enhanced(packet.data, packet.timestamp_ns, order) for packet in content]
    return b"".join([pcaps.section(order), pcaps.interface(order, resolution=9), *blocks])


def large(path: Path, port: int, count: int) -> Path:
    """A pcap file of many packets to 127.0.0.1:port, like those of `packets` and all at different times."""
    form = np.dtype([("head", "<u4", 4), ("frame", "u1", 54)])
    made = np.zeros(count, form)
    begin_ns = time.time_ns() - _AGE_NS
    at_ns = begin_ns + _SPACING_NS * np.arange(count)
    made["head"][:, 0], made["head"][:, 1] = at_ns // 10**9, at_ns % 10**9
    made["head"][:, 2:] = 54
    made["frame"] = np.frombuffer(packets(port, 1)[0].data, np.uint8)
    made["frame"][:, 29] = np.arange(count) % len(SOURCES) + int(SOURCES[0].rpartition(".")[2])
    made["frame"][:, 34:36] = np.array(40_000 + np.arange(count) % 1000, ">u2").view(np.uint8).reshape(-1, 2)
    path.write_bytes(pcaps.pcap_header(magic=NANOSECONDS) + made.tobytes())
    return path


def last_line(programs: Programs, event: str = "file_read") -> dict[str, str]:
    """The fields of the last line with this event, of the listener that read a file."""
    line = next(line for line in reversed(programs.log(READING).splitlines()) if f"event={event} " in line)
    return dict(field.split("=", 1) for field in shlex.split(line))
