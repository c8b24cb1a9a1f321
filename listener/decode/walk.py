"""Where the TCP header of each packet is, whatever comes before it: one step for all packets at once, header by header.

For packets of every kind: tags, options, extension headers, fragments, tunnels. Slower than `headers`, which reads
those that are alike, and the one place that says why a packet gives no record. Layouts: IEEE 802.1Q, RFC 791, RFC 8200,
RFC 4302 (AH), RFC 2003 and 4213 (IP in IP), RFC 2784 and 2890 (GRE), RFC 7348 (VXLAN), RFC 8926 (Geneve).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from listener.decode import headers
from listener.decode.packets import Packets
from listener.decode.protocols import (
    AH,
    ETH_BRIDGING,
    ETH_IPV4,
    ETH_IPV6,
    ETH_VLAN,
    FRAGMENT,
    GENEVE_PORT,
    GRE,
    IPIP,
    IPV6_EXTENSIONS,
    MAX_EXTENSIONS,
    MAX_TAGS,
    SIX_IN_ANY,
    TCP,
    TCP_BYTES,
    UDP,
    VXLAN_PORT,
)
from tapfan.batch import Column, Records
from tapfan.endpoints import IPV4_MAPPED_PREFIX
from tapfan.skips import SKIP_REASONS, Skipped, SkipReason

_MAX_TUNNELS = 4  # one inside the other
_ETHERNET_BYTES = 14
_EXTENSION_BYTES = 8  # the shortest
_GOING_ON = len(SKIP_REASONS)


@dataclass(eq=False)
class _Walk:
    """How far the packets have been walked; all columns have shape (n,) and are changed in place.

    `at`: where the current header is, `protocol`: of it, an EtherType or, behind an IP header, an IP protocol;
    `stop`: where the current packet ends by its own account; `end`: where what is there of it ends, and of those that
    it is in; `ip`, `version`: of the last IP header; `first`: it is the first of several fragments; `skip`: why a
    packet is walked no further, as an index into SKIP_REASONS, or _GOING_ON.
    """

    buffer: NDArray[np.uint8]
    at: Column
    end: Column
    stop: Column
    protocol: Column
    ip: Column
    version: Column
    first: Column
    skip: Column

    @classmethod
    def begin(cls, packets: Packets) -> "_Walk":
        count = len(packets)
        return cls(
            packets.buffer,
            packets.at.copy(),
            packets.end.copy(),
            packets.wire_end.copy(),
            packets.protocol.astype(np.int64),
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            np.zeros(count, bool),
            np.full(count, _GOING_ON, np.uint8),
        )

    def byte(self, rows: Column, offset: int) -> Column:
        """The byte so far behind the current header's beginning."""
        byte: Column = self.buffer[self.at[rows] + offset].astype(np.int64)
        return byte

    def number(self, rows: Column, offset: int) -> Column:
        """The 16 bits there."""
        number: Column = self.byte(rows, offset) << 8 | self.byte(rows, offset + 1)
        return number

    def bytes_at(self, places: Column, count: int) -> Column:
        """So many bytes from each of the places on: shape (len(places), count)."""
        found: Column = self.buffer[places[:, None] + np.arange(count)]
        return found

    def have(self, rows: Column, needed: int) -> Column:
        """Those of the rows that have so many bytes from here on; the others are truncated."""
        return self.sort_out(rows, self.at[rows] + needed > self.end[rows], "truncated")

    def left(self, rows: Column) -> Column:
        """Those of the rows that are not sorted out."""
        left: Column = rows[self.skip[rows] == _GOING_ON]
        return left

    def sort_out(self, rows: Column, bad: Column, reason: SkipReason) -> Column:
        """Those of the rows that are not bad; the others are walked no further."""
        self.skip[rows[bad]] = SKIP_REASONS.index(reason)
        return rows[~bad]

    def without_later(self, rows: Column, later: Column, carriers: tuple[int, ...]) -> Column:
        """The rows that are no later fragments; those of the protocols that may carry TCP are told from the others."""
        carries = np.isin(self.protocol[rows], carriers)
        self.sort_out(rows, later & carries, "fragment")
        self.sort_out(rows, later & ~carries, "not_tcp")
        return rows[~later]

    def enter(self, rows: Column, version: int, header: Column | int, length: Column) -> None:
        """Note the IP header that is here, and go on behind it. Length 0: as long as the packet is (BIG TCP)."""
        self.version[rows] = version
        self.ip[rows] = self.at[rows]
        self.stop[rows] = np.where(length > 0, self.at[rows] + length, self.stop[rows])
        self.end[rows] = np.minimum(self.end[rows], self.stop[rows])  # a frame may be padded
        self.at[rows] += header


