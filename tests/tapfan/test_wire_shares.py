"""Shares of batches on the wire: they arrive as they were, anything else is a WireError."""

from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.bounds import MAX_NUMBER, MAX_PARTS, MAX_RECORDS, MAX_SEQUENCE, MAX_TIMESTAMP_NS, MAX_TTL_MS
from tapfan.wire import (
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
from tests.tapfan.strategies import anything, batches, same
from tests.tapfan.wired import LONGEST_ERROR, an_example, assert_sound

_TTLS = st.integers(1, MAX_TTL_MS - 1)


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
    batch = read_batch(unpack(msgpack.packb(an_example())))
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
        assert 0 < len(text) < LONGEST_ERROR
        return
    assert 0 <= number < number + len(shares) <= MAX_NUMBER
    for share in shares:
        assert 0 < share.ttl_ms < MAX_TTL_MS
        assert_sound(share)


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
