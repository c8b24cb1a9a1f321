"""Messages that are no batch: a WireError, which says why."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapfan.batch import Batch
from tapfan.bounds import MAX_MESSAGE_BYTES, MAX_RECORDS, MAX_SEQUENCE, MAX_TIMESTAMP_NS
from tapfan.wire import WireError, batch_message, packed_batch, read_batch, read_shares, unpack
from tests.tapfan.strategies import anything, batches, nested
from tests.tapfan.wired import LONGEST_ERROR, an_example, assert_sound, batch_of

nearly_columns = st.tuples(
    st.one_of(st.sampled_from([0, 255, 256, 65_535, 65_536, MAX_TIMESTAMP_NS - 1, 2**64 - 1]), st.binary(max_size=16)),
    st.one_of(st.sampled_from([0, 1, 2, 4, 8, 16]), anything),
    st.binary(max_size=64),
)


def _sound_or_refused(message: bytes) -> None:
    """A message is refused with a short text, or holds a batch that can be looked at, and sent on as it is."""
    try:
        packed = read_batch(unpack(message))
    except WireError as error:
        text = str(error)
        assert 0 < len(text) < LONGEST_ERROR
        return
    assert_sound(packed)


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
        batch_of(an_example() | {key: value})


@pytest.mark.parametrize("key", sorted(an_example().keys() - {"kind"}))
def test_a_missing_field_is_refused_by_name(key: str) -> None:
    content = an_example()
    del content[key]
    with pytest.raises(WireError, match=key):
        batch_of(content)


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
    message = nested(an_example() | {"router": "0a1b2c3d", "number": 1}, key, depth)
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
