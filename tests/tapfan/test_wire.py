"""Batches on the wire: any batch arrives as it was, anything else is a WireError."""

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapfan.batch import COLUMNS, RECORD_BYTES, Batch, Records
from tapfan.bounds import (
    MAX_MESSAGE_BYTES,
    MAX_NUMBER,
    MAX_PARTS,
    MAX_RECORDS,
    MAX_SEQUENCE,
    MAX_TIMESTAMP_NS,
    MAX_TTL_MS,
)
from tapfan.wire import (
    PackedBatch,
    WireError,
    batch_message,
    packed_batch,
    read_batch,
    read_part,
    read_shares,
    share_parts,
    shares_message,
    unpack,
)
from tests.tapfan.strategies import anything, batches, nested, same, slices

_LONGEST_ERROR = 300
_TTLS = st.integers(1, MAX_TTL_MS - 1)
nearly_columns = st.tuples(
    st.one_of(st.sampled_from([0, 255, 256, 65_535, 65_536, MAX_TIMESTAMP_NS - 1, 2**64 - 1]), st.binary(max_size=16)),
    st.one_of(st.sampled_from([0, 1, 2, 4, 8, 16]), anything),
    st.binary(max_size=64),
)


def _example() -> dict[str, Any]:
    """A valid message, as its map: two records whose source ports differ."""
    one_value: dict[str, Any] = {name: [1, 0, b""] for name in COLUMNS}
    addresses = {"source": [bytes(12), 4, b"\1\2\3\4\5\6\7\x08"], "destination": [bytes(16), 0, b""]}
    ports = {"source_port": [1000, 1, b"\0\xff"]}
    head = {"kind": "batch", "version": 1, "stream": "local.0a1b2c3d", "first": 5, "count": 2}
    return head | one_value | addresses | ports


def _read(content: dict[str, Any]) -> Batch:
    return read_batch(unpack(msgpack.packb(content))).unpacked()


def _sound_or_refused(message: bytes) -> None:
    """A message is refused with a short text, or holds a batch that can be looked at, and sent on as it is."""
    try:
        packed = read_batch(unpack(message))
    except WireError as error:
        text = str(error)
        assert 0 < len(text) < _LONGEST_ERROR
        return
    _assert_sound(packed)


def _assert_sound(packed: PackedBatch) -> None:
    batch = packed.unpacked()
    assert 0 < len(batch) == len(packed) <= MAX_RECORDS
    assert 0 <= batch.first < batch.end <= MAX_SEQUENCE
    assert int(batch.records.timestamp.max()) < MAX_TIMESTAMP_NS
    for name, (dtype, width) in COLUMNS.items():
        column = getattr(batch.records, name)
        assert (column.dtype, column.shape) == (dtype, (len(batch),) if width == 1 else (len(batch), width))
    if len(batch) < 1000:
        assert same(read_batch(unpack(batch_message(packed))).unpacked(), batch)


@given(batches())
def test_any_batch_arrives_as_it_was(batch: Batch) -> None:
    packed = read_batch(unpack(batch_message(packed_batch(batch))))
    assert (packed.stream, packed.first, packed.end, len(packed)) == (batch.stream, batch.first, batch.end, len(batch))
    assert same(packed.unpacked(), batch)


@given(st.data())
def test_a_slice_of_a_packed_batch_is_the_slice_of_the_batch(data: st.DataObject) -> None:
    batch = data.draw(batches())
    start, stop = data.draw(slices(len(batch)).filter(lambda ends: ends[0] < ends[1]))
    part = packed_batch(batch).slice(start, stop)
    assert (part.first, part.end, len(part)) == (batch.first + start, batch.first + stop, stop - start)
    assert same(part.unpacked(), batch[start:stop])
    again_start, again_stop = data.draw(slices(len(part)).filter(lambda ends: ends[0] < ends[1]))
    again = read_batch(unpack(batch_message(part.slice(again_start, again_stop))))
    assert same(again.unpacked(), batch[start:stop][again_start:again_stop])


