"""The keys of the record layout, read in bulk: what `writers.commands` makes of records, undone.

Key: `tcp:{source}>{destination}:{timestamp, ns, 19 digits}-{stream}.{sequence number, 12 hexadecimal digits}`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tapfan.batch import Column
from tapfan.endpoints import address_text, packed
from tapfan.reader.texts import Texts
from tapfan.wire import STREAM_FORM

PREFIX = b"tcp:"
_TIME_DIGITS = 19
_SEQUENCE_DIGITS = 12
_SHORTEST, _LONGEST = 53, 158  # `tcp:::>:::` and a stream of one letter; IPv6 addresses and a stream of 41
_ADDRESS_WIDTH = 40  # the longest text has 39 characters
_STREAM_WIDTH = 48
_MIXING = np.uint64(0x9E3779B97F4A7C15)


def _pairs(first: bytes, second: bytes, base: int) -> NDArray[np.float64]:
    """A table from two characters, as a little-endian number, to the number that they write; NaN for any others.

    A character's digit is its place in `first` or `second`.
    """
    table = np.full(2**16, np.nan)
    for high, one in enumerate(first):
        for low, other in enumerate(second):
            table[one | other << 8] = high * base + low
    return table


def _powers(base: int, pairs: int, halves: int) -> NDArray[np.float64]:
    """What each pair of digits counts, in parts that are exact as float64, for which numpy has a fast product."""
    part = pairs // halves
    powers = np.zeros((pairs, halves))
    for half in range(halves):
        powers[half * part : (half + 1) * part, half] = float(base) ** (2 * np.arange(part - 1, -1, -1))
    return powers


_DECIMAL = _pairs(b"0123456789", b"0123456789", 10)
_DECIMAL[[ord(":") | digit << 8 for digit in b"0123456789"]] = np.arange(10)  # 19 digits and the colon before them
_HEX = _pairs(b"0123456789abcdef", b"0123456789abcdef", 16)
_TIME_POWERS = _powers(10, (_TIME_DIGITS + 1) // 2, 2)
_SEQUENCE_POWERS = _powers(16, _SEQUENCE_DIGITS // 2, 1)

# Of an octet's first two characters: its number so far, + _SHORT where the second is no digit any more.
# Of the next two: the third digit, + _SHORT where there is none. _WRONG for whatever is no octet.
_SHORT, _WRONG = 1000, 2000
_ENDS = b".>:"
_OCTET_HEADS = np.full(2**16, _WRONG, np.int16)
_OCTET_TAILS = np.full(2**16, _WRONG, np.int16)
for _digit in range(10):
    for _end in _ENDS:
        _OCTET_HEADS[ord("0") + _digit | _end << 8] = _SHORT + _digit
        _OCTET_TAILS[ord("0") + _digit | _end << 8] = _digit
    if _digit:
        _OCTET_HEADS[[ord("0") + _digit | other << 8 for other in b"0123456789"]] = _digit * 10 + np.arange(10)
for _end in _ENDS:
    _OCTET_TAILS[_end::256] = _SHORT


@dataclass(frozen=True, eq=False)
class RecordKeys:
    """What keys say: `rows` are the places of those that are a record's; the columns are theirs.

    Addresses have shape (n, 16); record i's stream is `streams[stream[i]]`.
    """

    rows: Column
    timestamp: Column
    source: Column
    destination: Column
    streams: list[str]
    stream: Column
    sequence: Column


def read_record_keys(texts: Texts) -> RecordKeys:
    """Read keys that begin with PREFIX; those that are not a record's are left out."""
    starts, ends, lengths = texts.starts, texts.ends, texts.lengths
    arrow, dash = texts.next(b">"), texts.next(b"-")
    colon, dot = dash - _TIME_DIGITS - 1, ends - _SEQUENCE_DIGITS - 1
    sound = (lengths >= _SHORTEST) & (lengths <= _LONGEST) & (dash < dot)
    # No text is longer than what it is looked at by below.
    source_length, destination_length, stream_length = arrow - starts - len(PREFIX), colon - arrow - 1, dot - dash - 1
    for length, longest in ((source_length, 39), (destination_length, 39), (stream_length, 41)):
        sound &= (length >= 2) & (length <= longest)
    sound &= texts.next(b"\0") >= ends  # which pads texts below
    rows = np.flatnonzero(sound)
    starts, ends, arrow, dash, colon, dot = (each[rows] for each in (starts, ends, arrow, dash, colon, dot))
    timestamp, is_time = _numbers(texts.windows(colon, _TIME_DIGITS + 1), _DECIMAL, _TIME_POWERS)
    sequence, is_sequence = _numbers(texts.windows(dot + 1, _SEQUENCE_DIGITS), _HEX, _SEQUENCE_POWERS)
    source, is_source = _addresses(texts, starts + len(PREFIX), arrow)
    destination, is_destination = _addresses(texts, arrow + 1, colon)
    names, stream = _streams(texts, dash + 1, dot)
    is_stream = np.array([bool(name) for name in names], bool)[stream]
    sound = is_time & is_sequence & is_source & is_destination & is_stream
    sound &= (texts.data[colon] == ord(":")) & (texts.data[dot] == ord("."))
    if not sound.all():
        rows, timestamp, source, destination, stream, sequence = (
            each[sound] for each in (rows, timestamp, source, destination, stream, sequence)
        )
    return RecordKeys(rows, timestamp, source, destination, names, stream, sequence)


