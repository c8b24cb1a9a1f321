"""A ring's packets as records, compared with a reading of each packet step by step."""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listener.capture.decode import TOGETHER_BYTES, decode
from listener.capture.ring import Block
from tapfan.endpoints import Endpoint
from tests.listener import frames, strategies
from tests.listener.frames import Frame, Record, decoded, ethernet, extension, ipv4, ipv6, laid_out, numbered, tcp

_ENDPOINT6 = Endpoint.parse("[2001:db8::2]:9000")
_EVERYWHERE = [Endpoint.parse(f"[::]:{port}") for port in strategies.PORTS]
_ANY_FRAMES = st.lists(st.one_of(strategies.whole_frames(), strategies.damaged_frames()), max_size=12).map(numbered)
_TELLING_BYTES = (0, 1, 6, 8, 17, 44, 0x45, 0x60, 0x7F, 0xFF)
_HEADER_BYTES = 72
_LARGEST = TOGETHER_BYTES // _HEADER_BYTES

_CONNECTIONS = {
    "IPv4": ethernet(ipv4(tcp())),
    "IPv4 with options": ethernet(ipv4(tcp(), options=bytes(12))),
    "IPv4 without a link header": frames.bare(ipv4(tcp())),
    "IPv4 behind a VLAN tag": ethernet(ipv4(tcp()), vlan=5),
    "IPv6": ethernet(ipv6(tcp())),
    "IPv6 with an extension header": ethernet(ipv6(tcp(), extensions=[extension(frames.DESTINATION)])),
}
each_kind = pytest.mark.parametrize("frame", _CONNECTIONS.values(), ids=_CONNECTIONS)


def _expected(made: Sequence[Frame], endpoints: Sequence[Endpoint] = _EVERYWHERE) -> tuple[list[Record], int]:
    """The records of these frames, and how many frames are malformed."""
    read = [(frame, frames.reference(frame)) for frame in made]
    wanted = [
        record
        for frame, record in read
        if record is not None and (not frames.is_extended(frame) or frames.sent_to(record, endpoints))
    ]
    return wanted, sum(record is None for _, record in read)


def _in_block(made: Sequence[Frame], endpoints: Sequence[Endpoint] = _EVERYWHERE) -> tuple[list[Record], int]:
    """The same, as decoded from a block."""
    found = decoded(*laid_out(made), endpoints)
    return frames.rows(found.records), found.undecoded


@given(_ANY_FRAMES)
def test_mixed_packets_give_the_records_that_a_reading_one_by_one_gives(made: list[Frame]) -> None:
    found, malformed = _in_block(made)
    expected, expected_malformed = _expected(made)
    assert Counter(found) == Counter(expected)
    assert malformed == expected_malformed


@given(_ANY_FRAMES)
def test_records_of_one_kind_of_packet_are_in_the_order_of_capture(made: list[Frame]) -> None:
    kinds = {frame.timestamp_ns: (frame.link, frame.network[:1], frames.tcp_at(frame)) for frame in made}
    found, _ = _in_block(made)
    for kind in set(kinds.values()):
        timestamps = [record.timestamp for record in found if kinds[record.timestamp] == kind]
        assert timestamps == sorted(timestamps)


@given(_ANY_FRAMES, st.lists(strategies.ENDPOINTS, max_size=4))
def test_behind_extension_headers_only_what_was_sent_to_an_endpoint_is_recorded(
    made: list[Frame], endpoints: list[Endpoint]
) -> None:
    found, malformed = _in_block(made, endpoints)
    expected, expected_malformed = _expected(made, endpoints)
    assert Counter(found) == Counter(expected)
    assert malformed == expected_malformed


@given(st.lists(_ANY_FRAMES, min_size=1, max_size=5))
def test_blocks_are_decoded_together_as_each_for_itself(parts: list[list[Frame]]) -> None:
    found = decode(*frames.in_blocks(parts), tuple(_EVERYWHERE))
    each = [_in_block(part) for part in parts]
    assert Counter(frames.rows(found.records)) == Counter(record for records, _ in each for record in records)
    assert found.undecoded == sum(undecoded for _, undecoded in each)


