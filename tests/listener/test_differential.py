"""Capture files of all kinds of packets, read by tshark, by tcpdump, and by us: the same, or why not."""

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.decode.decoder import decode
from listener.decode.link import network
from listener.decode.protocols import LinkType
from listener.files.opening import open_capture
from tapfan.endpoints import address_text
from tapfan.skips import Skipped, SkipReason
from tests.listener import frames, mixture
from tests.listener.frames import Record
from tests.listener.linked import linked
from tests.listener.mixture import Drawn
from tests.listener.pcaps import Packet, enhanced, interface, pcap, section
from tests.listener.reading import behind_link, reference
from tests.listener.tunnels import ether_type

_COUNT = 1500
_TYPED = (LinkType.ETHERNET, LinkType.LINUX_SLL, LinkType.LINUX_SLL2)
_START_NS = 1_700_000_000_000_000_000
_NANOSECONDS = 0xA1B23C4D

# What others say of packets of these kinds of the mixture, and we do not, by intent.
_MALFORMED = {
    "TCP header too short": "tshark shows the ports of a TCP header that cannot be; we count it as bad_tcp",
    "TCP header beyond the packet": "both show ports, and flags; we count it as bad_tcp",
    "length too short for TCP": "tshark shows ports from beyond the IP packet's end; we count it as truncated",
    "too many extensions": "both walk more than eight extension headers; we count it as bad_extension",
}
# What we say of packets of these kinds, and tshark does not.
_NOT_OF_TSHARK = {
    "HIP": "tshark looks for nothing behind it; we, as the kernel's filter, walk past it as RFC 7401 lays it out",
    "mobility": "the same, with RFC 6275",
    "IPv6 length of zero": "tshark wants a jumbo payload option; we take it for BIG TCP, whose packets have none",
}
_NOT_OF_TCPDUMP = {
    **_NOT_OF_TSHARK,
    "Shim6": "tcpdump does not know it",
    "options behind AH": "tcpdump looks for none there",
    "IPv4 length of zero": "tcpdump does not know of BIG TCP and of segments that the network card still has to cut",
}
_OPTIONS = (
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
    "ip.check_checksum:FALSE",
    "tcp.check_checksum:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "tcp.analyze_sequence_numbers:FALSE",
)
_FIELDS = (
    "frame.time_epoch",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
)
_MISSING = re.compile(r"truncated-ip6? - \d+ bytes missing! ?")
_TCPDUMP = re.compile(
    r"(?P<second>\d{10})\.(?P<ns>\d{9}) .*?"
    r"IP6? "
    r"(?P<source>[0-9a-f.:]+) > (?P<destination>[0-9a-f.:]+): "
    r"(?:.*?(?P<source_port>\d+) > (?P<destination_port>\d+): )?"
    r"Flags \[(?P<flags>[^]]+)\]"
)


@dataclass(frozen=True)
class _Said:
    """What somebody says of a packet: texts as they are printed; `flags`: None where they are not shown."""

    source: str
    destination: str
    source_port: int
    destination_port: int
    flags: int | None


@dataclass(frozen=True)
class _Sent:
    """A packet in a capture file, and what it is."""

    drawn: Drawn
    link: LinkType
    packet: Packet

    @property
    def kind(self) -> str:
        version = self.drawn.packet[0] >> 4
        return f"IPv{version} {self.drawn.kind}" if self.drawn.kind == "length of zero" else self.drawn.kind

    def expected(self, tunnels: bool) -> Record | SkipReason:
        """By our own step by step reading."""
        whole = self.packet.data + bytes(self.packet.seen()[2] - len(self.packet.data))
        frame = behind_link(whole, len(self.packet.data), self.link, self.packet.timestamp_ns)
        return frame if isinstance(frame, str) else reference(frame, tunnels)


def _sent(drawn: Iterable[Drawn], links: Sequence[LinkType]) -> list[_Sent]:
    """The packets, each behind the next link header, each a little later than the one before."""
    sent = []
    for i, each in enumerate(drawn):
        link, version = links[i % len(links)], each.packet[0] >> 4
        if (link, version) in ((LinkType.IPV4, 6), (LinkType.IPV6, 4)):
            continue
        data = each.packet
        if link in _TYPED:
            kinds = [*each.tags, ether_type(data)]
            tags = b"".join(struct.pack(">HH", 7, kind) for kind in kinds[1:])
            data = linked(tags + data, link, kinds[0], snap=not each.tags and i % 5 == 0)
        else:
            data = linked(data, link, order="<>"[i % 2], family6=30)  # type: ignore[arg-type]
        kept = data[: len(data) - each.cut]
        sent.append(_Sent(each, link, Packet(kept, _START_NS + 1_000_001 * i, len(data))))
    return sent


