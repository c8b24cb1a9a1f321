"""The link headers of capture files."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from listener.decode.link import network
from listener.decode.protocols import LinkType
from tapfan.skips import Skipped
from tests.listener import frames, strategies
from tests.listener.frames import Record, decoded_packets, ipv4, ipv6, tcp
from tests.listener.linked import FAMILIES6, SNAP, in_memory, linked
from tests.listener.reading import behind_link, reference

Contents = Sequence[tuple[bytes, int]]

_IPV4, _IPV6 = ipv4(tcp()), ipv6(tcp())
_TYPED = (LinkType.ETHERNET, LinkType.LINUX_SLL, LinkType.LINUX_SLL2)


def _fits(link: LinkType, packet: bytes) -> bool:
    return (link, packet[0] >> 4) not in ((LinkType.IPV4, 6), (LinkType.IPV6, 4))


def _damaged_snap(at: int) -> bytes:
    data = bytearray(linked(_IPV4, LinkType.ETHERNET, snap=True))
    data[14 + at] ^= 1
    return bytes(data)


_FRAMES: list[tuple[LinkType, bytes]] = [
    *((link, linked(packet, link)) for link in LinkType for packet in (_IPV4, _IPV6) if _fits(link, packet)),
    (LinkType.NULL, linked(_IPV4, LinkType.NULL, order=">")),
    *((LinkType.NULL, linked(_IPV6, LinkType.NULL, order="<", family6=family)) for family in FAMILIES6),
    *((LinkType.NULL, linked(_IPV6, LinkType.NULL, order=">", family6=family)) for family in FAMILIES6),
    *((LinkType.LOOP, linked(_IPV6, LinkType.LOOP, family6=family)) for family in FAMILIES6),
    (LinkType.ETHERNET, linked(_IPV4, LinkType.ETHERNET, snap=True)),
    (LinkType.ETHERNET, linked(_IPV6, LinkType.ETHERNET, snap=True)),
    *((link, linked(b"\0\x07\x08\0" + _IPV4, link, 0x8100)) for link in _TYPED),
    *((link, linked(b"\0\x07\x81\0\0\x07\x86\xdd" + _IPV6, link, 0x88A8)) for link in _TYPED),
    (LinkType.ETHERNET, linked(b"\0\x07\x08\0" + _IPV4, LinkType.ETHERNET, 0x8100, snap=True)),
]


def _expected(link: LinkType, contents: Contents) -> tuple[list[Record], Skipped]:
    read = [behind_link(data, kept, link, frames.NOW_NS + 1000 * i) for i, (data, kept) in enumerate(contents)]
    results = [frame if isinstance(frame, str) else reference(frame) for frame in read]
    records = [result for result in results if isinstance(result, Record)]
    return records, Skipped(result for result in results if not isinstance(result, Record))


def _found(link: LinkType, contents: Contents, noise: int = 0) -> tuple[list[Record], Skipped]:
    found = decoded_packets(network(in_memory(link, contents, noise)))
    return sorted(frames.rows(found.records), key=_by_time), found.skipped


def _by_time(record: Record) -> int:
    return record.timestamp


@pytest.mark.parametrize("count", [1, 2, 70])
@pytest.mark.parametrize(("link", "data"), _FRAMES)
def test_an_ip_packet_is_found_behind_each_link_header(link: LinkType, data: bytes, count: int) -> None:
    contents = [(data, len(data))] * count
    records, skipped = _found(link, contents)
    assert (records, skipped) == _expected(link, contents)
    assert len(records) == count


@pytest.mark.parametrize("noise", [0, 0x45, 0x60, 0xAA])
@pytest.mark.parametrize(("link", "data"), _FRAMES)
def test_what_is_cut_off_anywhere_is_malformed_whatever_is_behind_it(link: LinkType, data: bytes, noise: int) -> None:
    """Even what would complete it."""
    needed = len(data) - 6
    contents = [(data, kept) for kept in range(needed)]
    assert _found(link, contents, noise) == ([], Skipped(truncated=needed))
    for content in contents:
        assert _found(link, [content], noise) == ([], Skipped(truncated=1))
        completed = [content, (data[content[1] :], len(data))]
        assert _found(link, completed, noise) == _expected(link, completed)


@pytest.mark.parametrize(
    ("link", "data"),
    [
        (LinkType.ETHERNET, linked(_IPV4, LinkType.ETHERNET, frames.ETH_ARP)),
        (LinkType.ETHERNET, linked(_IPV4, LinkType.ETHERNET, 1501)),
        (LinkType.ETHERNET, linked(_IPV4, LinkType.ETHERNET, frames.ETH_ARP, snap=True)),
        (LinkType.ETHERNET, linked(b"\x42\x42\x03" + _IPV4, LinkType.ETHERNET, 43)),
        (LinkType.ETHERNET, linked(b"\x42\x42\x03", LinkType.ETHERNET, 3)),
        *((LinkType.ETHERNET, _damaged_snap(at)) for at in range(6)),
        (LinkType.NULL, linked(_IPV4, LinkType.NULL, frames.ETH_ARP)),
        (LinkType.NULL, b"\x02\0\0\x02" + _IPV4),
        (LinkType.NULL, b"\0\x02\x02\0" + _IPV4),
        (LinkType.LOOP, linked(_IPV4, LinkType.LOOP, frames.ETH_ARP)),
        (LinkType.LOOP, b"\x02\0\0\0" + _IPV4),
        (LinkType.RAW, b"\x55" + _IPV4[1:]),
        (LinkType.RAW, b"\x05" + _IPV4[1:]),
        (LinkType.LINUX_SLL, linked(_IPV4, LinkType.LINUX_SLL, 4)),
        (LinkType.LINUX_SLL2, linked(_IPV4, LinkType.LINUX_SLL2, 4)),
    ],
)
def test_what_is_no_ip_packet_is_not_tcp(link: LinkType, data: bytes) -> None:
    contents = [(data, len(data))] * 2
    assert _found(link, contents) == _expected(link, contents) == ([], Skipped(not_tcp=2))


def test_a_frame_may_have_1500_bytes_behind_its_802_3_header() -> None:
    data = linked(ipv4(tcp(payload=bytes(1500 - 8 - 40))), LinkType.ETHERNET, snap=True)
    assert data[12:14] == (1500).to_bytes(2)
    records, skipped = _found(LinkType.ETHERNET, [(data, len(data))])
    assert (len(records), skipped) == (1, {})


@pytest.mark.parametrize(("link", "packet"), [(LinkType.IPV4, _IPV6), (LinkType.IPV6, _IPV4 + bytes(20))])
def test_a_version_that_is_not_the_link_types_is_malformed(link: LinkType, packet: bytes) -> None:
    assert _found(link, [(packet, 99)]) == ([], Skipped(bad_ip=1))


@given(
    st.sampled_from(LinkType),
    st.lists(st.tuples(st.binary(max_size=120), st.integers(0, 120)), min_size=1, max_size=8),
    st.integers(0, 255),
)
@example(LinkType.ETHERNET, [(bytes(13) + b"\x05" + SNAP[:4], 18)], 0)
@example(LinkType.RAW, [(b"", 0)], 0x45)
def test_no_bytes_whatsoever_raise_or_give_a_wrong_record(link: LinkType, contents: Contents, noise: int) -> None:
    assert _found(link, contents, noise) == _expected(link, contents)


@given(st.sampled_from(LinkType), st.lists(strategies.packets(), min_size=1, max_size=6), st.data())
def test_damaged_frames_give_the_records_that_a_reading_one_by_one_gives(
    link: LinkType, packets: list[bytes], data: st.DataObject
) -> None:
    contents = []
    for packet in packets:
        protocol = data.draw(st.sampled_from((None, None, None, 0x8100, 0x0806, 0x86DD)))
        content = bytearray(linked(packet, link, protocol, snap=data.draw(st.booleans())))
        for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=2)):
            content[at] = data.draw(st.integers(0, 255))
        contents.append((bytes(content), data.draw(st.one_of(st.just(2**16), st.integers(0, len(content))))))
    assert _found(link, contents) == _expected(link, contents)


def test_a_chunk_may_be_empty() -> None:
    for link in LinkType:
        assert _found(link, []) == ([], Skipped())
