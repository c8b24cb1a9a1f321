"""Numbers, addresses and flags in their text form, read in bulk."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tapfan.batch import Column
from tapfan.endpoints import address_text, packed
from tapfan.flags import TEXTS as FLAG_TEXTS
from tapfan.reader.texts import Texts

LONGEST_ADDRESS = 39  # characters
LONGEST_FLAGS = 8
_ADDRESS_WIDTH = 40
_ZEROS = 0x3030303030303030
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


def powers(base: int, pairs: int, halves: int) -> NDArray[np.float64]:
    """What each pair of digits counts, in parts that are exact as float64, for which numpy has a fast product."""
    part = pairs // halves
    powers = np.zeros((pairs, halves))
    for half in range(halves):
        powers[half * part : (half + 1) * part, half] = float(base) ** (2 * np.arange(part - 1, -1, -1))
    return powers


DECIMAL = _pairs(b"0123456789", b"0123456789", 10)
HEX = _pairs(b"0123456789abcdef", b"0123456789abcdef", 16)

_PORT_POWERS = powers(10, 4, 1)
_FLAG_CODES = np.array([int.from_bytes(text.encode(), "little") for text in FLAG_TEXTS], np.uint64)
_FLAGS_OF_WORDS = np.argsort(_FLAG_CODES).astype(np.uint8)
_FLAG_WORDS = _FLAG_CODES[_FLAGS_OF_WORDS]

# Of an octet's first two characters: its number so far, + _SHORT where the second is no digit any more.
# Of the next two: the third digit, + _SHORT where there is none. _WRONG for whatever is no octet.
_SHORT, _WRONG = 1000, 2000
_ENDS = b'.>:"'  # what may stand behind an octet
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


def numbers(texts: Column, table: Column, powers: Column) -> tuple[Column, Column]:
    """Numbers of an even width, and which of them are some. The powers' columns, one or two, are joined by 10**10."""
    parts = table[texts.view("<u2")] @ powers
    sound = ~np.isnan(parts[:, 0] + parts[:, -1])
    if not sound.all():
        parts[~sound] = 0
    whole = parts.astype(np.uint64)
    number = whole[:, 0]
    for column in range(1, whole.shape[1]):
        number = number * np.uint64(10**10) + whole[:, column]
    return number, sound


def addresses(texts: Texts, starts: Column, ends: Column) -> tuple[Column, Column]:
    """Addresses of shape (n, 16), and which of them are some, as `address_text` writes them."""
    count = len(starts)
    if not count:
        return np.empty((0, 16), np.uint8), np.empty(0, bool)
    lengths = ends - starts
    if (lengths == lengths[0]).all():
        text = texts.words(starts, ends, _ADDRESS_WIDTH)
        if (text == text[0]).all():
            only = address(text_of(text[0]))
            constant = np.frombuffer(only or bytes(16), np.uint8)
            return np.broadcast_to(constant, (count, 16)), np.full(count, only is not None)
    found = np.zeros((count, 16), np.uint8)
    found[:, 10:12] = 255
    found[:, 12:], sound = _ipv4(texts, starts, ends)
    others = np.flatnonzero(~sound)
    if len(others):
        text = texts.words(starts[others], ends[others], _ADDRESS_WIDTH)
        first, kind = distinct(text)
        read = [address(text_of(text[row])) for row in first]
        found[others] = np.frombuffer(b"".join(each or bytes(16) for each in read), np.uint8).reshape(-1, 16)[kind]
        sound[others] = np.array([each is not None for each in read])[kind]
    return found, sound


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


def text_of(words: Column) -> bytes:
    """What is in a row of words, without the NUL behind it."""
    return words.tobytes().rstrip(b"\0")


@lru_cache(maxsize=65_536)
def address(text: bytes) -> bytes | None:
    """The 16 bytes of an address in its usual text; None for any other."""
    try:
        found = packed(text.decode("ascii"))
    except ValueError:
        return None
    return found if address_text(found).encode() == text else None


def distinct(rows: Column) -> tuple[Column, Column]:
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


def small_numbers(texts: Texts, starts: Column, ends: Column) -> tuple[Column, Column]:
    """Decimal numbers below 65,536 of one to five digits, and which of the texts are some; none is longer."""
    lengths = (ends - starts).astype(np.uint64)
    missing = (np.uint64(8) - lengths) * np.uint64(8)  # bits; a shift by 64 gives 0, as numpy defines it
    words = texts.words(starts, ends, 8)[:, 0] << missing | np.uint64(_ZEROS) >> (lengths * np.uint64(8))
    number, sound = numbers(words[:, None].view(np.uint8), DECIMAL, _PORT_POWERS)
    is_usual = (lengths == 1) | (texts.data[starts] != ord("0"))
    return number, sound & is_usual & (number < 65_536) & (lengths > 0)


def flags(texts: Texts, starts: Column, ends: Column) -> tuple[Column, Column]:
    """TCP flags, and which of the texts are some, as they are written; none is longer than eight letters."""
    words = texts.words(starts, ends, 8)[:, 0]
    place = np.minimum(np.searchsorted(_FLAG_WORDS, words), len(_FLAG_WORDS) - 1)
    return _FLAGS_OF_WORDS[place], _FLAG_WORDS[place] == words