def _ours(path: Path, tunnels: bool) -> tuple[dict[int, Record], Skipped]:
    records: dict[int, Record] = {}
    skipped = Skipped()
    with open_capture(str(path)) as file:
        for chunk in file.frames():
            decoded = decode(network(chunk), tunnels)
            skipped += decoded.skipped
            records |= {record.timestamp: record for record in frames.rows(decoded.records)}
    return records, skipped


def _by_tshark(path: Path) -> dict[int, _Said]:
    """By timestamp: the innermost headers. Of those of a kind, it shows the last; of IPv4 and IPv6 we choose that."""
    command = [_tool("tshark"), "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=l", "-E", "separator=/t"]
    for option in _OPTIONS:
        command += ["-o", option]
    for field in _FIELDS:
        command += ["-e", field]
    said = {}
    for line in _lines(command):
        epoch, protocols, source4, destination4, source6, destination6, *tcp = line.split("\t")
        if tcp[0]:
            last = [name for name in protocols.split(":") if name in ("ip", "ipv6")][-1]
            addresses = (source4, destination4) if last == "ip" else (source6, destination6)
            ports, flags = (int(tcp[0]), int(tcp[1])), int(tcp[2], 16) & 0xFF if tcp[2] else None
            said[_ns(*epoch.split("."))] = _Said(*addresses, *ports, flags)
    return said


def _by_tcpdump(path: Path) -> dict[int, _Said]:
    """What it shows flags of, by timestamp."""
    said = {}
    for line in _lines([_tool("tcpdump"), "-nn", "-tt", "--time-stamp-precision=nano", "-r", str(path)]):
        found = _TCPDUMP.match(_MISSING.sub("", line))
        if not found:
            assert "Flags" not in line, line
            continue
        source, destination = found["source"], found["destination"]
        ports = found["source_port"], found["destination_port"]
        if ports[0] is None:
            (source, source_port), (destination, destination_port) = source.rsplit(".", 1), destination.rsplit(".", 1)
            ports = source_port, destination_port
        flags = sum(1 << "FSRP.UEW".index(flag) for flag in found["flags"] if found["flags"] != "none")
        said[_ns(found["second"], found["ns"])] = _Said(source, destination, int(ports[0]), int(ports[1]), flags)
    return said


def _ns(second: str, fraction: str) -> int:
    return int(second) * 10**9 + int(fraction.ljust(9, "0"))


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def _lines(command: Sequence[str]) -> list[str]:
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)
    return run.stdout.splitlines()


def _said(record: Record) -> _Said:
    addresses = address_text(record.source), address_text(record.destination)
    return _Said(*addresses, record.source_port, record.destination_port, record.flags)


def _read(sent: Sequence[_Sent], path: Path, tunnels: bool = False) -> dict[int, _Said]:
    """What we read of the file, in which all these must be: the same as step by step."""
    records, skipped = _ours(path, tunnels)
    expected = {each.packet.timestamp_ns: each.expected(tunnels) for each in sent}
    assert records == {at: record for at, record in expected.items() if isinstance(record, Record)}
    assert skipped == Skipped(reason for reason in expected.values() if not isinstance(reason, Record))
    return {at: _said(record) for at, record in records.items()}


def _compare_with_tshark(sent: Sequence[_Sent], ours: dict[int, _Said], theirs: dict[int, _Said]) -> None:
    seen = set()
    for each in sent:
        own, other = ours.get(each.packet.timestamp_ns), theirs.get(each.packet.timestamp_ns)
        if each.kind in _MALFORMED:
            assert own is None, each
            seen.add(each.kind)
        elif each.kind in _NOT_OF_TSHARK:
            assert other is None, each
            seen.add(each.kind)
        elif other is not None and other.flags is None:
            # It shows the ports of what was cut off, or goes on in the next fragment. Flags it shows only of headers
            # of 20 bytes at least: we need 14.
            assert each.drawn.cut or "part" in each.kind, each
            assert own is None or own == _Said(**{**vars(other), "flags": own.flags}), each
        else:
            assert own == other, each
    assert seen == (_MALFORMED.keys() | _NOT_OF_TSHARK.keys()) & {each.kind for each in sent}


def _is_cooked_and_tagged_twice(sent: _Sent) -> bool:
    """Of cooked packets, tcpdump walks the tags only where the first is of 802.1Q."""
    return sent.link in (LinkType.LINUX_SLL, LinkType.LINUX_SLL2) and sent.drawn.tags[:1] in ((0x88A8,), (0x9100,))


