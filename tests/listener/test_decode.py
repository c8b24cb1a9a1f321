"""A ring's packets as records, compared with a reading of each packet step by step.

`frames.decoded` also compares the ways to read blocks with each other.
"""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from listener.capture.blocks import BUFFER_BYTES, alike, copied
from listener.capture.ring import BLOCK_BYTES
from listener.decode.decoder import decode
from tapfan.skips import MALFORMED, Skipped, SkipReason
from tests.listener import frames, strategies
from tests.listener.frames import (
    Frame,
    Record,
    decoded,
    ethernet,
    extension,
    in_blocks,
    ipv4,
    ipv6,
    jumbo,
    laid_out,
    numbered,
    tcp,
)
from tests.listener.reading import reference
from tests.listener.tagged import tagged
from tests.listener.tunnels import Outer

_ANY_FRAMES = st.lists(st.one_of(strategies.whole_frames(), strategies.damaged_frames()), max_size=12).map(numbered)
_NOISE = st.integers(0, 255)
_BULK = 64  # packets of a kind that are read together

_CONNECTIONS = {
    "IPv4": ethernet(ipv4(tcp())),
    "IPv4 with options": ethernet(ipv4(tcp(), options=bytes(12))),
    "IPv4 without a link header": frames.bare(ipv4(tcp())),
    "IPv4 behind VLAN tags": tagged(ipv4(tcp()), [0x88A8, 0x8100]),
    "IPv4 behind a VLAN tag that the kernel took": ethernet(ipv4(tcp()), vlan=5),
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
    "IPv4 behind a VLAN tag that the kernel took",
    "IPv6",
    "IPv6 without a link header",
)
each_kind = pytest.mark.parametrize("frame", _CONNECTIONS.values(), ids=_CONNECTIONS)
alike_kinds = pytest.mark.parametrize("frame", [_CONNECTIONS[name] for name in _AT_ONCE], ids=_AT_ONCE)


def _tcp_at(frame: Frame) -> int:
    """Where the TCP header is in the data of one of _CONNECTIONS: it is the last."""
    return len(frame.data) - 20


def _records(made: Sequence[Frame], tunnels: bool = False) -> list[Record]:
    return [record for frame in made if isinstance(record := reference(frame, tunnels), Record)]


def _skipped(made: Sequence[Frame], tunnels: bool = False) -> Skipped:
    return Skipped(reason for frame in made if not isinstance(reason := reference(frame, tunnels), Record))


def _expected(made: Sequence[Frame], tunnels: bool = False) -> tuple[Counter[Record], Skipped]:
    """The records of these frames, in any order, and why the others have none."""
    return Counter(_records(made, tunnels)), _skipped(made, tunnels)


def _found(blocks: frames.Blocks, tunnels: bool = False) -> tuple[Counter[Record], Skipped]:
    """The same, as decoded."""
    found = decoded(blocks, tunnels)
    return Counter(frames.rows(found.records)), found.skipped


def _in_order(blocks: frames.Blocks) -> list[Record]:
    """The records, where no packet is skipped."""
    found = decoded(blocks)
    assert not found.skipped
    return frames.rows(found.records)


@given(_ANY_FRAMES, st.booleans(), _NOISE, _ANY_FRAMES)
@settings(max_examples=300)
def test_mixed_packets_give_the_records_that_a_reading_one_by_one_gives(
    made: list[Frame], tunnels: bool, noise: int, stale: list[Frame]
) -> None:
    assert _found(laid_out(made, noise, stale), tunnels) == _expected(made, tunnels)


@given(st.lists(_ANY_FRAMES, min_size=1, max_size=5), st.booleans(), _NOISE, _ANY_FRAMES)
def test_blocks_are_decoded_together_as_each_for_itself(
    parts: list[list[Frame]], tunnels: bool, noise: int, stale: list[Frame]
) -> None:
    """Also blocks without packets."""
    made = [frame for part in parts for frame in part]
    assert _found(in_blocks(parts, noise, stale), tunnels) == _expected(made, tunnels)


