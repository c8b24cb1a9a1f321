"""Batches on the wire: any batch arrives as it was, anything else is a WireError."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapfan.batch import COLUMNS, RECORD_BYTES, Batch, Records
from tapfan.wire import (
    MAX_MESSAGE_BYTES,
    MAX_RECORDS,
    MAX_SEQUENCE,
    MAX_TIMESTAMP_NS,
    MAX_TTL_MS,
    WireError,
    batch_message,
    packed_batch,
    read_batch,
    share_head,
    share_message,
    unpack,
)
from tests.tapfan.strategies import anything, batches, nested, same, slices

_LONGEST_ERROR = 300
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


@given(
    batches(max_count=8),
    st.from_regex("[0-9a-f]{8}", fullmatch=True),
    st.integers(0, 2**63 - 1),
    st.integers(1, MAX_TTL_MS - 1),
)
def test_a_share_arrives_with_its_head(batch: Batch, router: str, number: int, ttl_ms: int) -> None:
    share = replace(packed_batch(batch), ttl_ms=ttl_ms)
    content = unpack(share_message(router, number, share))
    assert content["kind"] == "share"
    assert share_head(content) == (router, number, ttl_ms)
    assert read_batch(content).slice(0, 1).ttl_ms == ttl_ms
    assert same(read_batch(content).unpacked(), batch)


@pytest.mark.parametrize("number", [-1, 2**63, True, 1.0, "1", None])
def test_a_share_with_a_bad_number_is_refused(number: Any) -> None:
    with pytest.raises(WireError, match=r"number .* is not an integer"):
        share_head({"router": "0a1b2c3d", "number": number, "ttl": 1})


@pytest.mark.parametrize("ttl", [0, -1, MAX_TTL_MS, True, 1.0, "1", None])
def test_a_share_with_a_bad_time_to_live_is_refused(ttl: Any) -> None:
    with pytest.raises(WireError, match=r"ttl .* is not an integer"):
        share_head({"router": "0a1b2c3d", "number": 1, "ttl": ttl})


@pytest.mark.parametrize("router", [None, 1, b"0a1b2c3d", ["0a1b2c3d"]])
def test_a_share_with_a_bad_router_is_refused(router: Any) -> None:
    with pytest.raises(WireError, match=r"router .* is not text"):
        share_head({"router": router, "number": 1, "ttl": 1})


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
        ("router", share_head),
        ("number", share_head),
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