@st.composite
def _cuts(draw: st.DrawFn, count: int) -> list[int]:
    """The sizes of contiguous shares of so many records."""
    stops = sorted({*draw(st.lists(st.integers(1, count), max_size=20)), count})
    return [stop - start for start, stop in pairwise([0, *stops])]


@given(batches(), st.from_regex("[0-9a-f]{8}", fullmatch=True), st.integers(0, MAX_NUMBER - 100), _TTLS, st.data())
def test_the_shares_of_a_batch_arrive_with_their_heads_and_are_the_batch(
    batch: Batch, router: str, number: int, ttl_ms: int, data: st.DataObject
) -> None:
    packed = read_batch(unpack(batch_message(packed_batch(batch))))
    counts = data.draw(_cuts(len(batch)))
    for whole in (packed, packed_batch(batch), packed_batch(batch).slice(0, len(batch))):
        parts = share_parts(replace(whole, ttl_ms=ttl_ms), counts)
        content = unpack(shares_message(router, number, parts))
        assert content["kind"] == "shares"
        told_router, first, shares = read_shares(content)
        assert (told_router, first) == (router, number)
        assert [(len(share), share.ttl_ms) for share in shares] == [(count, ttl_ms) for count in counts]
        starts = [0, *accumulate(counts)]
        for start, share, part in zip(starts, shares, parts, strict=False):
            assert same(share.unpacked(), batch[start : start + len(share)])
            assert same(read_part(part).unpacked(), share.unpacked())


@given(batches(), _TTLS, st.data())
def test_a_share_is_cut_again_as_a_batch_is(batch: Batch, ttl_ms: int, data: st.DataObject) -> None:
    (part,) = share_parts(replace(packed_batch(batch), ttl_ms=ttl_ms), [len(batch)])
    again = share_parts(read_part(part), data.draw(_cuts(len(batch))))
    pieces = [read_part(piece).unpacked() for piece in again]
    assert same(Batch(batch.stream, batch.first, Records.concatenate([piece.records for piece in pieces])), batch)


@pytest.mark.parametrize("length", [1, 25, 26, 27, 28, 32])
@pytest.mark.parametrize("count", [1, 9, 37, 0x2525])
@pytest.mark.parametrize("ttl_ms", [37, 0x2525, 0x25252525])
def test_shares_of_any_lengths_are_read_as_they_were(length: int, count: int, ttl_ms: int) -> None:
    columns = {
        name: np.full((count, width) if width > 1 else count, 37, dtype) for name, (dtype, width) in COLUMNS.items()
    }
    columns["timestamp"] = np.uint64(0x2525252525) + np.arange(count, dtype=np.uint64) * np.uint64(37)
    batch = Batch("s" * length + ".25252525", 0x25252525, Records(**columns))
    (part,) = share_parts(replace(packed_batch(batch), ttl_ms=ttl_ms), [count])
    assert read_part(part).ttl_ms == ttl_ms
    assert same(read_part(part).unpacked(), batch)


def _shares() -> dict[str, Any]:
    """A valid message of two shares, as its map."""
    batch = read_batch(unpack(msgpack.packb(_example())))
    content: dict[str, Any] = msgpack.unpackb(
        shares_message("0a1b2c3d", 7, share_parts(replace(batch, ttl_ms=300_000), [1, 1]))
    )
    return content


@pytest.mark.parametrize("number", [-1, MAX_NUMBER - 1, 2**63, True, 1.0, "1", None])
def test_shares_with_a_bad_number_are_refused(number: Any) -> None:
    with pytest.raises(WireError, match=r"number .* is not an integer"):
        read_shares(_shares() | {"number": number})


@pytest.mark.parametrize("router", [None, 1, b"0a1b2c3d", ["0a1b2c3d"]])
def test_shares_with_a_bad_router_are_refused(router: Any) -> None:
    with pytest.raises(WireError, match=r"router .* is not text"):
        read_shares(_shares() | {"router": router})


@pytest.mark.parametrize("parts", [None, [], {}, b"parts", "parts", 2, [[]] * (MAX_PARTS + 1)])
def test_no_shares_or_too_many_are_refused(parts: Any) -> None:
    with pytest.raises(WireError, match=f"are not 1 to {MAX_PARTS} shares"):
        read_shares(_shares() | {"parts": parts})