@given(_ANY_FRAMES, st.booleans())
def test_records_of_one_kind_of_packet_are_in_the_order_of_capture(made: list[Frame], bulk: bool) -> None:
    made = numbered(made * (_BULK if bulk else 1))
    places = {frame.timestamp_ns: (frame.protocol, frame.network) for frame in made}
    found = frames.rows(decode(copied(laid_out(made[:200]), np.zeros(BUFFER_BYTES, np.uint8))).records)
    for kind in set(places.values()):
        timestamps = [record.timestamp for record in found if places[record.timestamp] == kind]
        assert timestamps == sorted(timestamps)


@pytest.mark.parametrize("counts", [(_BULK,), (_BULK - 1, _BULK), (_BULK - 1, _BULK + 1, 1), (70, 3, 1, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_mixed_kinds_below_and_above_what_is_read_in_bulk(seed: int, counts: tuple[int, ...]) -> None:
    """Of each kind so many packets, more kinds than are read in bulk, and malformed ones among them."""
    random = np.random.default_rng(seed)
    kinds = [
        *_CONNECTIONS.values(),
        ethernet(ipv4(tcp(), protocol=frames.UDP)),
        ethernet(ipv6(tcp(), protocol=58)),
        ethernet(ipv4(tcp(), fragment=3)),
        ethernet(ipv4(tcp())[:33]),
        ethernet(ipv6(tcp())[:45]),
        ethernet(ipv4(tcp(), length=0)),
        ethernet(ipv4(tcp()), protocol=frames.ETH_ARP),
        ethernet(ipv4(tcp()), protocol=frames.ETH_IPV6),
        ethernet(b"\x44" + bytes(59), protocol=frames.ETH_IPV4),
    ]
    random.shuffle(kinds)  # type: ignore[arg-type]
    made = [kind for i, kind in enumerate(kinds) for _ in range(counts[i % len(counts)])]
    made = numbered([made[i] for i in random.permutation(len(made))])
    blocks = laid_out(made, noise=0x45, stale=made[:100])
    assert len(blocks) > 1
    assert _found(blocks) == _expected(made)


@pytest.mark.parametrize("sizes", [(1, 1), (3, 1, 4), (400, 1, 300), (0, 2, 0, 3), (300,) * 18, (0, 0), (5,) * 40])
@pytest.mark.parametrize("uneven", [0, 8])
@each_kind
def test_blocks_of_one_kind_of_packet_are_decoded_in_order(frame: Frame, uneven: int, sizes: tuple[int, ...]) -> None:
    made = numbered([replace(frame, data=frame.data + bytes(uneven * (i % 3))) for i in range(sum(sizes))])
    ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
    parts = [made[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    assert _in_order(in_blocks(parts)) == _records(made)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 0, 1, 3), (2, 4), (0, 2), (1, 2, 0)])
@pytest.mark.parametrize("uneven", [0, 8])
@pytest.mark.parametrize("name", _CONNECTIONS)
@alike_kinds
def test_what_blocks_have_left_of_an_earlier_lap_is_not_decoded(
    frame: Frame, name: str, uneven: int, sizes: tuple[int, ...]
) -> None:
    """Whether it is of the same kind or of another, and where its packets are in the places of those that are new."""
    made = numbered([frame] * sum(sizes))
    stale = numbered([replace(_CONNECTIONS[name], data=_CONNECTIONS[name].data + bytes(uneven))] * 9)
    stale = [replace(old, timestamp_ns=old.timestamp_ns - 10**12) for old in stale]
    parts = [made[sum(sizes[:at]) : sum(sizes[: at + 1])] for at in range(len(sizes))]
    assert _in_order(in_blocks(parts, stale=stale)) == _records(made)


@alike_kinds
def test_packets_that_are_alike_are_decoded_where_they_are(frame: Frame) -> None:
    """Whether their blocks are full or not. Otherwise, the tests that compare both ways would compare nothing."""
    for sizes in ((100,), (100, 100), (100, 3, 0, 1)):
        parts = [[replace(frame, kept=len(frame.data) - 6)] * size for size in sizes]
        records = alike(in_blocks(parts, noise=0xFF))
        assert records is not None
        assert len(records) == sum(sizes)


@pytest.mark.parametrize(
    "other",
    [
        ethernet(ipv4(tcp(), options=bytes(4))),
        ethernet(ipv4(tcp(), fragment=0x2000)),
        ethernet(ipv4(tcp(), fragment=0x0001)),
        ethernet(ipv4(tcp(), protocol=frames.UDP)),
        ethernet(ipv4(tcp(), length=39)),
        ethernet(ipv4(tcp(), length=0)),
        ethernet(ipv4(tcp(options=bytes(4)), length=40)),
        ethernet(b"\x46" + ipv4(tcp())[1:]),
        ethernet(b"\x44" + ipv4(tcp())[1:], protocol=frames.ETH_IPV4),
        ethernet(b"\x65" + ipv4(tcp())[1:], protocol=frames.ETH_IPV4),
        ethernet(ipv4(tcp()), protocol=frames.ETH_IPV6),
        ethernet(ipv4(tcp()), protocol=0x8100),
        frames.bare(ipv4(tcp(), options=bytes(12))),
        ethernet(ipv4(tcp())[:33] + bytes([0x40]) + ipv4(tcp())[34:]),
        replace(ethernet(ipv4(tcp())), kept=47),
        ethernet(ipv6(tcp())),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 59, 60, 119])
@pytest.mark.parametrize("count", [60, 2, 1])
def test_one_packet_that_is_other_is_read_for_itself(other: Frame, count: int, at: int) -> None:
    made = [ethernet(ipv4(tcp()))] * (2 * count)
    made[at % len(made)] = other
    made = numbered(made)
    blocks = in_blocks([made[:count], made[count:]])
    assert alike(blocks) is None
    assert _found(blocks) == _expected(made)


@pytest.mark.parametrize("count", [1, 2, 3, 400])
@each_kind
def test_evenly_spaced_packets_are_all_recorded_in_order(frame: Frame, count: int) -> None:
    made = numbered([replace(frame, kept=200)] * count)
    assert _in_order(laid_out(made)) == _records(made)
    assert len(_records(made)) == count


@pytest.mark.parametrize("count", [2, 3, 400])
@each_kind
def test_unevenly_spaced_packets_are_all_recorded_in_order(frame: Frame, count: int) -> None:
    made = numbered([replace(frame, data=frame.data + bytes(8 * (i * i % 7))) for i in range(count)])
    assert _in_order(laid_out(made)) == _records(made)
    assert len(_records(made)) == count


@pytest.mark.parametrize("count", [2, 3, 400])
@each_kind
def test_packets_of_several_interfaces_in_one_block_are_all_recorded(frame: Frame, count: int) -> None:
    made = [replace(frame, data=frame.data + bytes(8 * (i * i % 7)), interface=1 + i % 3) for i in range(count)]
    assert _in_order(laid_out(numbered(made))) == _records(numbered(made))


@each_kind
def test_all_fields_of_evenly_spaced_packets_are_their_own(frame: Frame) -> None:
    made = []
    for i in range(90):
        data = bytearray(frame.data)
        at = _tcp_at(frame)
        struct.pack_into(">HH", data, at, 1024 + i, strategies.PORTS[i % 4])
        data[at + 13] = i
        last = frame.data.index(
            frames.ipv4(b"")[12:16] if b"\x45\0" in data or b"\x48\0" in data else b"\x20\x01\x0d\xb8"
        )
        width = 4 if data[last] == 192 else 16
        data[last + width - 1] = data[last + 2 * width - 1] = i
        made.append(replace(frame, data=bytes(data), gso_type=i % 2, gso_size=i))
    made = numbered(made)
    assert _in_order(laid_out(made)) == _records(made)
    for name in ("timestamp", "source", "destination", "source_port", "flags"):
        assert len({getattr(record, name) for record in _records(made)}) == 90


def test_evenly_spaced_packets_of_several_kinds_are_all_recorded() -> None:
    cut = [replace(frame, data=frame.data + bytes(200), kept=180 + frame.link) for frame in _CONNECTIONS.values()]
    for first in cut:
        for second in cut:
            made = numbered([first, second, second, first])
            assert _found(laid_out(made)) == _expected(made)
    assert len({end - start for start, end in pairwise(frames.places(cut))}) == 1


@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999_999])
@pytest.mark.parametrize("seconds", [0, 1_700_000_000, 2**32 - 1])
@pytest.mark.parametrize("count", [1, 2])
def test_timestamps_keep_every_nanosecond(count: int, seconds: int, nanoseconds: int) -> None:
    timestamp = seconds * 10**9 + nanoseconds
    found = _in_order(laid_out([replace(ethernet(ipv4(tcp())), timestamp_ns=timestamp)] * count))
    assert [record.timestamp for record in found] == [timestamp] * count


