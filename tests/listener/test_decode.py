"""A ring's packets as records, compared with a reading of each packet step by step.

`frames.decoded` also compares the ways to read blocks with each other.
"""

import struct
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from listener.capture.blocks import BUFFER_BYTES, copied
from listener.decode.decoder import decode
from tapfan.skips import MALFORMED, Skipped
from tests.listener import frames, strategies
from tests.listener.decoding import (
    ANY_FRAMES,
    BULK,
    CONNECTIONS,
    NOISE,
    SOURCE4,
    SOURCE6,
    by_time,
    each_kind,
    expected,
    found_in,
    in_order,
    records_of,
    tcp_at,
    with_payload,
)
from tests.listener.frames import (
    Frame,
    ethernet,
    ipv4,
    ipv6,
    jumbo,
    laid_out,
    numbered,
    tcp,
)
from tests.listener.tunnels import Outer


@given(ANY_FRAMES, st.booleans(), NOISE, ANY_FRAMES)
@settings(max_examples=300)
def test_mixed_packets_give_the_records_that_a_reading_one_by_one_gives(
    made: list[Frame], tunnels: bool, noise: int, stale: list[Frame]
) -> None:
    assert found_in(laid_out(made, noise, stale), tunnels) == expected(made, tunnels)


@given(ANY_FRAMES, st.booleans())
def test_records_of_one_kind_of_packet_are_in_the_order_of_capture(made: list[Frame], bulk: bool) -> None:
    made = numbered(made * (BULK if bulk else 1))
    places = {frame.timestamp_ns: (frame.protocol, frame.network) for frame in made}
    found = frames.rows(decode(copied(laid_out(made[:200]), np.zeros(BUFFER_BYTES, np.uint8))).records)
    for kind in set(places.values()):
        timestamps = [record.timestamp for record in found if places[record.timestamp] == kind]
        assert timestamps == sorted(timestamps)


@pytest.mark.parametrize("counts", [(BULK,), (BULK - 1, BULK), (BULK - 1, BULK + 1, 1), (70, 3, 1, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_mixed_kinds_below_and_above_what_is_read_in_bulk(seed: int, counts: tuple[int, ...]) -> None:
    """Of each kind so many packets, more kinds than are read in bulk, and malformed ones among them."""
    random = np.random.default_rng(seed)
    kinds = [
        *CONNECTIONS.values(),
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
    random.shuffle(kinds)
    made = [kind for i, kind in enumerate(kinds) for _ in range(counts[i % len(counts)])]
    made = numbered([made[i] for i in random.permutation(len(made))])
    blocks = laid_out(made, noise=0x45, stale=made[:100])
    assert len(blocks) > 1
    assert found_in(blocks) == expected(made)


@each_kind
def test_all_fields_of_evenly_spaced_packets_are_their_own(frame: Frame) -> None:
    made = []
    for i in range(90):
        data = bytearray(frame.data)
        at = tcp_at(frame)
        struct.pack_into(">HH", data, at, 1024 + i, strategies.PORTS[i % 4])
        data[at + 13] = i
        source, width = (SOURCE4, 4) if SOURCE4 in data else (SOURCE6, 16)
        source_end = data.index(source) + width
        data[source_end - 1] = data[source_end + width - 1] = i
        made.append(replace(frame, data=bytes(data), gso_type=i % 2, gso_size=i))
    made = numbered(made)
    assert in_order(laid_out(made)) == records_of(made)
    for name in ("timestamp", "source", "destination", "source_port", "flags"):
        assert len({getattr(record, name) for record in records_of(made)}) == 90


@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999_999])
@pytest.mark.parametrize("seconds", [0, 1_700_000_000, 2**32 - 1])
@pytest.mark.parametrize("count", [1, 2])
def test_timestamps_keep_every_nanosecond(count: int, seconds: int, nanoseconds: int) -> None:
    timestamp = seconds * 10**9 + nanoseconds
    found = in_order(laid_out([replace(ethernet(ipv4(tcp())), timestamp_ns=timestamp)] * count))
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
@pytest.mark.parametrize("counts", [(0, 1), (1, 1), (0, 2), (70, 70), (1, 3)])
@each_kind
def test_a_merged_packet_counts_the_segments_of_its_payload(
    frame: Frame, counts: tuple[int, int], payload: int, gso_type: int, gso_size: int, segments: int
) -> None:
    """The payload is what remains of the whole packet's length, of which only the headers are kept (BIG TCP, too)."""
    plain, merged = counts
    large = with_payload(frame, payload)
    large = replace(large, kept=tcp_at(frame) + 20, gso_type=gso_type, gso_size=gso_size)
    found = in_order(laid_out(numbered([frame] * plain + [large] * merged)))
    assert [record.segments for record in sorted(found, key=by_time)] == [1] * plain + [segments] * merged


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
        found = in_order(laid_out(sent))
        assert found == records_of(sent)
        assert [record.segments for record in found] == [max(1, -(-payload // 1000))] * count


@pytest.mark.parametrize("count", [1, 2, 70])
@pytest.mark.parametrize("made", [ipv4, ipv6])
def test_with_a_length_of_zero_the_tcp_header_must_be_in_the_packet(made: Outer, count: int) -> None:
    sent = [ethernet(made(tcp(options=bytes(40))[:59], length=0))] * count
    assert found_in(laid_out(sent)) == (Counter(), Skipped(bad_tcp=count))


@given(st.lists(st.binary(max_size=120), min_size=1, max_size=4), st.integers(1, 70), st.integers(0, 60), st.booleans())
@example([b"\x40" + bytes(80)], 2, 0, False)
@example([b"\x60" + bytes(5) + b"\x3c" + bytes(33) + b"\x3c\xff" + bytes(20)], 2, 0, False)
def test_no_bytes_whatsoever_raise_or_give_a_wrong_record(
    contents: list[bytes], count: int, link: int, tunnels: bool
) -> None:
    for protocol in (frames.ETH_IPV4, frames.ETH_IPV6, 0x8100):
        made = [Frame(content.rjust(link, b"\0"), min(link, len(content)), protocol) for content in contents] * count
        assert found_in(laid_out(made, noise=0x55), tunnels) == expected(made, tunnels)


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
        found, skipped = expected(made, tunnels)
        assert found_in(laid_out(made), tunnels) == (found, skipped)
        assert set(skipped) >= {"not_tcp", *MALFORMED} - {"bad_extension"}


@given(st.lists(strategies.whole_frames(), min_size=2, max_size=8), st.data())
def test_damage_to_one_packet_leaves_the_others_alone(made: list[Frame], data: st.DataObject) -> None:
    made = numbered(made)
    broken = data.draw(st.integers(0, len(made) - 1))
    content = bytearray(made[broken].data)
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=5)):
        content[at] = data.draw(st.integers(0, 255))
    made[broken] = replace(made[broken], data=bytes(content), kept=data.draw(st.integers(0, len(content) + 9)))
    assert found_in(laid_out(made)) == expected(made)