_CUT_SHORT, _COMMON, _FIRST, _COUNT, _DATA = range(-1, 4)


@pytest.mark.parametrize(
    ("item", "value", "problem"),
    [
        (_COMMON, None, r"common None is not \[stream"),
        (_COMMON, [], r"common \[\] is not \[stream"),
        (_FIRST, -1, "first -1 is not"),
        (_FIRST, MAX_SEQUENCE - 1, "first 281474976710655 is not"),
        (_COUNT, 0, "count 0 is not"),
        (_COUNT, 2, "bytes for 2 records"),
        (_COUNT, MAX_RECORDS + 1, "count 65537 is not"),
        (_COUNT, True, "count True is not"),
        (_DATA, None, "data None is not bytes"),
        (_DATA, "12345", "data '12345' is not bytes"),
        (_DATA, b"1234", "0 bytes for 1 records of 1"),
        (_DATA, b"123456", "data: 1 bytes more than those of 1 records"),
        (_CUT_SHORT, None, r"is not \[common, first, count, data\]"),
    ],
)
def test_one_bad_share_is_refused_with_all_others(item: int, value: Any, problem: str) -> None:
    content = _shares()
    part = content["parts"][1]
    content["parts"][1] = part[:-1] if item == _CUT_SHORT else [*part[:item], value, *part[item + 1 :]]
    with pytest.raises(WireError, match=problem):
        read_shares(content)


@pytest.mark.parametrize(
    ("at", "value", "problem"),
    [
        (0, "local", "stream 'local' is not"),
        (1, 0, "ttl 0 is not an integer"),
        (1, -1, "ttl -1 is not an integer"),
        (1, MAX_TTL_MS, "ttl .* is not an integer"),
        (1, True, "ttl True is not an integer"),
        (1, 1.0, "ttl 1.0 is not an integer"),
        (1, None, "ttl None is not an integer"),
        (2, -1, "column timestamp: .* not those of numbers"),
        (2, MAX_TIMESTAMP_NS, "column timestamp: a number of"),
        (3, 3, "column timestamp: .* not those of numbers"),
        (3, 2**70, "column timestamp: .* not those of numbers"),
        (3, -8, "column timestamp: .* not those of numbers"),
        (3, True, "column timestamp: .* not those of numbers"),
        (3, "1", "column timestamp: .* not those of numbers"),
        (4, bytes(11), "column source: .* not those of addresses"),
        (5, 16, "column source: .* not those of addresses"),
    ],
)
def test_one_bad_value_that_shares_have_in_common_is_refused(at: int, value: Any, problem: str) -> None:
    content = _shares()
    content["parts"][0][0][at] = value
    with pytest.raises(WireError, match=problem):
        read_shares(content)


def test_shares_of_another_version_are_refused() -> None:
    with pytest.raises(WireError, match="version 2, not 1"):
        read_shares(_shares() | {"version": 2})


def _shares_sound_or_refused(message: bytes) -> None:
    try:
        _, number, shares = read_shares(unpack(message))
    except WireError as error:
        text = str(error)
        assert 0 < len(text) < _LONGEST_ERROR
        return
    assert 0 <= number < number + len(shares) <= MAX_NUMBER
    for share in shares:
        assert 0 < share.ttl_ms < MAX_TTL_MS
        _assert_sound(share)


@given(batches(max_count=8), st.data())
def test_shares_with_some_bytes_changed_are_refused_or_sound(batch: Batch, data: st.DataObject) -> None:
    parts = share_parts(replace(packed_batch(batch), ttl_ms=300_000), data.draw(_cuts(len(batch))))
    message = bytearray(shares_message("0a1b2c3d", 7, parts))
    for at in data.draw(st.lists(st.integers(0, len(message) - 1), max_size=4)):
        message[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(message)), st.integers(0, len(message))))
    _shares_sound_or_refused(bytes(message[:cut]) + data.draw(st.binary(max_size=3)))


