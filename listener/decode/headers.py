"""Rows of IP and TCP headers, all of one kind, as columns of records.

Layouts: RFC 791, RFC 8200, RFC 9293. Rows may be views with any strides, of one dimension or two; columns are copies.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from listener.decode.protocols import TCP, TCP_BYTES
from tapfan.batch import Column, Records

IPV4_BYTES, IPV6_BYTES = 20, 40  # the fixed part
# Of an IPv4 header's bytes 6 to 9, read as one little-endian word: no fragment, and the protocol TCP.
_WHOLE_MASK, _WHOLE_TCP = 0xFF00FF3F, TCP << 24

Rows = NDArray[np.void]


@lru_cache(maxsize=32)
def layout(version: int, header: int) -> np.dtype[np.void]:
    """An IP header of `header` bytes, and the TCP header behind it as far as the flags."""
    fields = {
        "first_byte": ("u1", 0),
        "source_port": (">u2", header),
        "destination_port": (">u2", header + 2),
        "data_offset": ("u1", header + 12),
        "flags": ("u1", header + 13),
    }
    if version == 4:
        fields |= {"length": (">u2", 2), "fragment_to_protocol": ("<u4", 6)}
        fields |= {"source": ("(1,)<u4", 12), "destination": ("(1,)<u4", 16)}
    else:
        fields |= {"length": (">u2", 4), "following": ("u1", 6)}
        fields |= {"source": ("(2,)<u8", 8), "destination": ("(2,)<u8", 24)}
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
        first = field[(0,) * (field.ndim - 1)]
        # Word by word, the last one first: numpy takes far longer for all at once.
        if all((field[..., word] == first[word]).all() for word in reversed(range(words))):
            return np.broadcast_to(np.frombuffer(first.tobytes(), np.uint8), shape)
    return np.array(field.view(f"V{width}"), order="C").view(np.uint8).reshape(shape)


def _numbers(field: Column, form: type[np.unsignedinteger[Any]]) -> Column:
    """Numbers in this machine's byte order; one for all where all are the same."""
    if field.size and (field == field.flat[0]).all():
        return np.broadcast_to(form(field.flat[0]), (field.size,))
    return field.astype(form).reshape(-1)


def segments(gso_type: Column, gso_size: Column, payload: Column) -> Column:
    """How many wire segments the kernel had merged into each packet: its payload by their size, at least 1."""
    merged = (gso_type > 0) & (gso_size > 0)
    counts = -(-payload.astype(np.int64) // np.maximum(gso_size.astype(np.int64), 1))
    return np.where(merged, np.clip(counts, 1, 65_535), 1).astype(np.uint16)
