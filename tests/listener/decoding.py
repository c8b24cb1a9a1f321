"""What a ring's blocks give, and what they should give; packets of each kind that gives a record."""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import strategies as st

from listener.capture.ring import Blocks
from tapfan.skips import Skipped
from tests.listener import frames, strategies
from tests.listener.frames import Frame, Record, decoded, ethernet, extension, ipv4, ipv6, numbered, tcp
from tests.listener.reading import reference
from tests.listener.tagged import tagged

ANY_FRAMES = st.lists(st.one_of(strategies.whole_frames(), strategies.damaged_frames()), max_size=12).map(numbered)
NOISE = st.integers(0, 255)
BULK = 64  # packets of a kind that are read together

SOURCE4, SOURCE6 = ipv4(b"")[12:16], ipv6(b"")[8:24]
CONNECTIONS = {
    "IPv4": ethernet(ipv4(tcp())),
    "IPv4 with options": ethernet(ipv4(tcp(), options=bytes(12))),
    "IPv4 without a link header": frames.bare(ipv4(tcp())),
    "IPv4 behind VLAN tags": tagged(ipv4(tcp()), [0x88A8, 0x8100]),
    "IPv4 with a longer link header": ethernet(ipv4(tcp()), vlan=5),
    "IPv4, first fragment": ethernet(ipv4(tcp(), fragment=0x2000)),
    "IPv6": ethernet(ipv6(tcp())),
    "IPv6 without a link header": frames.bare(ipv6(tcp())),
    "IPv6 behind a VLAN tag": tagged(ipv6(tcp()), [0x8100]),
    "IPv6 with an extension header": ethernet(ipv6(tcp(), extensions=[extension(frames.DESTINATION)])),
    "IPv6, atomic fragment": ethernet(ipv6(tcp(), extensions=[extension(frames.FRAGMENT)])),
    "IPv6, first fragment": ethernet(ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=1)])),
}
_AT_ONCE = (
    "IPv4",
    "IPv4 with options",
    "IPv4 without a link header",
    "IPv4 with a longer link header",
    "IPv6",
    "IPv6 without a link header",
)
each_kind = pytest.mark.parametrize("frame", CONNECTIONS.values(), ids=CONNECTIONS)
alike_kinds = pytest.mark.parametrize("frame", [CONNECTIONS[name] for name in _AT_ONCE], ids=_AT_ONCE)


def tcp_at(frame: Frame) -> int:
    """Where the TCP header is in the data of one of CONNECTIONS: it is the last."""
    return len(frame.data) - 20


def records_of(made: Sequence[Frame], tunnels: bool = False) -> list[Record]:
    return [record for frame in made if isinstance(record := reference(frame, tunnels), Record)]


def _skipped(made: Sequence[Frame], tunnels: bool = False) -> Skipped:
    return Skipped(reason for frame in made if not isinstance(reason := reference(frame, tunnels), Record))


def expected(made: Sequence[Frame], tunnels: bool = False) -> tuple[Counter[Record], Skipped]:
    """The records of these frames, in any order, and why the others have none."""
    return Counter(records_of(made, tunnels)), _skipped(made, tunnels)


def found_in(blocks: Blocks, tunnels: bool = False) -> tuple[Counter[Record], Skipped]:
    """The same, as decoded."""
    found = decoded(blocks, tunnels)
    return Counter(frames.rows(found.records)), found.skipped


def in_order(blocks: Blocks) -> list[Record]:
    """The records, where no packet is skipped."""
    found = decoded(blocks)
    assert not found.skipped
    return frames.rows(found.records)


def by_time(record: Record) -> int:
    return record.timestamp


def with_payload(frame: Frame, payload: int) -> Frame:
    """The frame with a TCP header with options, and so much payload; its IP header says so, or 0 (BIG TCP)."""
    data = bytearray(frame.data[:-20] + tcp(options=bytes(12), payload=bytes(payload)))
    ip = frame.data.index(b"\x60\0\0\0") if b"\x60\0\0\0" in frame.data else -1
    if ip >= 0:
        length, at = len(data) - ip - 40, ip + 4
    else:
        ip = max(frame.data.find(b"\x45\0"), frame.data.find(b"\x48\0"))
        length, at = len(data) - ip, ip + 2
    struct.pack_into(">H", data, at, length if length < 2**16 else 0)
    return replace(frame, data=bytes(data))
