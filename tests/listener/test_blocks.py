"""Packets where a ring's blocks have them, and not where what is left of others, or imitates one, is."""

import struct
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.capture.blocks import BUFFER_BYTES, TOGETHER, alike, copied
from listener.capture.ring import BLOCK_BYTES
from listener.decode.decoder import decode
from tapfan.skips import Skipped
from tests.listener import frames
from tests.listener.decoding import (
    ANY_FRAMES,
    CONNECTIONS,
    NOISE,
    alike_kinds,
    by_time,
    each_kind,
    expected,
    found_in,
    in_order,
    records_of,
    with_payload,
)
from tests.listener.frames import (
    Frame,
    ethernet,
    in_blocks,
    ipv4,
    ipv6,
    laid_out,
    numbered,
    tcp,
)

_IN_OPTIONS = ethernet(ipv4(tcp(), options=bytes(2) + frames.address()))
_IN_EXTENSION = ethernet(
    ipv6(tcp(), extensions=[(frames.DESTINATION, b"\x03" + bytes(4) + frames.address(frames.ETH_IPV6) + bytes(8))])
)


@given(st.lists(ANY_FRAMES, min_size=1, max_size=5), st.booleans(), NOISE, ANY_FRAMES)
def test_blocks_are_decoded_together_as_each_for_itself(
    parts: list[list[Frame]], tunnels: bool, noise: int, stale: list[Frame]
) -> None:
    """Also blocks without packets."""
    made = [frame for part in parts for frame in part]
    assert found_in(in_blocks(parts, noise, stale), tunnels) == expected(made, tunnels)


@pytest.mark.parametrize("sizes", [(1, 1), (3, 1, 4), (300, 1, 200), (0, 2, 0, 3), (300,) * 8, (0, 0), (2,) * 70])
@pytest.mark.parametrize("uneven", [0, 8])
@each_kind
def test_blocks_of_one_kind_of_packet_are_decoded_in_order(frame: Frame, uneven: int, sizes: tuple[int, ...]) -> None:
    made = numbered([replace(frame, data=frame.data + bytes(uneven * (i % 3))) for i in range(sum(sizes))])
    ends = [sum(sizes[: at + 1]) for at in range(len(sizes))]
    parts = [made[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    assert in_order(in_blocks(parts)) == records_of(made)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 0, 1, 3), (2, 4), (0, 2), (1, 2, 0)])
@pytest.mark.parametrize("uneven", [0, 8])
@pytest.mark.parametrize("name", CONNECTIONS)
@alike_kinds
def test_what_blocks_have_left_of_an_earlier_lap_is_not_decoded(
    frame: Frame, name: str, uneven: int, sizes: tuple[int, ...]
) -> None:
    """Whether it is of the same kind or of another, and where its packets are in the places of those that are new."""
    made = numbered([frame] * sum(sizes))
    stale = numbered([replace(CONNECTIONS[name], data=CONNECTIONS[name].data + bytes(uneven))] * 9)
    stale = [replace(old, timestamp_ns=old.timestamp_ns - 10**12) for old in stale]
    parts = [made[sum(sizes[:at]) : sum(sizes[: at + 1])] for at in range(len(sizes))]
    assert in_order(in_blocks(parts, stale=stale)) == records_of(made)


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
        ethernet(ipv4(tcp())[:32] + bytes([0x40]) + ipv4(tcp())[33:]),
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
    assert found_in(blocks) == expected(made)


@pytest.mark.parametrize("count", [1, 2, 3, 400])
@each_kind
def test_evenly_spaced_packets_are_all_recorded_in_order(frame: Frame, count: int) -> None:
    made = numbered([replace(frame, kept=200)] * count)
    assert in_order(laid_out(made)) == records_of(made)
    assert len(records_of(made)) == count


@pytest.mark.parametrize("count", [2, 3, 400])
@each_kind
def test_unevenly_spaced_packets_are_all_recorded_in_order(frame: Frame, count: int) -> None:
    made = numbered([replace(frame, data=frame.data + bytes(8 * (i * i % 7))) for i in range(count)])
    assert in_order(laid_out(made)) == records_of(made)
    assert len(records_of(made)) == count


@pytest.mark.parametrize("count", [2, 3, 400])
@each_kind
def test_packets_of_several_interfaces_in_one_block_are_all_recorded(frame: Frame, count: int) -> None:
    made = [replace(frame, data=frame.data + bytes(8 * (i * i % 7)), interface=1 + i % 3) for i in range(count)]
    assert in_order(laid_out(numbered(made))) == records_of(numbered(made))


def test_evenly_spaced_packets_of_several_kinds_are_all_recorded() -> None:
    cut = [replace(frame, data=frame.data + bytes(200), kept=180 + frame.link) for frame in CONNECTIONS.values()]
    for first in cut:
        for second in cut:
            made = numbered([first, second, second, first])
            assert found_in(laid_out(made)) == expected(made)
    assert len({end - start for start, end in pairwise(frames.places(cut))}) == 1


@pytest.mark.parametrize("distance", [0, 8, 80, 144, 2**32 - 8])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_payload_that_imitates_a_packet_is_no_packet(count: int, distance: int) -> None:
    made = numbered([_imitator(distance, repeated=1 + i % 3) for i in range(count)])
    assert in_order(laid_out(made)) == records_of(made)
    assert len(records_of(made)) == count