def _compare_with_tcpdump(sent: Sequence[_Sent], ours: dict[int, _Said], theirs: dict[int, _Said]) -> None:
    for each in sent:
        own, other = ours.get(each.packet.timestamp_ns), theirs.get(each.packet.timestamp_ns)
        if each.kind in _MALFORMED:
            assert own is None, each
        elif each.kind in _NOT_OF_TCPDUMP or _is_cooked_and_tagged_twice(each):
            assert other is None, each
        elif other is None and own is not None:
            # It shows flags only of headers that are all there.
            assert each.drawn.cut or "part" in each.kind, each
        else:
            assert own == other, each


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("link", LinkType)
def test_capture_files_of_each_link_type_are_read_as_by_tshark_and_tcpdump(
    link: LinkType, order: str, tmp_path: Path
) -> None:
    sent = _sent(mixture.mixture(int(link), _COUNT), [link])
    path = tmp_path / "file.pcap"
    path.write_bytes(pcap([each.packet for each in sent], order, _NANOSECONDS, link))
    ours = _read(sent, path)
    assert len(ours) > len(sent) // 3
    _compare_with_tshark(sent, ours, _by_tshark(path))
    _compare_with_tcpdump(sent, ours, _by_tcpdump(path))


def _pcapng(sent: Sequence[_Sent]) -> bytes:
    """One file with all link types, an interface for each."""
    links = list(LinkType)
    parts = [section(), *(interface(link=link, resolution=9) for link in links)]
    for each in sent:
        data, number = each.packet.data, links.index(each.link)
        parts.append(enhanced(data, each.packet.timestamp_ns, number=number, length=each.packet.length))
    return b"".join(parts)


def test_a_capture_file_of_all_link_types_is_read_as_by_tshark(tmp_path: Path) -> None:
    """By which tcpdump is overtaxed."""
    sent = _sent(mixture.mixture(2, 4 * _COUNT), list(LinkType))
    path = tmp_path / "file.pcapng"
    path.write_bytes(_pcapng(sent))
    assert len({each.link for each in sent}) == len(LinkType)
    _compare_with_tshark(sent, _read(sent, path), _by_tshark(path))


def test_tunnels_are_followed_as_by_tshark(tmp_path: Path) -> None:
    sent = _sent(mixture.mixture(3, 2 * _COUNT, mixture.TUNNELLED), [LinkType.ETHERNET, LinkType.RAW])
    path = tmp_path / "file.pcapng"
    path.write_bytes(_pcapng(sent))
    ours = _read(sent, path, tunnels=True)
    assert len(ours) > len(sent) // 2
    theirs = _by_tshark(path)
    _compare_with_tshark(sent, ours, theirs)
    # Without, only we leave them out, with one exception: the outer packet is not TCP, whatever is in it.
    outer = _read(sent, path)
    assert outer.keys() == {at for at in ours if "tunnel" not in _by_time(sent)[at].kind}
    assert outer.keys() < theirs.keys()


def _by_time(sent: Sequence[_Sent]) -> dict[int, _Sent]:
    return {each.packet.timestamp_ns: each for each in sent}


Files = Callable[[Sequence[Packet], LinkType], bytes]
_FILES: tuple[Files, ...] = (
    lambda packets, link: pcap(packets, link=link, magic=_NANOSECONDS),
    lambda packets, link: (
        section()
        + interface(link=link, resolution=9)
        + b"".join(enhanced(packet.data, packet.timestamp_ns, length=packet.length) for packet in packets)
    ),
)


@given(
    st.sampled_from(LinkType),
    st.sampled_from(_FILES),
    st.lists(st.tuples(st.binary(max_size=90), st.integers(0, 20)), min_size=1, max_size=9),
    st.booleans(),
)
def test_no_bytes_whatsoever_in_a_file_raise_or_give_a_wrong_record(
    link: LinkType, made: Files, contents: list[tuple[bytes, int]], tunnels: bool
) -> None:
    sent = [
        _Sent(Drawn("bytes", data), link, Packet(data, _START_NS + i, len(data) + more))
        for i, (data, more) in enumerate(contents)
    ]
    _check(sent, made, link, tunnels)


@given(st.sampled_from(LinkType), st.sampled_from(_FILES), st.integers(0, 2**32), st.booleans())
def test_no_damage_to_frames_in_a_file_raises_or_gives_a_wrong_record(
    link: LinkType, made: Files, seed: int, tunnels: bool
) -> None:
    random = Random(seed)
    sent = []
    for each in _sent(mixture.mixture(seed, 30, mixture.KINDS | mixture.TUNNELLED), [link]):
        data = bytearray(each.packet.data)
        for _ in range(random.randint(0, 3) if data else 0):
            data[random.randrange(min(len(data), 100))] = random.choice((0, 6, 44, 0x45, 0x60, random.randrange(256)))
        packet = Packet(bytes(data), each.packet.timestamp_ns, each.packet.length)
        sent.append(_Sent(each.drawn, link, packet))
    if sent:
        _check(sent, made, link, tunnels)


def _check(sent: Sequence[_Sent], made: Files, link: LinkType, tunnels: bool) -> None:
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.write_bytes(made([each.packet for each in sent], link))
        _read(sent, path, tunnels)