@pytest.mark.parametrize("sizes", [(1, 1), (3, 1, 4), (500, 1, 300), (0, 2, 0, 3)])
@pytest.mark.parametrize("uneven", [0, 8])
@each_kind
def test_blocks_of_one_kind_of_packet_are_decoded_in_order(frame: Frame, uneven: int, sizes: tuple[int, ...]) -> None:
    made = numbered([replace(frame, data=frame.data + bytes(uneven * (i % 3))) for i in range(sum(sizes))])
    ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
    parts = [made[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    found = decode(*frames.in_blocks(parts), tuple(_EVERYWHERE))
    assert (frames.rows(found.records), found.undecoded) == (_expected(made)[0], 0)


@pytest.mark.parametrize("count", [1, 2, 3, 500])
@each_kind
def test_evenly_spaced_packets_are_all_recorded_in_order(frame: Frame, count: int) -> None:
    made = numbered([replace(frame, kept=200)] * count)
    assert _in_block(made) == (_expected(made)[0], 0)
    assert len(_expected(made)[0]) == count


@pytest.mark.parametrize("count", [2, 3, 500])
@each_kind
def test_unevenly_spaced_packets_are_all_recorded_in_order(frame: Frame, count: int) -> None:
    made = numbered([replace(frame, data=frame.data + bytes(8 * (i * i % 7))) for i in range(count)])
    assert _in_block(made) == (_expected(made)[0], 0)
    assert len(_expected(made)[0]) == count


@pytest.mark.parametrize("count", [2, 3, 500])
@each_kind
def test_packets_of_several_interfaces_in_one_block_are_all_recorded(frame: Frame, count: int) -> None:
    made = [replace(frame, data=frame.data + bytes(8 * (i * i % 7)), interface=1 + i % 3) for i in range(count)]
    assert _in_block(numbered(made)) == (_expected(numbered(made))[0], 0)


@each_kind
def test_all_fields_of_evenly_spaced_packets_are_their_own(frame: Frame) -> None:
    extended = frames.is_extended(frame)
    made = []
    for i in range(40):
        segment = tcp(1024 + i, strategies.PORTS[i % 4], flags=i)
        if frame.protocol == frames.ETH_IPV4:
            packet = ipv4(segment, f"192.0.2.{i}", f"198.51.100.{i}", bytes(frames.tcp_at(frame) or 0)[20:])
        else:
            extensions = [extension(frames.DESTINATION)] if extended else []
            packet = ipv6(segment, f"2001:db8::{i:x}", f"2001:db8:1::{i:x}", extensions)
        link = frame.data[: frame.link]
        made.append(replace(frame, data=link + packet, gso_type=i % 2, gso_size=i))
    made = numbered(made)
    assert _in_block(made) == (_expected(made)[0], 0)
    assert len(set(_expected(made)[0])) == 40


def test_evenly_spaced_packets_of_several_kinds_are_all_recorded() -> None:
    cut = [replace(frame, data=frame.data + bytes(200), kept=180 + frame.link) for frame in _CONNECTIONS.values()]
    for first in cut:
        for second in cut:
            made = numbered([first, second, second, first])
            assert Counter(_in_block(made)[0]) == Counter(_expected(made)[0])
    made = numbered(cut)
    assert len({end - start for start, end in pairwise(_positions(made))}) == 1


@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999_999])
@pytest.mark.parametrize("seconds", [0, 1_700_000_000, 2**32 - 1])
def test_timestamps_keep_every_nanosecond(seconds: int, nanoseconds: int) -> None:
    timestamp = seconds * 10**9 + nanoseconds
    found, _ = _in_block([replace(ethernet(ipv4(tcp())), timestamp_ns=timestamp)])
    assert [record.timestamp for record in found] == [timestamp]


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
    ],
)
@each_kind
def test_a_merged_packet_counts_the_segments_of_its_payload(
    frame: Frame, payload: int, gso_type: int, gso_size: int, segments: int
) -> None:
    """The payload is what remains of the whole packet's length, of which only the headers are kept."""
    options = bytes(12)
    at = frame.link + (frames.tcp_at(frame) or 0)
    merged = frame.data[:at] + tcp(options=options, payload=bytes(payload))
    made = [replace(frame, data=merged, kept=at + 20, gso_type=gso_type, gso_size=gso_size), frame]
    found, _ = _in_block(made)
    assert [record.segments for record in found] == [segments, 1]