@pytest.mark.parametrize(
    ("payload", "gso_type", "gso_size", "segments"),
    [
        (0, 0, 0, 1),
        (5000, 0, 1000, 1),
        (5000, frames.GSO_TCPV4, 1000, 5),
        (5001, frames.GSO_TCPV4, 1000, 6),
        (4999, frames.GSO_TCPV4 | frames.GSO_ECN, 1000, 5),
        (5000, frames.GSO_TCPV6, 0, 1),
        (0, frames.GSO_TCPV4, 1000, 1),
        (60_000, frames.GSO_TCPV4, 1, 60_000),
        (70_000, frames.GSO_TCPV4, 1, 65_535),
        (185_000, frames.GSO_TCPV6, 1400, 133),
    ],
)
@pytest.mark.parametrize(("plain", "merged"), [(0, 1), (1, 1), (0, 2), (70, 70), (1, 3)])
@each_kind
def test_a_merged_packet_counts_the_segments_of_its_payload(
    frame: Frame, plain: int, merged: int, payload: int, gso_type: int, gso_size: int, segments: int
) -> None:
    """The payload is what remains of the whole packet's length, of which only the headers are kept (BIG TCP, too)."""
    large = _with_payload(frame, payload)
    large = replace(large, kept=_tcp_at(frame) + 20, gso_type=gso_type, gso_size=gso_size)
    found = _in_order(laid_out(numbered([frame] * plain + [large] * merged)))
    assert [record.segments for record in sorted(found, key=_by_time)] == [1] * plain + [segments] * merged