@given(st.integers(0, 1), st.one_of(st.integers(0, 3), st.tuples(st.just(0), st.integers(0, 15))), anything)
def test_shares_with_one_other_value_are_refused_or_sound(at: int, place: int | tuple[int, int], value: Any) -> None:
    content = _shares()
    part = content["parts"][at]
    if isinstance(place, int):
        part[place] = value
    else:
        part[0][place[1]] = value
    _shares_sound_or_refused(msgpack.packb(content))


@given(anything)
def test_whatever_comes_in_as_shares_is_refused_or_sound(value: Any) -> None:
    _shares_sound_or_refused(msgpack.packb(_shares() | {"parts": value}))
    _shares_sound_or_refused(msgpack.packb(_shares() | {"parts": [value]}))
    _shares_sound_or_refused(msgpack.packb(value))


def test_the_largest_batch_of_the_most_varied_records_fits_into_a_message() -> None:
    bits = np.random.default_rng(1)
    shapes = {name: (MAX_RECORDS, width)[: 1 + (width > 1)] for name, (_, width) in COLUMNS.items()}
    columns = {name: bits.integers(0, 256**dtype.itemsize, shapes[name], dtype) for name, (dtype, _) in COLUMNS.items()}
    columns["timestamp"] %= np.uint64(MAX_TIMESTAMP_NS)
    batch = Batch("local.0a1b2c3d", MAX_SEQUENCE - MAX_RECORDS - 1, Records(**columns))
    message = batch_message(packed_batch(batch))
    assert MAX_RECORDS * RECORD_BYTES < len(message) < MAX_MESSAGE_BYTES
    assert same(read_batch(unpack(message)).unpacked(), batch)


def test_the_example_that_the_others_break_is_valid() -> None:
    batch = _read(_example())
    assert batch.records.source_port.tolist() == [1000, 1255]
    assert batch.records.source[1].tolist() == [0] * 12 + [5, 6, 7, 8]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("version", 2, "version 2, not 1"),
        ("version", None, "version None"),
        ("stream", "local", "stream 'local' is not"),
        ("stream", "local.0A1B2C3D", "is not a name and eight"),
        ("stream", "local.0a1b2c3d\n", "is not a name and eight"),
        ("stream", "a" * 33 + ".0a1b2c3d", "is not a name and eight"),
        ("stream", "tcp:*.0a1b2c3d", "is not a name and eight"),
        ("stream", b"local.0a1b2c3d", "is not a name and eight"),
        ("count", 0, "count 0 is not an integer from 1 to 65536"),
        ("count", 1, "8 bytes for 1 records of 4"),
        ("count", 3, "8 bytes for 3 records of 4"),
        ("count", MAX_RECORDS + 1, "count 65537 is not"),
        ("count", True, "count True is not"),
        ("count", 2.0, "count 2.0 is not"),
        ("first", -1, "first -1 is not"),
        ("first", MAX_SEQUENCE - 2, "first 281474976710654 is not"),
        ("first", "5", "first '5' is not"),
        ("source", None, r"column source is not \[base, width, data\]"),
        ("source", [bytes(12), 4], r"column source is not"),
        ("source", [bytes(12), 4, "\1\2\3\4\5\6\7\x08"], r"column source is not"),
        ("source", [bytes(12), 4, bytes(7)], "column source: 7 bytes for 2 records of 4 each"),
        ("source", [bytes(11), 4, bytes(8)], "column source: .* not those of addresses"),
        ("source", [0, 4, bytes(8)], "column source: .* not those of addresses"),
        ("flags", [256, 0, b""], "column flags: a number of 256 or more"),
        ("flags", [255, 1, b"\0\1"], "column flags: a number of 256 or more"),
        ("flags", [bytes(16), 0, b""], "column flags: .* not those of numbers"),
        ("segments", [65_535, 1, b"\1\0"], "column segments: a number of 65536 or more"),
        ("source_port", [2**64 - 1, 8, bytes(16)], "column source_port: a number of 65536 or more"),
        ("timestamp", [MAX_TIMESTAMP_NS, 0, b""], "column timestamp: a number of 1(0+) or more"),
        ("timestamp", [MAX_TIMESTAMP_NS - 1, 1, b"\1\0"], "column timestamp: a number of 1(0+) or more"),
        ("timestamp", [-1, 0, b""], "column timestamp: .* not those of numbers"),
    ],
)
def test_one_bad_field_is_refused_by_name(key: str, value: Any, problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        _read(_example() | {key: value})


@pytest.mark.parametrize("key", sorted(_example().keys() - {"kind"}))
def test_a_missing_field_is_refused_by_name(key: str) -> None:
    content = _example()
    del content[key]
    with pytest.raises(WireError, match=key):
        _read(content)


@pytest.mark.parametrize("name", COLUMNS)
def test_the_last_value_of_each_column_passes(name: str) -> None:
    dtype, width = COLUMNS[name]
    limit = MAX_TIMESTAMP_NS if name == "timestamp" else 256**dtype.itemsize
    largest = [limit - 1, 0, b""] if width == 1 else [b"\xff" * 16, 0, b""]
    column = getattr(_read(_example() | {name: largest}).records, name)
    assert column.max() == (limit - 1 if width == 1 else 255)


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")
@example(b"\x80 and more")
@example(b"\x81\x01\x02")
@example(b"\x81\xc4\x01a\x02")
@example(b"\x81\x90\x02")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\xc6\xff\xff\xff\xff")
@example(b"\x81\xa1\xff\x01")
@example(b"\x81\xa7version\xd6\xff\0\0\0\0")
def test_whatever_bytes_come_in_are_refused_or_sound(message: bytes) -> None:
    _sound_or_refused(message)


@given(anything)
def test_whatever_msgpack_comes_in_is_refused_or_sound(content: Any) -> None:
    _sound_or_refused(msgpack.packb(content))


@given(batches(max_count=8), st.data())
def test_a_message_with_some_bytes_changed_is_refused_or_sound(batch: Batch, data: st.DataObject) -> None:
    message = bytearray(batch_message(packed_batch(batch)))
    for at in data.draw(st.lists(st.integers(0, len(message) - 1), max_size=4)):
        message[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(message)), st.integers(0, len(message))))
    _sound_or_refused(bytes(message[:cut]) + data.draw(st.binary(max_size=3)))


