"""A share as Redis commands in the protocol's own form, packed in bulk: `SET key value PXAT ms` for each record.

Key: `tcp:{source}>{destination}:{timestamp, ns}-{stream}.{sequence number, 12 hexadecimal digits}`.
Value: JSON, {"ts","src","sport","dst","dport","flags","segments"}. See RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapfan.batch import Batch, Column
from writers import digits

NS_A_MS = 1_000_000
_SEQUENCE_DIGITS = 12
_SLACK = 64  # the padding of a record's last pieces may run past its end before they are overwritten


@dataclass(frozen=True)
class Commands:
    """Packed commands: their bytes, how many they are, and how many records had expired and have none."""

    data: memoryview
    count: int
    expired: int


def pack(share: Batch, ttl_ms: int, now_ms: int) -> Commands:
    """One SET for each record of the share that still lives at `now_ms`, to live until its capture time + TTL.

    Timestamps must have 19 digits, as all have that are younger than the longest TTL.
    """
    expiry_ms = share.records.timestamp // np.uint64(NS_A_MS) + np.uint64(ttl_ms)
    sequence = np.arange(share.first, share.end, dtype=np.uint64)
    records = share.records
    alive = expiry_ms > now_ms
    living = int(np.count_nonzero(alive))
    expired = len(share) - living
    if not living:
        return Commands(memoryview(b""), 0, expired)
    if expired:
        records, sequence, expiry_ms = records[alive], sequence[alive], expiry_ms[alive]
    source, source_length = digits.addresses(records.source)
    destination, destination_length = digits.addresses(records.destination)
    source_port, source_port_length = digits.decimal(records.source_port)
    destination_port, destination_port_length = digits.decimal(records.destination_port)
    flags, flags_length = digits.flags(records.flags)
    segments, segments_length = digits.decimal(records.segments)

    identity = _Identity(share.stream)
    addresses_length = source_length + destination_length
    key_length = addresses_length + identity.KEY_CHARACTERS + len(share.stream)
    value_length = (
        addresses_length
        + (source_port_length + destination_port_length)
        + (flags_length + segments_length + _VALUE_CHARACTERS)
    )
    pieces = [
        (_HEADS[key_length], _HEAD_LENGTH + (key_length >= 100)),
        (source, source_length),
        (_after(b">", destination), destination_length + 1),
        (identity.rows(records.timestamp, sequence, value_length), None),
        (source, source_length),
        (_after(_SOURCE_PORT, source_port), source_port_length + len(_SOURCE_PORT)),
        (_after(_DESTINATION, destination), destination_length + len(_DESTINATION)),
        (_after(_DESTINATION_PORT, destination_port), destination_port_length + len(_DESTINATION_PORT)),
        (_after(_FLAGS, flags), flags_length + len(_FLAGS)),
        (_after(_SEGMENTS, segments), segments_length + len(_SEGMENTS)),
        (_tail(expiry_ms), None),
    ]
    return Commands(_join(pieces), living, expired)


def _join(pieces: list[tuple[NDArray[np.uint8], NDArray[np.int64] | None]]) -> memoryview:
    """Each record's pieces one after the other, record after record.

    A piece is rows of a fixed width, of which a record's first `length` bytes count (None: all of them). All
    records' first pieces are written, then all their second ones and so on: each overwrites the padding of the
    one before. The last piece has no padding and is longer than what any other leaves behind.
    """
    total = sum(rows.shape[1] if lengths is None else lengths for rows, lengths in pieces)
    ends = np.cumsum(total)
    flat = np.empty(int(ends[-1]) + _SLACK, np.uint8)
    position = ends - total
    for rows, lengths in pieces:
        width = rows.shape[1]
        windows = np.ndarray(len(flat) - width + 1, f"V{width}", flat.data, strides=(1,))
        windows[position] = np.ascontiguousarray(rows).view(f"V{width}").ravel()
        position = position + (width if lengths is None else lengths)
    return flat.data[: int(ends[-1])]


def _after(constant: bytes, rows: Column) -> NDArray[np.uint8]:
    """Rows of bytes or of words, each preceded by the constant."""
    text = rows.view(np.uint8).reshape(len(rows), -1)
    result = np.empty((len(rows), len(constant) + text.shape[1]), np.uint8)
    result[:, : len(constant)] = np.frombuffer(constant, np.uint8)
    result[:, len(constant) :] = text
    return result


_SOURCE_PORT = b'","sport":'
_DESTINATION = b',"dst":"'
_DESTINATION_PORT = b'","dport":'
_FLAGS = b',"flags":"'
_SEGMENTS = b'","segments":'
_VALUE_CHARACTERS = len('{"ts":1763949482.123456789,"src":"') + sum(
    map(len, (_SOURCE_PORT, _DESTINATION, _DESTINATION_PORT, _FLAGS, _SEGMENTS, b"}"))
)
_HEAD_LENGTH = len("*5\r\n$3\r\nSET\r\n$99\r\ntcp:")
_MAX_KEY_LENGTH = 200
# By the key's length: all that comes before the source address.
_HEADS = np.array(
    [
        list(f"*5\r\n$3\r\nSET\r\n${length}\r\ntcp:".ljust(_HEAD_LENGTH + 1).encode())
        for length in range(_MAX_KEY_LENGTH)
    ],
    np.uint8,
)[:, : _HEAD_LENGTH + 1]


class _Identity:
    """From the end of the key to the value's source address: of one width for all records of a stream."""

    KEY_CHARACTERS = len("tcp:>:") + 19 + len("-.") + _SEQUENCE_DIGITS

    def __init__(self, stream: str) -> None:
        sequence = "0" * _SEQUENCE_DIGITS
        text = f':{"t" * 19}-{stream}.{sequence}\r\n$vvv\r\n{{"ts":{"t" * 10}.{"t" * 9},"src":"'
        self._template = np.frombuffer(text.encode(), np.uint8)
        self._stamp = 1
        self._sequence = self._stamp + 19 + 1 + len(stream) + 1
        self._value_length = self._sequence + _SEQUENCE_DIGITS + len("\r\n$")
        self._seconds = self._value_length + 3 + len('\r\n{"ts":')
        self._fraction = self._seconds + 11

    def rows(self, timestamp: Column, sequence: Column, value_length: Column) -> NDArray[np.uint8]:
        rows = np.empty((len(timestamp), len(self._template)), np.uint8)
        rows[:] = self._template
        stamp = digits.fixed_decimal(timestamp, 19)
        rows[:, self._stamp : self._stamp + 19] = stamp
        rows[:, self._sequence : self._sequence + _SEQUENCE_DIGITS] = digits.fixed_hex(sequence, _SEQUENCE_DIGITS)
        rows[:, self._value_length : self._value_length + 3] = digits.fixed_decimal(value_length, 3)
        rows[:, self._seconds : self._seconds + 10] = stamp[:, :10]
        rows[:, self._fraction : self._fraction + 9] = stamp[:, 10:]
        return rows


def _tail(expiry_ms: Column) -> NDArray[np.uint8]:
    """From the value's closing brace to the command's end."""
    before = b"}\r\n$4\r\nPXAT\r\n$13\r\n"
    rows = np.empty((len(expiry_ms), len(before) + 13 + 2), np.uint8)
    rows[:, : len(before)] = np.frombuffer(before, np.uint8)
    rows[:, len(before) : -2] = digits.fixed_decimal(expiry_ms, 13)
    rows[:, -2:] = np.frombuffer(b"\r\n", np.uint8)
    return rows
