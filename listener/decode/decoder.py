"""Packets as records: those of a few common kinds in bulk, the rest step by step."""

from dataclasses import dataclass, field

import numpy as np

from listener.decode import headers
from listener.decode.packets import Packets
from listener.decode.protocols import ETH_IPV4, ETH_IPV6
from listener.decode.walk import walk
from tapfan.batch import Column, Records
from tapfan.skips import Skipped

_MOST_KINDS = 6  # read in bulk; each costs as much as walking some hundred packets
_FEWEST = 64  # packets of a kind for which that is worth it


@dataclass(frozen=True, eq=False)
class Decoded:
    """The records of some packets, and how many of them gave none, by reason."""

    records: Records
    skipped: Skipped = field(default_factory=Skipped)


def decode(packets: Packets, tunnels: bool = False) -> Decoded:
    """The records of the packets, grouped by kind; with tunnels, of the TCP packets inside them."""
    parts = []
    unread = []
    rest = np.arange(len(packets))
    kinds = packets.protocol.astype(np.uint32) << 8 | packets.buffer[packets.at]
    for _ in range(_MOST_KINDS):
        if len(rest) < _FEWEST:
            break
        kind = int(kinds[rest[0]])
        same = kinds[rest] == kind
        rows, rest = rest[same], rest[~same]
        header = _header_bytes(kind)
        if header and len(rows) >= _FEWEST:
            records, plain = _plain_records(packets, rows, kind >> 4 & 0x0F, header)
            parts.append(records)
            rows = rows[~plain]
        unread.append(rows)
    rest = np.concatenate([*unread, rest])
    if parts and not len(rest):
        return Decoded(Records.concatenate(parts))
    records, skipped = walk(packets[rest], tunnels)
    return Decoded(Records.concatenate([*parts, records]), skipped)


def _header_bytes(kind: int) -> int:
    """The length of the IP header of a kind, an EtherType and a first byte; 0 for what is none."""
    if kind >> 8 == ETH_IPV4 and kind >> 4 & 0x0F == 4:
        length = (kind & 0x0F) * 4
        return length if length >= headers.IPV4_BYTES else 0
    return headers.IPV6_BYTES if kind >> 8 == ETH_IPV6 and kind >> 4 & 0x0F == 6 else 0


def _plain_records(packets: Packets, rows: Column, version: int, header: int) -> tuple[Records, Column]:
    """The records of the rows that are plain TCP packets, and which they are."""
    form = headers.layout(version, header)
    at, end = packets.at[rows], packets.end[rows]
    windows = np.ndarray(
        len(packets.buffer) - form.itemsize + 1, f"V{form.itemsize}", packets.buffer.data, strides=(1,)
    )
    read = windows[at].view(form)
    plain = headers.are_plain(read, version, header) & (at + form.itemsize <= end)
    if not plain.all():
        read, at, rows = read[plain], at[plain], rows[plain]
    segments: Column = np.broadcast_to(np.uint16(1), (len(rows),))
    if packets.gso_type is not None and packets.gso_size is not None:
        tcp_bytes = (read["data_offset"] & 0xF0) >> 2
        payload = packets.wire_end[rows] - at - header - tcp_bytes
        segments = headers.segments(packets.gso_type[rows], packets.gso_size[rows], payload)
    return headers.records(read, packets.timestamp[rows], segments), plain
