"""Whatever lies under our prefixes in a real Redis is skipped and counted; what is ours is read all the same."""

import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import msgpack
import numpy as np
import pytest

from tapfan import blocks
from tapfan.batch import COLUMNS, Batch, Records
from tapfan.reader import Reader
from tests.tapfan.reader.storing import STREAM, TTL_MS, Made, now_ns, put_block, put_records, settings
from tests.tapfan.strategies import nested
from tests.writers.servers import Server

GOOD = 50


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Redis server for all tests of this module."""
    with closing(Server(tmp_path_factory.mktemp("redis"))) as made:
        yield made


@pytest.fixture
def server(shared: Server) -> Server:
    """That one, empty."""
    shared.run("flushall")
    return shared


@pytest.fixture
def reader(server: Server) -> Reader:
    """Of a server with some good records in both layouts."""
    batch = Made(now_ns(), GOOD, first=1000).batch
    put_records(server, batch[:30])
    put_block(server, batch[30:])
    return Reader(settings(server))


def skipped(reader: Reader) -> Counter[str]:
    """What a call skips that finds the good records only."""
    assert sum(map(len, reader.batches())) == GOOD
    assert reader.problems == []
    return +reader.skipped


@pytest.mark.parametrize(
    "key",
    [
        *(
            b"tcp:",
            b"tcpb:",
            b"tcp:check-1",
            b"tcpb:checked",
            b"tcp:1.2.3.4>5.6.7.8:1-a.00000000.1",
            b"tcp:\r\n$5\r\nhello",
            b"tcp:\0\xff",
        ),
        *(b"tcpb:\0", b"tcpb:1-2-x.00000000.1.1", b"tcp:" + b"a" * 100_000, b"tcpb:" + b"9" * 100_000),
        b"tcpb:2000000000000000000-1000000000000000000-x.00000000.000000000000.1",
        b"tcpb:1000000000000000000-2000000000000000000-x.00000000.000000000000.65537",
        b"tcp:1.2.3.4>5.6.7.8:1795575907403940346-local.00000000.000000000000 ",
    ],
)
def test_foreign_keys(server: Server, reader: Reader, key: bytes) -> None:
    server.client.set(key, "x")
    assert skipped(reader) == {"foreign_key": 1}
    assert reader.top().total == GOOD
    assert reader.skipped == {"foreign_key": 1}


@pytest.mark.parametrize("key", [b"tcp:check", b"tcp:check17", b"tcpb:check", b"tcpb:check3"])
def test_the_writers_trials_are_not_foreign(server: Server, reader: Reader, key: bytes) -> None:
    server.client.set(key, "1")
    assert skipped(reader) == {}


def test_keys_with_other_prefixes_are_none_of_our_business(server: Server, reader: Reader) -> None:
    for key in ("tcpx", "tcp", "tcpb", "other", "xtcp:", "tcpbb:"):
        server.client.set(key, "x")
    assert not skipped(reader)


def a_key(server: Server) -> bytes:
    """A record's key that does not exist."""
    put_records(server, Made(now_ns(), 1, first=1).batch)
    key = next(server.client.scan_iter(match=f"*{STREAM}.{1:012x}"))
    server.client.delete(key)
    return str(key).encode()


def test_keys_of_other_types(server: Server, reader: Reader) -> None:
    key = a_key(server)
    block, _ = blocks.pack([Made(now_ns(), 5, first=5).batch], TTL_MS)
    server.run("lpush", key.decode(), "x")
    server.run("hset", block.decode(), "x", "y")
    server.run("sadd", "tcpb:set", "x")
    assert skipped(reader) == {"wrong_type": 2, "foreign_key": 1}


@pytest.mark.parametrize("value", [b"x", b"{}", b'{"ts":1}', b"[" * 2000, b"\xff", b"x" * 5_000_000])
def test_values_that_are_not_ours(server: Server, reader: Reader, value: bytes) -> None:
    server.client.set(a_key(server), value)
    assert skipped(reader) == {"bad_value": 1}


def test_a_value_of_another_record(server: Server, reader: Reader) -> None:
    other = server.client.get(next(server.client.scan_iter(match="tcp:*")))
    server.client.set(a_key(server), str(other))
    assert skipped(reader) == {"bad_value": 1}