def _by_time(record: Record) -> int:
    return record.timestamp


def _with_payload(frame: Frame, payload: int) -> Frame:
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


@pytest.mark.parametrize("payload", [0, 1, 70_000, 500_000])
@pytest.mark.parametrize("count", [1, 2, 70])
@pytest.mark.parametrize("made", [ipv4, ipv6])
def test_a_length_of_zero_stands_for_the_whole_packet(made: Outer, count: int, payload: int) -> None:
    """BIG TCP; for IPv6, where it is a jumbogram, also with its option."""
    segment = tcp(options=bytes(40), payload=bytes(payload))
    packets = [made(segment, length=0)]
    if made is ipv6:
        packets.append(ipv6(segment, extensions=[jumbo(8 + len(segment))], length=0))
    for packet in packets:
        sent = numbered([replace(ethernet(packet), kept=150, gso_type=1, gso_size=1000)] * count)
        found = _in_order(laid_out(sent))
        assert found == _records(sent)
        assert [record.segments for record in found] == [max(1, -(-payload // 1000))] * count


@pytest.mark.parametrize("count", [1, 2, 70])
@pytest.mark.parametrize("made", [ipv4, ipv6])
def test_with_a_length_of_zero_the_tcp_header_must_be_in_the_packet(made: Outer, count: int) -> None:
    sent = [ethernet(made(tcp(options=bytes(40))[:59], length=0))] * count
    assert _found(laid_out(sent)) == (Counter(), Skipped(bad_tcp=count))


_FRAGMENTS: list[tuple[bytes, SkipReason | None]] = [
    (ipv4(tcp(), fragment=0x2000), None),
    (ipv4(tcp(), fragment=0x8000), None),
    (ipv4(tcp(options=bytes(40))[:24], fragment=0x2000), None),
    (ipv4(tcp(options=bytes(40))[:24]), "bad_tcp"),
    (ipv4(tcp()[:8], fragment=0x2000) + b"\x50" * 18, "truncated"),
    (ipv4(tcp(), fragment=0x2001), "fragment"),
    (ipv4(tcp(), fragment=0x1F00), "fragment"),
    (ipv4(tcp(), fragment=0x00FF), "fragment"),
    (ipv4(tcp(), protocol=frames.UDP, fragment=0x00FF), "not_tcp"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT)]), None),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0006)]), None),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0001)]), None),
    (ipv6(tcp(options=bytes(40))[:24], extensions=[extension(frames.FRAGMENT, fragment=1)]), None),
    (ipv6(tcp(options=bytes(40))[:24], extensions=[extension(frames.FRAGMENT)]), "bad_tcp"),
    (ipv6(tcp()[:8], extensions=[extension(frames.FRAGMENT, fragment=1)]) + b"\x50" * 18, "truncated"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0008)]), "fragment"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0801)]), "fragment"),
    (ipv6(tcp(), extensions=[extension(frames.AH), extension(frames.FRAGMENT, fragment=0x0009)]), "fragment"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=8), extension(frames.ROUTING)]), "fragment"),
    (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=8)], protocol=frames.UDP), "not_tcp"),
]