def _numbers(texts: Column, table: Column, powers: Column) -> tuple[Column, Column]:
    """Numbers of an even width, and which of them are some. The powers' columns are joined in steps of 10**10."""
    parts = table[texts.view("<u2")] @ powers
    sound = ~np.isnan(parts).any(axis=1)
    parts[~sound] = 0
    whole = parts.astype(np.uint64)
    number = whole[:, 0]
    for column in range(1, whole.shape[1]):
        number = number * np.uint64(10**10) + whole[:, column]
    return number, sound


def _addresses(texts: Texts, starts: Column, ends: Column) -> tuple[Column, Column]:
    """Addresses of shape (n, 16), and which of them are some, as `address_text` writes them."""
    count = len(starts)
    if not count:
        return np.empty((0, 16), np.uint8), np.empty(0, bool)
    text = texts.words(starts, ends, _ADDRESS_WIDTH)
    if (text == text[0]).all():
        address = _address(_text(text[0]))
        constant = np.frombuffer(address or bytes(16), np.uint8)
        return np.broadcast_to(constant, (count, 16)), np.full(count, address is not None)
    addresses = np.zeros((count, 16), np.uint8)
    addresses[:, 10:12] = 255
    addresses[:, 12:], sound = _ipv4(texts, starts, ends)
    others = np.flatnonzero(~sound)
    if len(others):
        first, kind = _distinct(text[others])
        found = [_address(_text(text[others[row]])) for row in first]
        addresses[others] = np.frombuffer(b"".join(each or bytes(16) for each in found), np.uint8).reshape(-1, 16)[kind]
        sound[others] = np.array([each is not None for each in found])[kind]
    return addresses, sound


def _ipv4(texts: Texts, starts: Column, ends: Column) -> tuple[Column, Column]:
    """IPv4 addresses of shape (n, 4), and which of the texts are some."""
    octets = np.empty((len(starts), 4), np.uint8)
    sound = np.ones(len(starts), bool)
    at = starts
    for octet in range(4):
        halves = texts.windows(at, 4).view("<u2")
        head, tail = _OCTET_HEADS[halves[:, 0]], _OCTET_TAILS[halves[:, 1]]
        is_one, is_two = head >= _SHORT, tail >= _SHORT
        value = np.where(is_one, head - _SHORT, np.where(is_two, head, head * 10 + tail))
        sound &= (value <= 255) & (is_one | (tail != _WRONG))
        octets[:, octet] = value
        at = at + np.where(is_one, 2, np.where(is_two, 3, 4))
        if octet < 3:
            sound &= (texts.data[np.minimum(at, len(texts.data)) - 1] == ord(".")) & (at < ends)
    return octets, sound & (at == ends + 1)


def _text(words: Column) -> bytes:
    return words.tobytes().rstrip(b"\0")


@lru_cache(maxsize=65_536)
def _address(text: bytes) -> bytes | None:
    """The 16 bytes of an address in its usual text; None for any other."""
    try:
        address = packed(text.decode("ascii"))
    except ValueError:
        return None
    return address if address_text(address).encode() == text else None


def _streams(texts: Texts, starts: Column, ends: Column) -> tuple[list[str], Column]:
    """The streams' different names, empty for what is none, and which of them each has."""
    if not len(starts):
        return [], np.zeros(0, np.int64)
    text = texts.words(starts, ends, _STREAM_WIDTH)
    first, kind = _distinct(text)
    names = (_text(text[row]).decode("latin-1") for row in first)
    return [name if STREAM_FORM.fullmatch(name) else "" for name in names], kind


def _distinct(rows: Column) -> tuple[Column, Column]:
    """The places of different rows of words, and for each row which of these it is."""
    if (rows == rows[0]).all():
        return np.zeros(1, np.int64), np.zeros(len(rows), np.int64)
    mixed = rows[:, 0].copy()
    for column in range(1, rows.shape[1]):
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIXING + rows[:, column]
    _, first, kind = np.unique(mixed, return_index=True, return_inverse=True)
    if not (rows[first[kind]] == rows).all():  # two different rows were mixed to the same number
        whole = np.ascontiguousarray(rows).view(f"V{rows.shape[1] * rows.itemsize}").ravel()
        _, first, kind = np.unique(whole, return_index=True, return_inverse=True)
    return first, kind