@pytest.mark.parametrize(
    ("packet", "recorded"),
    [
        (ipv4(tcp(), fragment=0x2000), 1),
        (ipv4(tcp(), fragment=0x2001), 0),
        (ipv4(tcp(), fragment=0x1F00), 0),
        (ipv4(tcp(), fragment=0x00FF), 0),
        (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0001)]), 1),
        (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0008)]), 0),
        (ipv6(tcp(), extensions=[extension(frames.FRAGMENT, fragment=0x0801)]), 0),
        (ipv6(tcp(), extensions=[extension(frames.AH), extension(frames.FRAGMENT, fragment=0x0009)]), 0),
    ],
)
def test_only_a_fragment_with_the_tcp_header_is_recorded(packet: bytes, recorded: int) -> None:
    found, malformed = _in_block([ethernet(packet)])
    assert (len(found), malformed) == (recorded, 1 - recorded)


@pytest.mark.parametrize(("offset", "recorded"), [(0x00, 0), (0x4F, 0), (0x50, 1), (0xF0, 1)])
@each_kind
def test_a_tcp_header_shorter_than_any_is_malformed(frame: Frame, offset: int, recorded: int) -> None:
    data = bytearray(frame.data)
    data[frame.link + (frames.tcp_at(frame) or 0) + 12] = offset
    found, malformed = _in_block(numbered([replace(frame, data=bytes(data)), frame]))
    assert (len(found), malformed) == (1 + recorded, 1 - recorded)


@pytest.mark.parametrize("count", range(1, frames.MOST_EXTENSIONS + 3))
def test_up_to_eight_extension_headers_are_walked(count: int) -> None:
    found, malformed = _in_block([ethernet(ipv6(tcp(), extensions=[extension(frames.DESTINATION)] * count))])
    recorded = int(count <= frames.MOST_EXTENSIONS)
    assert (len(found), malformed) == (recorded, 1 - recorded)


@each_kind
def test_headers_that_are_cut_off_are_malformed(frame: Frame) -> None:
    needed = frame.link + (frames.tcp_at(frame) or 0) + 14
    made = numbered([replace(frame, kept=kept) for kept in range(needed + 3)])
    assert _in_block(made) == (_expected(made[needed:])[0], needed)


@each_kind
def test_what_is_not_kept_is_never_read(frame: Frame) -> None:
    """Beyond a packet that was cut off, the buffer holds what would complete it."""
    needed = frame.link + (frames.tcp_at(frame) or 0) + 14
    buffer, block = laid_out([replace(frame, kept=needed - 1)])
    whole, _ = laid_out([frame])
    buffer[block.size :] = whole[block.size :]
    found = decoded(buffer, block, _EVERYWHERE)
    assert (len(found.records), found.undecoded) == (0, 1)


@pytest.mark.parametrize("distance", [0, 8, 80, 144, 2**32 - 8])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_payload_that_imitates_a_packet_is_no_packet(count: int, distance: int) -> None:
    made = numbered([_imitator(distance, repeated=1 + i % 3) for i in range(count)])
    expected, malformed = _expected(made)
    assert _in_block(made) == (expected, malformed)
    assert len(expected) == count


def test_an_imitation_in_place_of_a_packet_that_is_broken_is_no_packet() -> None:
    """Even where the number of places that look like a packet is the right one."""
    made = numbered([_imitator(80, repeated=1), *[ethernet(ipv4(tcp()))] * 3])
    buffer, block = laid_out(made)
    third = _positions(made)[2]
    buffer[third + 48] ^= 0xFF  # the family in its address
    found = decoded(buffer, block)
    assert frames.rows(found.records) == _expected(made[:2])[0]
    assert found.undecoded == 2


def test_a_block_that_does_not_begin_with_a_packet_has_none() -> None:
    made = [_imitator(80, repeated=1), *[ethernet(ipv4(tcp()))] * 2]
    buffer, block = laid_out(made)
    for start in _positions(made):
        buffer[start + 48] ^= 0xFF
    assert (len(decoded(buffer, block).records), decoded(buffer, block).undecoded) == (0, 3)