@pytest.mark.parametrize(("packet", "reason"), _FRAGMENTS)
@pytest.mark.parametrize("count", [1, 2, 70])
def test_only_a_fragment_with_the_tcp_header_is_recorded(packet: bytes, reason: SkipReason | None, count: int) -> None:
    """Its flags must be in it; its options may go on in the second. What pads its frame is none of it."""
    found = decoded(laid_out([ethernet(packet)] * count))
    assert (len(found.records), found.skipped) == ((0, {reason: count}) if reason else (count, {}))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (ipv4(tcp(), length=65_535), None),
        (ipv4(tcp(payload=bytes(9)), length=40), None),
        (ipv4(tcp(), length=39), "bad_tcp"),
        (ipv4(tcp(), length=34), "bad_tcp"),
        (ipv4(tcp(), length=33), "truncated"),
        (ipv4(tcp(), length=20), "truncated"),
        (ipv4(tcp(), length=19), "bad_ip"),
        (ipv4(tcp(), length=1), "bad_ip"),
        (ipv4(tcp(), options=bytes(40), length=59), "bad_ip"),
        (b"\x44" + ipv4(tcp())[1:], "bad_ip"),
        (b"\x55" + ipv4(tcp())[1:], "bad_ip"),
        (b"\x46" + ipv4(tcp())[1:], "bad_tcp"),
        (b"\x4f" + ipv4(tcp())[1:], "bad_ip"),
        (ipv6(tcp(), length=65_535), None),
        (ipv6(tcp(payload=bytes(9)), length=20), None),
        (ipv6(tcp(), length=19), "bad_tcp"),
        (ipv6(tcp(), length=13), "truncated"),
        (ipv6(tcp(), length=1), "truncated"),
        (ipv6(tcp(), extensions=[extension(frames.ROUTING)], length=7), "truncated"),
        (ipv6(tcp(), extensions=[extension(frames.ROUTING)], length=8), "truncated"),
        (ipv6(tcp(), extensions=[extension(frames.ROUTING)], length=27), "bad_tcp"),
        (b"\x70" + ipv6(tcp())[1:], "bad_ip"),
        (b"\x45" + ipv6(tcp())[1:], "bad_ip"),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 70])