def test_keys_without_a_value_are_gone(server: Server, reader: Reader) -> None:
    server.client.set(a_key(server), "")
    assert not skipped(reader)


KEY, VALUE = blocks.pack([Made(1_795_575_907_403_940_346, 100).batch], TTL_MS)
CONTENT = msgpack.unpackb(VALUE)


def _with(**changes: object) -> bytes:
    value: bytes = msgpack.packb(CONTENT | changes)
    return value


@pytest.mark.parametrize(
    "value",
    [
        *(b"x", b"\xc1", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", VALUE[:-1], VALUE + b"x", VALUE[:20]),
        *(_with(count=2**40), _with(count=99), _with(count=65_537), _with(count=-1), _with(count=None)),
        *(
            _with(spans=[]),
            _with(spans=[[STREAM, 0, 2**62]]),
            _with(spans=[[STREAM, 2**63, 100]]),
            _with(spans=[[STREAM, 0]]),
        ),
        *(
            _with(spans=[[STREAM, 0, 0]] * 1000),
            _with(spans=[["x", 0, 100]]),
            _with(spans=[[STREAM, 0, 50]]),
            _with(spans=7),
        ),
        *(_with(timestamp=[0, 8, b""]), _with(timestamp=[2**64 - 1, 8, bytes(800)]), _with(timestamp=[0, 0, b""])),
        *(
            _with(source=[b"", 16, b"x"]),
            _with(source=[bytes(16), 0, b"x" * 100]),
            _with(segments=[65_536, 0, b""]),
        ),
        *(
            _with(ttl=-1),
            _with(ttl=0),
            _with(ttl=2**63),
            _with(ttl=1.5),
            _with(ttl=None),
            _with(version=2),
            _with(kind="share"),
        ),
        *(nested(CONTENT, "spans", 100_000), b"\xc9\xff\xff\xff\xff\x00" + bytes(1000), b"\x90" * 4_500_000),
    ],
)
def test_blocks_that_were_cut_or_forged(server: Server, reader: Reader, value: bytes) -> None:
    server.client.set(KEY, value)
    assert skipped(reader) == {"bad_block": 1}


def test_blocks_with_random_damage(server: Server, reader: Reader) -> None:
    chance = random.Random(3)
    for number in range(300):
        key, value = blocks.pack([Made(1_795_575_907_403_940_346, 20, first=number).batch], TTL_MS)
        damaged = bytearray(value)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        server.client.set(key, bytes(damaged[: chance.randint(1, len(damaged))]))
    found = sum(map(len, reader.batches()))
    assert found >= GOOD
    assert set(reader.skipped) == {"bad_block"}
    assert reader.skipped["bad_block"] * 20 + found <= 300 * 20 + GOOD
    assert reader.skipped["bad_block"] > 100


def test_a_block_under_the_key_of_another(server: Server, reader: Reader) -> None:
    key, _ = blocks.pack([Made(now_ns(), 100, first=500).batch], TTL_MS)
    server.client.set(key, VALUE)
    assert skipped(reader) == {"bad_block": 1}


def test_many_of_them(server: Server, reader: Reader) -> None:
    pipeline = server.client.pipeline(transaction=False)
    for number in range(20_000):
        pipeline.set(f"tcp:{number}", "x")
    pipeline.execute()
    assert skipped(reader) == {"foreign_key": 20_000}


def test_small_blocks_of_many_records_take_no_more_memory_than_others(server: Server) -> None:
    count, blocks_stored = 65_536, 30
    made = Made(now_ns(), 1).batch.records
    records = Records(
        *(np.broadcast_to(getattr(made, name)[0], (count, *getattr(made, name).shape[1:])) for name in COLUMNS)
    )
    for number in range(blocks_stored):
        key, value = blocks.pack([Batch(STREAM, number * count, records)], TTL_MS)
        assert len(value) < 400
        server.client.set(key, value)
    with Reader(settings(server), held=100_000) as reader:
        tracemalloc.start()
        assert sum(map(len, reader.batches())) == count * blocks_stored
        assert reader.top().total == count * blocks_stored
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 80_000_000 < count * blocks_stored * 59