def walk(packets: Packets, tunnels: bool) -> tuple[Records, Skipped]:
    """The records, in the packets' order, and how many packets gave none."""
    state = _Walk.begin(packets)
    rows = np.arange(len(packets))
    found = rows[:0]
    for deeper in reversed(range(1 + (_MAX_TUNNELS if tunnels else 0))):
        rows = _ip(state, _tags(state, rows))
        is_tcp = state.protocol[rows] == TCP
        found = np.concatenate([found, rows[is_tcp]])
        rows = rows[~is_tcp]
        if not deeper or not len(rows):
            break
        rows = _decapsulated(state, rows)
    found = _tcp(state, np.sort(found))
    records = _records(state, packets, found)
    counts = np.bincount(state.skip, minlength=_GOING_ON + 1)
    skipped = Skipped({reason: int(count) for reason, count in zip(SKIP_REASONS, counts, strict=False) if count})
    if other := int(counts[_GOING_ON]) - len(records):
        skipped["not_tcp"] += other
    return records, skipped


def _tags(state: _Walk, rows: Column) -> Column:
    """Walk past VLAN tags; gives the rows that are not sorted out."""
    for _ in range(MAX_TAGS):
        tagged = rows[np.isin(state.protocol[rows], ETH_VLAN)]
        if not len(tagged):
            break
        tagged = state.have(tagged, 4)
        state.protocol[tagged] = state.number(tagged, 2)
        state.at[tagged] += 4
        rows = state.left(rows)
    return rows


def _ip(state: _Walk, rows: Column) -> Column:
    """Walk past IP headers; gives the rows that have one and are not sorted out."""
    protocol = state.protocol[rows]
    state.first[rows] = False
    ipv4, ipv6 = rows[protocol == ETH_IPV4], rows[protocol == ETH_IPV6]
    parts = [step(state, some) for step, some in ((_ipv4, ipv4), (_ipv6, ipv6)) if len(some)]
    return np.concatenate(parts) if parts else rows[:0]


def _ipv4(state: _Walk, rows: Column) -> Column:
    """Walk past IPv4 headers; gives the rows that are not sorted out."""
    rows = state.have(rows, headers.IPV4_BYTES)
    first_byte = state.byte(rows, 0)
    header, length = (first_byte & 0x0F) * 4, state.number(rows, 2)
    bad = (first_byte >> 4 != 4) | (header < headers.IPV4_BYTES) | ((length > 0) & (length < header))
    rows, header, length = state.sort_out(rows, bad, "bad_ip"), header[~bad], length[~bad]
    fragment = state.number(rows, 6)
    state.protocol[rows] = state.byte(rows, 9)
    state.first[rows] = fragment & 0x3FFF == 0x2000
    state.enter(rows, 4, header, length)
    return state.without_later(rows, fragment & 0x1FFF > 0, (TCP,))


def _ipv6(state: _Walk, rows: Column) -> Column:
    """Walk past IPv6 headers and their extensions; gives the rows that are not sorted out."""
    rows = state.have(rows, headers.IPV6_BYTES)
    rows = state.sort_out(rows, state.byte(rows, 0) >> 4 != 6, "bad_ip")
    length = state.number(rows, 4)
    state.protocol[rows] = state.byte(rows, 6)
    state.enter(rows, 6, headers.IPV6_BYTES, np.where(length > 0, length + headers.IPV6_BYTES, 0))
    extended = rows
    for _ in range(MAX_EXTENSIONS):
        extended = extended[np.isin(state.protocol[extended], IPV6_EXTENSIONS)]
        if not len(extended):
            break
        extended = _extension(state, state.have(extended, _EXTENSION_BYTES))
    state.sort_out(extended, np.isin(state.protocol[extended], IPV6_EXTENSIONS), "bad_extension")
    return state.left(rows)