def test_what_a_packet_says_of_its_lengths_is_not_believed_where_it_cannot_be(
    packet: bytes, reason: SkipReason | None, count: int
) -> None:
    protocol = frames.ETH_IPV6 if b"\x20\x01\x0d\xb8" in packet else frames.ETH_IPV4
    found = decoded(laid_out([ethernet(packet, protocol)] * count))
    assert (len(found.records), found.skipped) == ((0, {reason: count}) if reason else (count, {}))


@pytest.mark.parametrize("padding", [b"", bytes(6), b"\xff" * 46, b"\x50" * 300])
@each_kind
def test_what_pads_a_frame_is_no_payload(frame: Frame, padding: bytes) -> None:
    made = numbered([replace(frame, data=frame.data + padding)] * 3)
    assert _in_order(laid_out(made)) == _records(numbered([frame] * 3))


@pytest.mark.parametrize(("offset", "recorded"), [(0x00, 0), (0x4F, 0), (0x50, 1), (0x5F, 1), (0x60, 0), (0xF0, 0)])
@each_kind
def test_a_tcp_header_must_have_twenty_bytes_and_end_in_its_packet(frame: Frame, offset: int, recorded: int) -> None:
    data = bytearray(frame.data)
    data[_tcp_at(frame) + 12] = offset
    made = numbered([replace(frame, data=bytes(data)), frame])
    found = decoded(laid_out(made))
    if offset >= 0x60 and not isinstance(reference(made[0]), str):
        recorded = 1  # a first fragment
    assert (len(found.records), found.skipped["bad_tcp"]) == (1 + recorded, 1 - recorded)


@pytest.mark.parametrize("kind", [frames.HOP_BY_HOP, frames.ROUTING, frames.AH, frames.DESTINATION, 135, 139, 140])
@pytest.mark.parametrize("more", [0, 1, 100])
@pytest.mark.parametrize("count", range(1, frames.MOST_EXTENSIONS + 3))
def test_up_to_eight_extension_headers_are_walked(count: int, more: int, kind: int) -> None:
    found = decoded(laid_out([ethernet(ipv6(tcp(), extensions=[extension(kind, more)] * count))]))
    recorded = int(count <= frames.MOST_EXTENSIONS)
    assert (len(found.records), found.skipped["bad_extension"]) == (recorded, 1 - recorded)


@pytest.mark.parametrize("following", [50, 58, 59, 200])
def test_what_is_behind_extension_headers_that_are_not_known_is_not_tcp(following: int) -> None:
    """Also in encrypted packets (ESP), whatever they look like."""
    packet = ipv6(tcp(), extensions=[extension(frames.DESTINATION)], protocol=following)
    assert decoded(laid_out([ethernet(packet)])).skipped == {"not_tcp": 1}


@pytest.mark.parametrize("count", range(6))
@pytest.mark.parametrize("packet", [ipv4(tcp()), ipv6(tcp())])
def test_up_to_three_tags_are_walked(packet: bytes, count: int) -> None:
    for bare in (False, True):
        found = decoded(laid_out([tagged(packet, [0x88A8, 0x8100, 0x9100, 0x8100, 0x8100][:count], bare)]))
        recorded = int(count <= 3)
        assert (len(found.records), found.skipped["not_tcp"]) == (recorded, 1 - recorded)


@each_kind
def test_headers_that_are_cut_off_are_malformed(frame: Frame) -> None:
    needed = _tcp_at(frame) + 14
    made = numbered([replace(frame, kept=kept) for kept in range(frame.link, needed + 3)])
    cut = needed - frame.link
    assert _found(laid_out(made)) == (Counter(_records(made[cut:])), Skipped(truncated=cut))
    for kept in range(frame.link, needed):
        made = [replace(frame, kept=kept)] * _BULK
        assert _found(laid_out(made, noise=0x50)) == (Counter(), Skipped(truncated=_BULK))


@each_kind
def test_what_is_not_kept_is_never_read(frame: Frame) -> None:
    """Beyond a packet that was cut off, the block holds what would complete it."""
    for kept in range(frame.link, _tcp_at(frame) + 14):
        blocks = laid_out([replace(frame, kept=kept)] * 2, stale=[frame] * 2)
        assert _found(blocks) == (Counter(), Skipped(truncated=2))