@given(batches(max_count=4), st.data())
def test_a_message_with_one_other_value_is_refused_or_sound(batch: Batch, data: st.DataObject) -> None:
    content = unpack(batch_message(packed_batch(batch)))
    key = data.draw(st.sampled_from(sorted(content)))
    content[key] = data.draw(st.one_of(anything, nearly_columns))
    _sound_or_refused(msgpack.packb(content))


@pytest.mark.parametrize("depth", [10, 300, 900, 1000, 1020, 2000, 100_000])
@pytest.mark.parametrize(
    ("key", "read"),
    [
        ("version", read_batch),
        ("stream", read_batch),
        ("count", read_batch),
        ("first", read_batch),
        ("source", read_batch),
        ("router", read_shares),
        ("number", read_shares),
        ("parts", read_shares),
    ],
)
def test_nesting_of_any_depth_is_refused(key: str, read: Callable[[dict[str, Any]], object], depth: int) -> None:
    message = nested(_example() | {"router": "0a1b2c3d", "number": 1}, key, depth)
    with pytest.raises(WireError):
        read(unpack(message))


@pytest.mark.parametrize("content", [None, 1, "batch", [1, 2], b"batch", {1: 2}, {b"kind": "batch"}])
def test_what_is_no_map_with_text_keys_is_refused(content: Any) -> None:
    with pytest.raises(WireError, match=r"not a map with text keys|not msgpack"):
        unpack(msgpack.packb(content))


def test_a_message_too_long_is_refused_before_it_is_unpacked() -> None:
    longest = msgpack.packb({"kind": "x" * (MAX_MESSAGE_BYTES - 11)})
    assert len(longest) == MAX_MESSAGE_BYTES
    assert unpack(longest)
    with pytest.raises(WireError, match="4194305 bytes, more than 4194304"):
        unpack(longest + b"\0")
