"""A share as Redis commands in the protocol's own form, packed in bulk: `SET key value PXAT ms` for each record.

Key: `tcp:{source}>{destination}:{timestamp, ns}-{stream}.{sequence number, 12 hexadecimal digits}`.
Value: JSON, {"ts","src","sport","dst","dport","flags","segments"}. See RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tapfan.batch import Batch, Column
from writers import digits
from writers.texts import Field, Text, join, length

_NS_A_MS = 1_000_000
_OLDEST_NS = np.uint64(10**18)  # September 2001: from there on, a timestamp has 19 digits
_SEQUENCE_DIGITS = 12
_EXPIRY_DIGITS = 13
_LATEST_EXPIRY_MS = np.uint64(10**_EXPIRY_DIGITS - 1)  # the year 2286, which only a clock that is wrong can reach


@dataclass(frozen=True)
class Commands:
    """Packed commands: their bytes, how many they are, and how many records had expired and have none."""

    data: memoryview
    count: int
    expired: int


def pack(share: Batch, ttl_ms: int, now_ms: int) -> Commands:
    """One SET for each record of the share that still lives at `now_ms`, to live until its capture time + TTL.

    A timestamp with fewer than 19 digits, as of a clock that was never set, counts as expired.
    """
    expiry_ms = np.minimum(share.records.timestamp // np.uint64(_NS_A_MS) + np.uint64(ttl_ms), _LATEST_EXPIRY_MS)
    sequence = np.arange(share.first, share.end, dtype=np.uint64)
    records = share.records
    alive = (expiry_ms > now_ms) & (share.records.timestamp >= _OLDEST_NS)
    living = int(np.count_nonzero(alive))
    expired = len(share) - living
    if not living:
        return Commands(memoryview(b""), 0, expired)
    if expired:
        records, sequence, expiry_ms = records[alive], sequence[alive], expiry_ms[alive]
    source, destination = digits.addresses(records.source), digits.addresses(records.destination)
    timestamp = digits.fixed_decimal(records.timestamp, 19)
    seconds, nanoseconds = Text(timestamp.rows[:, :10]), Text(timestamp.rows[:, 10:])
    key = (
        *(b"tcp:", source, b">", destination, b":", timestamp),
        *(f"-{share.stream}.".encode(), digits.fixed_hex(sequence, _SEQUENCE_DIGITS)),
    )
    value = (
        *(b'{"ts":', seconds, b".", nanoseconds),
        *(b',"src":"', source, b'","sport":', digits.decimal(records.source_port)),
        *(b',"dst":"', destination, b'","dport":', digits.decimal(records.destination_port)),
        *(b',"flags":"', digits.flags(records.flags), b'","segments":', digits.decimal(records.segments), b"}"),
    )
    command = (
        *(b"*5\r\n$3\r\nSET\r\n$", digits.decimal(_total_length(key, living)), b"\r\n", *key),
        *(b"\r\n$", digits.decimal(_total_length(value, living)), b"\r\n", *value),
        *(b"\r\n$4\r\nPXAT\r\n$13\r\n", digits.fixed_decimal(expiry_ms, _EXPIRY_DIGITS), b"\r\n"),
    )
    return Commands(join(command, living), living, expired)


def expiry_ms(timestamp_ns: int, ttl_ms: int) -> int:
    """When a record of that time is over; 0 where the timestamp is none that `pack` takes."""
    if timestamp_ns < _OLDEST_NS:
        return 0
    return min(timestamp_ns // _NS_A_MS + ttl_ms, int(_LATEST_EXPIRY_MS))


def _total_length(fields: Sequence[Field], count: int) -> Column:
    return np.broadcast_to(sum(map(length, fields)), count)