@pytest.mark.parametrize("distance", [0, 8, 80, 144, 2**32 - 8])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_payload_that_imitates_a_packet_is_no_packet(count: int, distance: int) -> None:
    made = numbered([_imitator(distance, repeated=1 + i % 3) for i in range(count)])
    assert _in_order(laid_out(made)) == _records(made)
    assert len(_records(made)) == count


_IN_OPTIONS = ethernet(ipv4(tcp(), options=bytes(2) + frames.address()))
_IN_EXTENSION = ethernet(
    ipv6(tcp(), extensions=[(frames.DESTINATION, b"\x03" + bytes(4) + frames.address(frames.ETH_IPV6) + bytes(8))])
)


@pytest.mark.parametrize("count", [1, 2, 70])
@pytest.mark.parametrize("imitator", [_IN_OPTIONS, _IN_EXTENSION, frames.bare(_IN_OPTIONS.network)])
@pytest.mark.parametrize("frame", [_CONNECTIONS["IPv4"], _CONNECTIONS["IPv6"]])
def test_headers_that_imitate_metadata_are_no_packet(frame: Frame, imitator: Frame, count: int) -> None:
    """What the filter keeps of a packet can hold a sockaddr_ll, at a place where that of a packet could be."""
    kept = len(imitator.data) - 6
    blocks = laid_out([replace(imitator, kept=kept)])
    longs = blocks.view("<u8")[0]
    assert np.count_nonzero(longs & 0xFFFFFFFF_0000FFFF == longs[96 // 8] & 0xFFFFFFFF_0000FFFF) == 2
    for mixed in ([imitator] * count, [frame, imitator] * count, [imitator, frame, frame] * count):
        made = numbered([replace(one, kept=len(one.data) - 6) for one in mixed])
        assert _found(in_blocks([made, made[:1], [], made])) == _expected([*made, *made[:1], *made])


@pytest.mark.parametrize(("first", "second"), product([0, 1], repeat=2))
def test_an_imitation_instead_of_a_packet_that_looks_otherwise_is_no_packet(first: int, second: int) -> None:
    """Even where the number of places that look like a packet is the right one: the second is of another interface."""
    made = numbered([_imitator(152, first), replace(_imitator(152, second), interface=9), ethernet(ipv4(tcp()))])
    assert _in_order(laid_out(made)) == _records(made)
    parts = [made[:1], made[1:], made[1:2], made[2:]]
    assert _found(in_blocks(parts)) == _expected([frame for part in parts for frame in part])


@pytest.mark.parametrize("link", range(30))
def test_link_headers_may_have_any_length(link: int) -> None:
    made = [Frame(bytes(link) + packet, link, ethernet(packet).protocol) for packet in (ipv4(tcp()), ipv6(tcp()))]
    for frame in made:
        merged = replace(_with_payload(frame, 3000), gso_type=1, gso_size=1000)
        for mixed in ([frame] * 3, [merged] * 3, [frame, merged] * 40, [merged] + [frame] * 3):
            assert _in_order(laid_out(numbered(mixed))) == sorted(_records(numbered(mixed)), key=_by_time)
    assert _found(laid_out(numbered(made * 40))) == _expected(numbered(made * 40))


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("spread", [0, 8])
@each_kind
def test_records_stay_when_blocks_and_buffer_are_used_again(frame: Frame, spread: int, count: int) -> None:
    made = numbered([replace(frame, data=frame.data + bytes(spread * (i * i % 5))) for i in range(count)])
    blocks, buffer = laid_out(made), np.zeros(BUFFER_BYTES, np.uint8)
    at_once, by_kind = alike(blocks), decode(copied(blocks, buffer)).records
    blocks[:] = buffer[:] = 0xA5
    for records in [by_kind] if at_once is None else [by_kind, at_once]:
        assert frames.rows(records) == _records(made)


@each_kind
def test_a_block_that_is_full_to_its_last_byte_is_decoded(frame: Frame) -> None:
    size = frames.entry_bytes(frame)
    count, rest = divmod(BLOCK_BYTES - frames.places([frame])[0], size)
    for extra in (0, rest):
        made = [frame] * count
        made[-1] = replace(frame, data=frame.data + bytes(extra))
        made = numbered(made)
        blocks = in_blocks([made] * 16, noise=0xFF)
        assert len(_in_order(blocks)) == 16 * count
        assert _found(blocks)[0] == Counter(_records(made) * 16)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_extension_headers_that_claim_to_reach_beyond_the_buffer_are_malformed(count: int) -> None:
    claims = frames.DESTINATION, bytes([255]) + bytes(6)
    last = ethernet(ipv6(tcp(), extensions=[claims] * count))
    most = (BLOCK_BYTES - 48 - frames.entry_bytes(last)) // frames.entry_bytes(_CONNECTIONS["IPv6"])
    made = [_CONNECTIONS["IPv6"]] * most + [last]
    found = decoded(in_blocks([made] * 16))
    assert (len(found.records), found.skipped) == (16 * most, {"truncated": 16})


@pytest.mark.parametrize("blocks", range(1, 4))
def test_blocks_without_packets_have_no_records(blocks: int) -> None:
    for stale in ([], [_CONNECTIONS["IPv4"]] * 5):
        assert _found(in_blocks([[]] * blocks, 0xFF, stale)) == (Counter(), Skipped())


@given(st.lists(st.binary(max_size=120), min_size=1, max_size=4), st.integers(1, 70), st.integers(0, 60), st.booleans())
@example([b"\x40" + bytes(80)], 2, 0, False)
@example([b"\x60" + bytes(5) + b"\x3c" + bytes(33) + b"\x3c\xff" + bytes(20)], 2, 0, False)
def test_no_bytes_whatsoever_raise_or_give_a_wrong_record(
    contents: list[bytes], count: int, link: int, tunnels: bool
) -> None:
    for protocol in (frames.ETH_IPV4, frames.ETH_IPV6, 0x8100):
        made = [Frame(content.rjust(link, b"\0"), min(link, len(content)), protocol) for content in contents] * count
        assert _found(laid_out(made, noise=0x55), tunnels) == _expected(made, tunnels)


@pytest.mark.parametrize("seed", range(4))
def test_no_random_bytes_raise_or_give_a_wrong_record(seed: int) -> None:
    """Each packet begins as one that could be."""
    random = np.random.default_rng(seed)
    starts = [ipv4(tcp()), ipv6(tcp()), ipv4(b"", protocol=47), ipv6(b"", protocol=60), ipv4(b"", protocol=17)]
    made = []
    for _ in range(3000):
        packet = bytearray(random.bytes(100))
        start = starts[random.integers(len(starts))]
        sound = int(random.integers(1, len(start) + 1))
        packet[:sound] = start[:sound]
        made.append(replace(ethernet(bytes(packet), ethernet(start).protocol), kept=int(random.integers(14, 115))))
    made = numbered(made)
    for tunnels in (False, True):
        found, skipped = _expected(made, tunnels)
        assert _found(laid_out(made), tunnels) == (found, skipped)
        assert set(skipped) >= {"not_tcp", *MALFORMED} - {"bad_extension"}


@given(st.lists(strategies.whole_frames(), min_size=2, max_size=8), st.data())
def test_damage_to_one_packet_leaves_the_others_alone(made: list[Frame], data: st.DataObject) -> None:
    made = numbered(made)
    broken = data.draw(st.integers(0, len(made) - 1))
    content = bytearray(made[broken].data)
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[at] = data.draw(st.integers(0, 255))
    made[broken] = replace(made[broken], data=bytes(content), kept=data.draw(st.integers(0, len(content) + 9)))
    if made[broken].kept < made[broken].link:
        made[broken] = replace(made[broken], kept=made[broken].link)
    assert _found(laid_out(made)) == _expected(made)
