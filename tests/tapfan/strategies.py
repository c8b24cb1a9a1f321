"""Hypothesis strategies for what flows through the house, and when two of it are the same."""

from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np
from hypothesis import strategies as st

from tapfan.batch import COLUMNS, Batch, Column, Records
from tapfan.bounds import MAX_SEQUENCE, MAX_TIMESTAMP_NS
from tapfan.endpoints import IPV4_MAPPED_PREFIX
from tapfan.names import STREAM_FORM

MAX_COUNT = 60
_OLDEST_NS = 10**18  # the first timestamp of 19 digits
_SPANS = (0, 1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32)

_ipv4 = st.binary(min_size=4, max_size=4).map(lambda tail: IPV4_MAPPED_PREFIX + tail)
_ipv6 = st.binary(min_size=16, max_size=16)
_ipv6_of_a_network = st.binary(min_size=8, max_size=8).map(lambda tail: b"\x20\x01\x0d\xb8\0\0\0\x01" + tail)
addresses = st.one_of(_ipv4, _ipv6)

_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
)
anything = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@st.composite
def _numbers(draw: st.DrawFn, low: int, high: int) -> list[int]:
    """Some integers from low to high, near to each other or not."""
    least = draw(st.integers(low, high))
    most = min(high, least + draw(st.sampled_from((*_SPANS, high - low))))
    return draw(st.lists(st.integers(least, most), min_size=1, max_size=5)) + draw(st.sampled_from([[], [least, most]]))


@st.composite
def _column(draw: st.DrawFn, name: str, count: int) -> Column:
    """A column in one of the forms that code may meet: an array, strided, or one value broadcast to all records."""
    dtype, width = COLUMNS[name]
    if width == 1:
        bounds = (_OLDEST_NS, MAX_TIMESTAMP_NS - 1) if name == "timestamp" else (0, 256**dtype.itemsize - 1)
        values = np.array(draw(_numbers(*bounds)), dtype)
    else:
        kinds = st.sampled_from((_ipv4, _ipv6, _ipv6_of_a_network, addresses))
        some = draw(kinds.flatmap(lambda kind: st.lists(kind, min_size=1, max_size=5)))
        values = np.frombuffer(b"".join(some), dtype).reshape(-1, width)
    form = draw(st.sampled_from(("array", "strided", "broadcast")))
    if form == "broadcast":
        return np.broadcast_to(values[0], (count, *values.shape[1:]))
    step = 2 if form == "strided" else 1
    return np.resize(values, (count * step, *values.shape[1:]))[::step]


@st.composite
def records(draw: st.DrawFn, min_count: int = 1, max_count: int = MAX_COUNT) -> Records:
    """Records with varied columns."""
    count = draw(st.integers(min_count, max_count))
    return Records(*(draw(_column(name, count)) for name in COLUMNS))


@st.composite
def batches(draw: st.DrawFn, min_count: int = 1, max_count: int = MAX_COUNT) -> Batch:
    """Batches of any stream, anywhere in it."""
    stream = draw(st.from_regex(STREAM_FORM, fullmatch=True))
    first = draw(st.integers(0, MAX_SEQUENCE - max_count - 1))
    return Batch(stream, first, draw(records(min_count, max_count)))


def slices(count: int) -> st.SearchStrategy[tuple[int, int]]:
    """Start and stop of the slices, empty ones among them, of that many records."""
    return st.tuples(st.integers(0, count), st.integers(0, count)).map(lambda ends: (min(ends), max(ends)))


def rows(some: Records) -> list[tuple[Any, ...]]:
    """The records as tuples of Python's own values."""
    return list(zip(*(getattr(some, name).tolist() for name in COLUMNS), strict=True))


def same(one: Batch, other: Batch) -> bool:
    """Whether both hold the same records under the same identities, in columns of the same types."""
    dtypes = all(getattr(one.records, name).dtype == getattr(other.records, name).dtype for name in COLUMNS)
    return dtypes and (one.stream, one.first, rows(one.records)) == (other.stream, other.first, rows(other.records))


def nested(content: Mapping[str, Any], key: str, depth: int) -> bytes:
    """The map as a message, with lists in lists, deeper than msgpack itself would pack them, under one key."""
    rest = [msgpack.packb(part) for name, value in content.items() if name != key for part in (name, value)]
    head = msgpack.Packer().pack_map_header(len(rest) // 2 + 1)
    return b"".join([head, *rest, msgpack.packb(key), b"\x91" * depth, b"\xc0"])