@pytest.mark.parametrize("wrong", [0, 8, 100, 2**31, 2**32 - 1])
def test_the_packets_before_a_broken_distance_are_recorded_and_the_others_are_malformed(wrong: int) -> None:
    made = numbered([ethernet(ipv4(tcp(payload=bytes(8 * (i % 3))))) for i in range(9)])
    buffer, block = laid_out(made)
    buffer[_positions(made)[4] :][:4] = np.frombuffer(struct.pack("<I", wrong), np.uint8)
    found = decoded(buffer, block)
    assert frames.rows(found.records) == _expected(made[:5])[0]
    assert found.undecoded == 4


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("spread", [0, 8])
@each_kind
def test_records_stay_when_the_buffer_is_used_for_the_next_block(frame: Frame, spread: int, count: int) -> None:
    made = numbered([replace(frame, data=frame.data + bytes(spread * (i * i % 5))) for i in range(count)])
    buffer, block = laid_out(made)
    records = decoded(buffer, block, _EVERYWHERE).records
    buffer[:] = 0xA5
    assert frames.rows(records) == _expected(made)[0]


@each_kind
def test_a_block_that_is_full_to_its_last_byte_is_decoded(frame: Frame) -> None:
    entry = len(_data([frame, frame])) - len(_data([frame]))
    made = [frame] * (TOGETHER_BYTES // entry)
    rest = TOGETHER_BYTES - len(_data(made))
    made[-1] = replace(frame, data=frame.data + bytes(rest))
    made = numbered(made)
    buffer, block = laid_out(made, noise=0xFF)
    assert block.size == TOGETHER_BYTES
    found = decoded(buffer, block, _EVERYWHERE)
    assert frames.rows(found.records) == _expected(made)[0]
    assert len(found.records) == len(made)


@pytest.mark.parametrize("count", [1, 2])
def test_extension_headers_that_claim_to_reach_beyond_the_buffer_are_malformed(count: int) -> None:
    claims = frames.DESTINATION, bytes([255]) + bytes(6)
    last = ethernet(ipv6(tcp(), extensions=[claims] * count))
    made = [ethernet(ipv6(tcp()))] * 6000
    made[-1] = replace(made[-1], data=made[-1].data + bytes(TOGETHER_BYTES - len(_data([*made, last]))))
    buffer, block = laid_out([*made, last])
    assert block.size == TOGETHER_BYTES
    found = decoded(buffer, block, _EVERYWHERE)
    assert (len(found.records), found.undecoded) == (6000, 1)


@pytest.mark.parametrize(("mac", "net"), [(0, 106), (81, 106), (107, 106), (92, 513), (92, 65_535), (65_535, 65_535)])
@pytest.mark.parametrize("count", [1, 4])
@each_kind
def test_link_headers_that_cannot_be_are_malformed(frame: Frame, count: int, mac: int, net: int) -> None:
    """Even where there is an IP packet at that place: it is where `net` says, if that is 513."""
    data = frame.data.ljust(513 - 106 + frame.link, b"\0") + frame.data[frame.link :]
    made = [replace(frame, data=data)] * count
    buffer, block = laid_out(made)
    for start in _positions(made):
        buffer[start + 24 : start + 28] = np.frombuffer(struct.pack("<HH", mac, net), np.uint8)
    found = decoded(buffer, block, _EVERYWHERE)
    assert (len(found.records), found.undecoded) == (0, count)


@pytest.mark.parametrize("block", [Block(0, 0), Block(0, 4096), Block(5, 0), Block(5, 71)])
def test_a_block_without_packets_has_no_records(block: Block) -> None:
    found = decoded(frames.filled(b""), block)
    assert (len(found.records), found.undecoded) == (0, 0)


@given(st.binary(max_size=600), st.integers(0, 20), st.integers(0, 255))
@example(b"", _LARGEST + 1, 0xFF)
def test_no_bytes_raise(data: bytes, packets: int, noise: int) -> None:
    buffer = frames.filled(data, noise)
    for block in (Block(packets, len(data)), Block(packets, TOGETHER_BYTES), Block(_LARGEST, TOGETHER_BYTES)):
        _assert_bounded(buffer, block)


@pytest.mark.parametrize("seed", range(5))
def test_no_random_block_raises(seed: int) -> None:
    """Bytes at random, and at random over a chain of sound packet headers."""
    random = np.random.default_rng(seed)
    buffer = frames.filled(b"")
    buffer[:] = random.integers(0, 256, len(buffer), np.uint8)
    _assert_bounded(buffer, Block(1000, TOGETHER_BYTES))
    buffer[48:68] = np.frombuffer(frames.address(), np.uint8)
    _assert_bounded(buffer, Block(1000, TOGETHER_BYTES))
    for at in range(0, TOGETHER_BYTES - 256, 256):
        step = 256 if seed % 2 else random.choice([256, 512])
        buffer[at : at + 4] = np.frombuffer(struct.pack("<I", step), np.uint8)
        buffer[at + 24 : at + 28] = np.frombuffer(struct.pack("<HH", 92, random.choice([106, 512])), np.uint8)
        buffer[at + 48 : at + 68] = np.frombuffer(frames.address(), np.uint8)
    _assert_bounded(buffer, Block(4096, TOGETHER_BYTES))


@given(
    st.lists(strategies.whole_frames(), min_size=1, max_size=8),
    st.lists(
        st.tuples(st.integers(0, 2**16), st.sampled_from((0, 1, 6, 8, 17, 44, 0x45, 0x60, 0x7F, 0xFF))), max_size=6
    ),
    st.one_of(st.none(), st.integers(0, 2**32)),
    st.one_of(st.none(), st.integers(0, TOGETHER_BYTES)),
)
def test_no_damage_to_a_block_raises(
    made: list[Frame], changes: list[tuple[int, int]], packets: int | None, size: int | None
) -> None:
    buffer, block = laid_out(made)
    for at, value in changes:
        buffer[at % block.size] = value
    _assert_bounded(buffer, Block(block.packets if packets is None else packets, block.size if size is None else size))


@given(st.lists(strategies.whole_frames(), min_size=1, max_size=8), st.data())
def test_damage_to_one_packet_leaves_the_others_alone(made: list[Frame], data: st.DataObject) -> None:
    """Damage to a packet itself and to its times and sizes, not to what the kernel says about where it is."""
    made = numbered(made)
    broken = data.draw(st.integers(0, len(made) - 1))
    start, end = [*_positions(made), len(_data(made))][broken : broken + 2]
    buffer, block = laid_out(made)
    for at in data.draw(st.lists(st.sampled_from([*range(4, 24), *range(72, end - start)]), min_size=1, max_size=5)):
        buffer[start + at] = data.draw(st.integers(0, 255))
    others = [frame for i, frame in enumerate(made) if i != broken]
    found = decoded(buffer, block, _EVERYWHERE)
    expected, malformed = _expected(others)
    assert malformed <= found.undecoded <= malformed + 1
    assert not Counter(expected) - Counter(frames.rows(found.records))
    assert len(found.records) <= len(expected) + 1


def _assert_bounded(buffer: frames.Buffer, block: Block) -> None:
    """Decodes without an error, and finds no more packets than there are."""
    found = decoded(buffer, block, _EVERYWHERE)
    frames.rows(found.records)
    assert 0 <= found.undecoded <= block.packets
    assert len(found.records) + found.undecoded <= min(block.packets, block.size // _HEADER_BYTES)


def _imitator(distance: int, repeated: int) -> Frame:
    """A frame whose payload holds headers of the ring, at places where such headers may be."""
    header = struct.pack("<I", distance).ljust(48, b"\0") + frames.address()
    payload = bytes(6) + (header + bytes(4)) * repeated  # 6: behind headers of 92 + 14 + 20 + 20 bytes
    return ethernet(ipv4(tcp(payload=payload)))


def _data(made: Sequence[Frame]) -> bytes:
    buffer, block = laid_out(made)
    return buffer[: block.size].tobytes()


def _positions(made: Sequence[Frame]) -> list[int]:
    """Where each packet begins in the block of these."""
    return [len(_data(made[:i])) if i else 0 for i in range(len(made))]