def _extension(state: _Walk, rows: Column) -> Column:
    """Walk past one extension header; gives the rows that are not sorted out."""
    kind, units = state.protocol[rows], state.byte(rows, 1)
    size = np.where(kind == AH, (units + 2) * 4, (units + 1) * 8)
    fragment = np.where(kind == FRAGMENT, state.number(rows, 2), 0)
    state.protocol[rows] = state.byte(rows, 0)
    state.first[rows] |= fragment & 0xFFF9 == 1
    state.at[rows] += np.where(kind == FRAGMENT, _EXTENSION_BYTES, size)
    return state.without_later(rows, fragment & 0xFFF8 > 0, (TCP, *IPV6_EXTENSIONS))


def _decapsulated(state: _Walk, rows: Column) -> Column:
    """Walk into tunnels; gives the rows that are some, at what is inside."""
    protocol = state.protocol[rows]
    inside = [
        _into(state, rows[protocol == IPIP], 0, ETH_IPV4),
        _into(state, rows[protocol == SIX_IN_ANY], 0, ETH_IPV6),
        _gre(state, rows[protocol == GRE]),
        _udp(state, rows[protocol == UDP]),
    ]
    entered = np.concatenate(inside)
    bridged = state.have(entered[state.protocol[entered] == ETH_BRIDGING], _ETHERNET_BYTES)
    state.protocol[bridged] = state.number(bridged, 12)
    state.at[bridged] += _ETHERNET_BYTES
    return state.left(entered)


def _into(state: _Walk, rows: Column, offset: Column | int, protocol: Column | int) -> Column:
    state.at[rows] += offset
    state.protocol[rows] = protocol
    return rows


def _gre(state: _Walk, rows: Column) -> Column:
    rows = state.have(rows, 4)
    flags = state.number(rows, 0)
    other = flags & 0x4007 > 0  # source routes, and other versions than 0, such as PPTP's
    rows, flags = rows[~other], flags[~other]
    fields = (flags >> 15 & 1) + (flags >> 13 & 1) + (flags >> 12 & 1)  # checksum, key, sequence number
    return _into(state, rows, 4 + 4 * fields, state.number(rows, 2))


def _udp(state: _Walk, rows: Column) -> Column:
    rows = state.have(rows, 4)
    port = state.number(rows, 2)
    vxlan, geneve = rows[port == VXLAN_PORT], rows[port == GENEVE_PORT]
    vxlan = state.have(vxlan, 16)
    vxlan = vxlan[state.byte(vxlan, 8) & 0x08 > 0]
    geneve = state.have(geneve, 16)
    geneve = geneve[state.byte(geneve, 8) >> 6 == 0]
    options = (state.byte(geneve, 8) & 0x3F) * 4
    return np.concatenate(
        [_into(state, vxlan, 16, ETH_BRIDGING), _into(state, geneve, 16 + options, state.number(geneve, 10))]
    )


def _tcp(state: _Walk, rows: Column) -> Column:
    """The rows whose TCP header is whole and can be."""
    rows = state.have(rows, TCP_BYTES)
    size = (state.byte(rows, 12) >> 4) * 4
    beyond = (state.at[rows] + size > state.stop[rows]) & ~state.first[rows]  # it may go on in the second fragment
    return state.sort_out(rows, (size < 20) | beyond, "bad_tcp")


def _records(state: _Walk, packets: Packets, rows: Column) -> Records:
    """The records of rows that have a TCP header where they have been walked to."""
    records = Records.empty(len(rows))
    four, six = (np.flatnonzero(state.version[rows] == version) for version in (4, 6))
    for name, at4, at6 in (("source", 12, 8), ("destination", 16, 24)):
        column = getattr(records, name)
        column[four, :12] = np.frombuffer(IPV4_MAPPED_PREFIX, np.uint8)
        column[four, 12:] = state.bytes_at(state.ip[rows[four]] + at4, 4)
        column[six] = state.bytes_at(state.ip[rows[six]] + at6, 16)
    records.timestamp[:] = packets.timestamp[rows]
    records.source_port[:] = state.number(rows, 0)
    records.destination_port[:] = state.number(rows, 2)
    records.flags[:] = state.byte(rows, 13)
    records.segments[:] = 1
    if packets.gso_type is not None and packets.gso_size is not None:
        payload = packets.wire_end[rows] - state.at[rows] - (state.byte(rows, 12) >> 4) * 4
        records.segments[:] = headers.segments(packets.gso_type[rows], packets.gso_size[rows], payload)
    return records
