"""Rows of IP and TCP headers, all of one kind, as columns of records.

Layouts: RFC 791, RFC 8200, RFC 9293. Rows may be views; columns are copies.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listener.decode.protocols import TCP, TCP_BYTES
from tapfan.batch import Column, Records

IPV4_BYTES, IPV6_BYTES = 20, 40  # the fixed part
# Of an IPv4 header's bytes 6 to 9, read as one little-endian word: no fragment, and the protocol TCP.
_WHOLE_MASK, _WHOLE_TCP = 0xFF00FF3F, TCP << 24

Rows = NDArray[np.void] | Mapping[str, Column]  # what `layout` names, of each packet
Pieces = Mapping[int, np.dtype[np.void]]  # parts of a layout by their place, of 1, 2, 4, 8 or 16 bytes: quick to copy


def piece(size: int, **fields: tuple[str, int]) -> np.dtype[np.void]:
    """So many bytes, of which the fields are read: each a form and its place."""
    forms, offsets = [form for form, _ in fields.values()], [offset for _, offset in fields.values()]
    return np.dtype({"names": list(fields), "formats": forms, "offsets": offsets, "itemsize": size})


_IPV4: Pieces = {
    0: piece(16, first_byte=("u1", 0), length=(">u2", 2), fragment_to_protocol=("<u4", 6), source=("(1,)<u4", 12)),
    16: piece(4, destination=("(1,)<u4", 0)),
}
_IPV6: Pieces = {
    0: piece(8, first_byte=("u1", 0), length=(">u2", 4), following=("u1", 6)),
    8: piece(16, source=("(2,)<u8", 0)),
    24: piece(16, destination=("(2,)<u8", 0)),
}
_TCP: Pieces = {
    0: piece(4, source_port=(">u2", 0), destination_port=(">u2", 2)),
    12: piece(2, data_offset=("u1", 0), flags=("u1", 1)),
}


@lru_cache(maxsize=32)
def pieces(version: int, header: int) -> Pieces:
    """An IP header of `header` bytes, and the TCP header behind it as far as the flags."""
    return {**(_IPV4 if version == 4 else _IPV6), **{header + at: part for at, part in _TCP.items()}}


@lru_cache(maxsize=32)
def layout(version: int, header: int) -> np.dtype[np.void]:
    """The same in one."""
    fields = {
        name: (form, at + offset)
        for at, part in pieces(version, header).items()
        for name, (form, offset, *_) in (part.fields or {}).items()
    }
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for form, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": header + TCP_BYTES,
        }
    )


def are_plain(rows: Rows, version: int, header: int) -> NDArray[np.bool_]:
    """Which rows are whole TCP packets whose headers agree with each other. An IPv6 header has 40 bytes here."""
    offset = rows["data_offset"]
    plain = offset >= 0x50
    if version == 4:
        plain &= rows["fragment_to_protocol"] & _WHOLE_MASK == _WHOLE_TCP
    else:
        plain &= rows["following"] == TCP
    # What IPv6 calls its length leaves its header out. A length of 0 (BIG TCP) says nothing: not plain.
    least = np.uint16(header if version == 4 else 0)
    plain &= rows["length"].astype(np.uint16) >= ((offset & 0xF0) >> 2) + least
    return plain


def records(rows: Rows, timestamp: Column, segments: Column) -> Records:
    """The records of rows that are plain; timestamp and segments are the columns of the same packets, not copied."""
    return Records(
        timestamp,
        _addresses(rows["source"]),
        _addresses(rows["destination"]),
        _numbers(rows["source_port"], np.uint16),
        _numbers(rows["destination_port"], np.uint16),
        _numbers(rows["flags"], np.uint8),
        segments,
    )


def _addresses(field: Column) -> Column:
    """Addresses in a record's form, from words in the last dimension; one for all where all are the same."""
    words = field.shape[-1]
    width = words * field.dtype.itemsize
    shape = field.size // words, width
    if field.size:
        first = field[0]
        # Word by word, the last one first: numpy takes far longer for all at once.
        if all((field[..., word] == first[word]).all() for word in reversed(range(words))):
            return np.broadcast_to(np.frombuffer(first.tobytes(), np.uint8), shape)
    return np.array(field.view(f"V{width}"), order="C").view(np.uint8).reshape(shape)


def _numbers(field: Column, form: type[np.unsignedinteger[Any]]) -> Column:
    """Numbers in this machine's byte order; one for all where all are the same."""
    if field.size and (field == field[0]).all():
        return np.broadcast_to(form(field[0]), field.shape)
    return field.astype(form)


def segments(gso_type: Column, gso_size: Column, payload: Column) -> Column:
    """How many wire segments the kernel had merged into each packet: its payload by their size, at least 1."""
    merged = (gso_type > 0) & (gso_size > 0)
    counts = -(-payload.astype(np.int64) // np.maximum(gso_size.astype(np.int64), 1))
    return np.where(merged, np.clip(counts, 1, 65_535), 1).astype(np.uint16)
