"""Blocks: what was packed comes back with its identities; whatever else comes in is an error, and nothing more."""

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.blocks import BlockError, Key, Span, pack, pack_one, unpack
from tapfan.bounds import MAX_TTL_MS
from tapfan.wire import packed_batch
from tests.tapfan.strategies import anything, batches, nested, rows

_ttls_ms = st.integers(1, MAX_TTL_MS - 1)


def _a_block(parts: list[Batch], ttl_ms: int = 300_000) -> tuple[bytes, dict[str, Any]]:
    key, value = pack(parts, ttl_ms)
    return key, msgpack.unpackb(value)


@given(st.lists(batches(max_count=8), min_size=1, max_size=4), _ttls_ms)
def test_what_was_packed_comes_back_in_the_order_of_its_spans(parts: list[Batch], ttl_ms: int) -> None:
    key, value = pack(parts, ttl_ms)
    block = unpack(key, value)
    assert block.ttl_ms == ttl_ms
    assert block.spans == tuple(Span(part.stream, part.first, len(part)) for part in parts)
    assert rows(block.records) == [row for part in parts for row in rows(part.records)]
    assert block.sequence.tolist() == [number for part in parts for number in range(part.first, part.end)]


@given(batches(max_count=8), _ttls_ms)
def test_a_packed_batch_becomes_the_same_block(part: Batch, ttl_ms: int) -> None:
    assert pack_one(packed_batch(part), ttl_ms) == pack([part], ttl_ms)


@given(batches(max_count=8))
def test_a_key_says_when_what_and_how_many(part: Batch) -> None:
    key, _ = pack([part], 1)
    times = part.records.timestamp.tolist()
    assert key == (f"tcpb:{min(times):019}-{max(times):019}-{part.stream}.{part.first:012x}.{len(part)}".encode())
    assert Key.read(key) == Key(min(times), max(times), part.stream, part.first, len(part))
    assert Key.read(key).text == key


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"tcpb:",
        b"tcp:10.0.0.1>10.0.0.2:1764153600000000000-local.0123abcd.000000000000",
        b"tcpb:1764153600000000001-1764153600000000000-local.0123abcd.000000000000.1",
        b"tcpb:1764153600000000000-1764153600000000000-local.0123abcd.000000000000.0",
        b"tcpb:1764153600000000000-1764153600000000000-local.0123abcd.000000000000.99999",
        b"tcpb:1764153600000000000-1764153600000000000-local.0123abcd.00000000000G.1",
        b"tcpb:1764153600000000000-1764153600000000000-lo cal.0123abcd.000000000000.1",
        b"tcpb:1764153600000000000-1764153600000000000-local.0123abcd.000000000000.1\n",
        "tcpb:\uff11764153600000000000-1764153600000000000-local.0123abcd.000000000000.1".encode(),
    ],
)
def test_a_key_of_another_form_is_refused(key: bytes) -> None:
    with pytest.raises(BlockError):
        Key.read(key)


@given(st.binary(max_size=200))
def test_bytes_at_random_are_refused(value: bytes) -> None:
    with pytest.raises(BlockError):
        unpack(b"tcpb:1764153600000000000-1764153600000000000-local.0123abcd.000000000000.1", value)


@given(batches(max_count=8), st.data())
def test_a_value_that_was_cut_is_refused(part: Batch, data: st.DataObject) -> None:
    key, value = pack([part], 1)
    with pytest.raises(BlockError):
        unpack(key, value[: data.draw(st.integers(0, len(value) - 1))])


@given(batches(max_count=4), st.data(), anything)
def test_a_forged_field_is_refused_or_changes_nothing(part: Batch, data: st.DataObject, forged: Any) -> None:
    key, content = _a_block([part])
    name = data.draw(st.sampled_from(sorted(content)))
    had = content[name]
    content[name] = forged
    try:
        block = unpack(key, msgpack.packb(content))
    except BlockError:
        return
    assert name == "ttl" or forged == had or rows(block.records) == rows(part.records)


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [[]],
        [["local.0123abcd", 0]],
        [["local.0123abcd", 0, 3], ["local.0123abcd", 3, 0]],
        [["local.0123abcd", 0, 2]],
        [["local.0123abcd", 0, 2], ["local", 2, 1]],
        [["local.0123abcd", 0, 2], ["local.0123abcd", -1, 1]],
        [["local.0123abcd", 0, 2], ["local.0123abcd", 2**48, 1]],
        [["local.0123abcd", 1, 3]],
        [["other.0123abcd", 0, 3]],
        [["local.0123abcd", False, 3]],
        [["local.0123abcd", 0, 2], ["local.0123abcd", 2, True]],
        {"local.0123abcd": 3},
    ],
)
def test_spans_that_are_not_the_blocks_are_refused(a_part: Batch, spans: Any) -> None:
    key, content = _a_block([a_part])
    with pytest.raises(BlockError):
        unpack(key, msgpack.packb(content | {"spans": spans}))


def test_a_value_under_another_blocks_key_is_refused(a_part: Batch) -> None:
    key, value = pack([a_part], 1)
    said = Key.read(key)
    for other in (
        Key(said.first_ns - 1, said.last_ns, said.stream, said.sequence, said.count),
        Key(said.first_ns, said.last_ns + 1, said.stream, said.sequence, said.count),
        Key(said.first_ns, said.last_ns, said.stream, said.sequence + 1, said.count),
        Key(said.first_ns, said.last_ns, said.stream, said.sequence, said.count + 1),
    ):
        with pytest.raises(BlockError, match="contradict"):
            unpack(other.text, value)


def test_what_a_forged_value_says_of_its_size_allocates_nothing(a_part: Batch) -> None:
    """Lengths that are far beyond the value's own, in each place where there is one."""
    key, content = _a_block([a_part])
    forged = [
        msgpack.packb(content | {"count": 2**31}),
        msgpack.packb(content | {"spans": [["local.0123abcd", 0, 65_536]] * 1000}),
        nested(content, "spans", 100_000),
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa4kind\xdd\xff\xff\xff\xff",
        b"\x81\xa4kind\xc6\xff\xff\xff\xff",
    ]
    tracemalloc.start()
    try:
        for value in forged:
            with pytest.raises(BlockError):
                unpack(key, value)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


@pytest.fixture
def a_part() -> Batch:
    """Three records."""
    records = Records.empty(3)
    for name in COLUMNS:
        getattr(records, name)[:] = 7
    records.timestamp[:] = [10**18, 10**18 + 1, 10**18 + 2]
    return Batch("local.0123abcd", 0, records)