@pytest.mark.parametrize("count", [1, 2, 70])
@pytest.mark.parametrize("imitator", [_IN_OPTIONS, _IN_EXTENSION, frames.bare(_IN_OPTIONS.network)])
@pytest.mark.parametrize("frame", [CONNECTIONS["IPv4"], CONNECTIONS["IPv6"]])
def test_headers_that_imitate_metadata_are_no_packet(frame: Frame, imitator: Frame, count: int) -> None:
    """What the filter keeps of a packet can hold a sockaddr_ll, at a place where that of a packet could be."""
    kept = len(imitator.data) - 6
    blocks = laid_out([replace(imitator, kept=kept)])
    longs = blocks.view("<u8")[0]
    assert np.count_nonzero(longs & 0xFFFFFFFF_0000FFFF == longs[96 // 8] & 0xFFFFFFFF_0000FFFF) == 2
    for mixed in ([imitator] * count, [frame, imitator] * count, [imitator, frame, frame] * count):
        made = numbered([replace(one, kept=len(one.data) - 6) for one in mixed])
        assert found_in(in_blocks([made, made[:1], [], made])) == expected([*made, *made[:1], *made])


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_an_imitation_instead_of_a_packet_that_looks_otherwise_is_no_packet(first: int, second: int) -> None:
    """Even where the number of places that look like a packet is the right one: the second is of another interface."""
    made = numbered([_imitator(152, first), replace(_imitator(152, second), interface=9), ethernet(ipv4(tcp()))])
    assert in_order(laid_out(made)) == records_of(made)
    parts = [made[:1], made[1:], made[1:2], made[2:]]
    assert found_in(in_blocks(parts)) == expected([frame for part in parts for frame in part])


@pytest.mark.parametrize("link", range(30))
def test_link_headers_may_have_any_length(link: int) -> None:
    made = [Frame(bytes(link) + packet, link, ethernet(packet).protocol) for packet in (ipv4(tcp()), ipv6(tcp()))]
    for frame in made:
        merged = replace(with_payload(frame, 3000), gso_type=1, gso_size=1000)
        for mixed in ([frame] * 3, [merged] * 3, [frame, merged] * 40, [merged] + [frame] * 3):
            assert in_order(laid_out(numbered(mixed))) == sorted(records_of(numbered(mixed)), key=by_time)
    assert found_in(laid_out(numbered(made * 40))) == expected(numbered(made * 40))


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("spread", [0, 8])
@each_kind
def test_records_stay_when_blocks_and_buffer_are_used_again(frame: Frame, spread: int, count: int) -> None:
    made = numbered([replace(frame, data=frame.data + bytes(spread * (i * i % 5))) for i in range(count)])
    blocks, buffer = laid_out(made), np.zeros(BUFFER_BYTES, np.uint8)
    at_once, by_kind = alike(blocks), decode(copied(blocks, buffer)).records
    blocks[:] = buffer[:] = 0xA5
    for records in [by_kind] if at_once is None else [by_kind, at_once]:
        assert frames.rows(records) == records_of(made)


@each_kind
def test_a_block_that_is_full_to_its_last_byte_is_decoded(frame: Frame) -> None:
    size = frames.entry_bytes(frame)
    count, rest = divmod(BLOCK_BYTES - frames.places([frame])[0], size)
    for extra in (0, rest):
        made = [frame] * count
        made[-1] = replace(frame, data=frame.data + bytes(extra))
        made = numbered(made)
        parts = [*[made[:1]] * (TOGETHER - 1), made]  # so that the buffer is full, too
        assert in_order(in_blocks(parts, noise=0xFF)) == records_of([frame for part in parts for frame in part])


@pytest.mark.parametrize("blocks", range(1, 4))
def test_blocks_without_packets_have_no_records(blocks: int) -> None:
    for stale in ([], [CONNECTIONS["IPv4"]] * 5):
        assert found_in(in_blocks([[]] * blocks, 0xFF, stale)) == (Counter(), Skipped())


def _imitator(distance: int, repeated: int) -> Frame:
    """A frame whose payload holds headers of the ring, at places where such headers may be."""
    header = struct.pack("<I", distance).ljust(48, b"\0") + frames.address()
    payload = bytes(6) + (header + bytes(6)) * repeated  # 6: behind headers of 92 + 14 + 20 + 20 bytes
    return ethernet(ipv4(tcp(payload=payload)))


@pytest.mark.parametrize("interfaces", [1, 3])
@each_kind
def test_packets_are_not_followed_one_by_one_because_of_stale_ones_or_of_several_interfaces(
    frame: Frame, interfaces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would be slow, however right: it is for blocks in which something imitates metadata."""
    made = [replace(frame, data=frame.data + bytes(8 * (i % 3)), interface=1 + i % interfaces) for i in range(20)]
    blocks = in_blocks([made, made[:3], []], stale=[*made, *made])
    monkeypatch.setattr("listener.capture.blocks._chain", lambda *_: pytest.fail("followed"))
    assert len(copied(blocks, np.zeros(BUFFER_BYTES, np.uint8))) == 23
