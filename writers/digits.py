"""Numbers and addresses as columns of text, made from lookup tables, without a loop over the records."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tapfan.batch import Column, is_constant
from tapfan.endpoints import IPV4_MAPPED_PREFIX, address_text
from tapfan.flags import TEXTS as FLAG_TEXTS
from writers.texts import Bytes, Field, Lengths, Text

Words = NDArray[np.uint64]

_IPV6_WIDTH = 40  # the longest text has 39 characters


def _table(texts: list[str]) -> Words:
    """Texts of at most eight characters as little-endian words, padded with NUL."""
    return np.array([int.from_bytes(text.encode(), "little") for text in texts], "<u8")


_DECIMAL = _table([str(number) for number in range(65_536)])
_DECIMAL_LENGTH = np.array([len(str(number)) for number in range(65_536)])
_FOUR_DECIMAL = _table([f"{number:04}" for number in range(10_000)]).astype("<u4")
_FOUR_HEX = _table([f"{number:04x}" for number in range(65_536)]).astype("<u4")
_TWO_OCTETS = _table([f"{number >> 8}.{number & 255}" for number in range(65_536)])
_TWO_OCTETS_LENGTH = np.array([len(f"{number >> 8}.{number & 255}") for number in range(65_536)])
_DOT = ord(".")
_FLAGS = _table(list(FLAG_TEXTS))
_FLAGS_LENGTH = np.array([len(text) for text in FLAG_TEXTS])


def decimal(numbers: Column) -> Field:
    """Numbers below 65,536 in decimal."""
    return _looked_up(numbers, _DECIMAL, _DECIMAL_LENGTH)


def flags(values: Column) -> Field:
    """TCP flags as letters."""
    return _looked_up(values, _FLAGS, _FLAGS_LENGTH)


def _looked_up(values: Column, texts: Words, lengths: Lengths) -> Field:
    if is_constant(values):
        text: bytes = texts[values[0]].tobytes()
        return text.rstrip(b"\0")
    text_lengths = lengths[values]
    rows = _as_bytes(texts[values])
    if is_constant(text_lengths):
        return Text(rows[:, : text_lengths[0]])
    return Text(rows, text_lengths)


def _as_bytes(words: Words) -> Bytes:
    return words.view(np.uint8).reshape(len(words), -1)


def fixed_decimal(numbers: Column, digits: int) -> Text:
    """Numbers below 10**digits in decimal with leading zeros."""
    return _fixed(numbers, digits, 10_000, _FOUR_DECIMAL)


def fixed_hex(numbers: Column, digits: int) -> Text:
    """Numbers below 16**digits in hexadecimal with leading zeros."""
    return _fixed(numbers, digits, 65_536, _FOUR_HEX)


def _fixed(numbers: Column, digits: int, base: int, four: NDArray[np.uint32]) -> Text:
    groups = -(-digits // 4)
    text = np.empty((len(numbers), groups), "<u4")
    left = numbers.astype(np.uint64)
    divisor = np.uint64(base)
    for group in range(groups - 1, 0, -1):
        higher = left // divisor
        text[:, group] = four[left - higher * divisor]
        left = higher
    text[:, 0] = four[left]
    return Text(text.view(np.uint8)[:, groups * 4 - digits :])


def addresses(column: Column) -> Field:
    """Addresses of shape (n, 16) in their usual text."""
    if is_constant(column):
        return _cached_text(column[0].tobytes())
    words = np.ascontiguousarray(column).view("<u4")
    mapped = (words[:, 0] == 0) & (words[:, 1] == 0) & (words[:, 2] == _MAPPED_WORD)
    if mapped.all():
        return _ipv4(words[:, 3])
    unique, inverse = np.unique(words.view("V16").ravel(), return_inverse=True)
    texts = [_cached_text(address.tobytes()) for address in unique]
    rows = np.frombuffer(b"".join(text.ljust(_IPV6_WIDTH) for text in texts), np.uint8).reshape(len(texts), -1)
    return Text(rows[inverse], np.array([len(text) for text in texts])[inverse])


_MAPPED_WORD = np.uint32(int.from_bytes(IPV4_MAPPED_PREFIX[8:], "little"))


def _ipv4(big_endian: Column) -> Text:
    """Two halves of two octets each, the second moved to follow the first and a dot."""
    values = big_endian.byteswap()
    high, low = values >> 16, values & 0xFFFF
    high_length = _TWO_OCTETS_LENGTH[high]
    at = (high_length * 8).astype(np.uint64)
    second = at + np.uint64(8)
    second_text = _TWO_OCTETS[low]
    rows = np.empty((len(values), 2), "<u8")
    # A shift by 64 or more gives 0, as numpy defines it.
    rows[:, 0] = _TWO_OCTETS[high] | np.uint64(_DOT) << at | second_text << second
    rows[:, 1] = second_text >> (np.uint64(64) - second)
    return Text(rows.view(np.uint8), high_length + 1 + _TWO_OCTETS_LENGTH[low])


@lru_cache(maxsize=65_536)
def _cached_text(address: bytes) -> bytes:
    return address_text(address).encode()
