"""The reader over real Redis servers: both layouts, every database, each record once, by time."""

import time
import tracemalloc
from collections.abc import Iterable
from ipaddress import ip_network

import numpy as np
import pytest

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.reader import By, Query, Reader, Record, gathering, identities
from tapfan.reader import reader as reader_module
from tests.tapfan.reader.conftest import Servers
from tests.tapfan.reader.storing import PORT, STREAM, Made, now_ns, put_block, put_records, settings
from tests.tapfan.strategies import rows
from tests.writers.servers import Server

SOURCES = ["203.0.113.7", "2001:db8::1", "203.0.113.8", "203.0.113.7"]


def joined(batches: Iterable[Records]) -> Records:
    """All of them as one; none has more than a block may have."""
    parts = list(batches)
    assert all(0 < len(part) <= 65_536 for part in parts)
    return Records.concatenate([*parts, Records.empty()])


def by_time(*batches: Batch) -> Records:
    """The batches' records in the order that a reader gives them in."""
    everything = Records.concatenate([batch.records for batch in batches])
    return everything[np.argsort(everything.timestamp, kind="stable")]


def test_both_layouts_of_all_databases_come_as_one_by_time_and_each_record_once(servers: Servers) -> None:
    a, b = servers(), servers()
    start = now_ns()
    batch = Made(start, 100, sources=SOURCES, flags=[2, 16, 24], source_ports=[1, 2, 65_535]).batch
    other = Made(start + 50_500, 100, stream="second.00000001").batch
    put_records(a, batch[:60])
    put_block(b, batch[40:70], other[:50])
    put_block(a, other[30:])
    put_block(b, batch[55:])
    put_records(b, batch[90:])
    with Reader(settings(a, b)) as reader:
        assert rows(joined(reader.batches())) == rows(by_time(batch, other))
        assert reader.problems == []
        assert not reader.skipped
        assert {name: getattr(joined(reader.batches()), name).shape[1:] for name in COLUMNS} == {
            name: () if width == 1 else (16,) for name, (_, width) in COLUMNS.items()
        }


def test_records_have_texts_and_identities(server: Server) -> None:
    start = now_ns()
    put_records(server, Made(start, 1, first=7, flags=[18]).batch)
    put_block(server, Made(start + 5, 1, first=2**40, stream="x.00000001", sources=["2001:db8::1"]).batch)
    with Reader(settings(server)) as reader:
        assert list(reader.records()) == [
            Record(start, "203.0.113.7", 40_000, "127.0.0.1", PORT, "SA", 1, STREAM, 7),
            Record(start + 5, "2001:db8::1", 40_000, "127.0.0.1", PORT, "A", 1, "x.00000001", 2**40),
        ]


def test_an_empty_database_has_nothing(server: Server) -> None:
    with Reader(settings(server)) as reader:
        assert list(reader.batches()) == []
        assert reader.top().total == 0
        assert reader.problems == []


@pytest.mark.parametrize(
    "query",
    [
        Query(port=1),
        Query(port=PORT),
        Query(flags=18),
        Query(sources=(ip_network("203.0.113.0/29"),)),
        Query(sources=(ip_network("2001:db8::/32"), ip_network("203.0.113.8/32")), port=2, flags=16),
        Query(destinations=(ip_network("192.0.2.0/24"),)),
    ],
)
def test_queries_are_answered_alike_by_both_layouts(server: Server, query: Query) -> None:
    start = now_ns()
    made = Made(start, 120, sources=SOURCES, destinations=["127.0.0.1", "192.0.2.1", "192.0.2.1"], flags=[2, 16, 18])
    batch = Made(**vars(made) | {"source_ports": [1, 2, 65_535]}).batch
    put_records(server, batch)
    with Reader(settings(server)) as reader:
        of_keys = rows(joined(reader.batches(query)))
        rankings = [reader.top(query, by) for by in ("source", "destination", "pair", "port")]
        server.run("flushall")
        put_block(server, batch[:50])
        put_block(server, batch[50:])
        assert 0 < len(of_keys) <= 120
        assert rows(joined(reader.batches(query))) == of_keys
        assert [reader.top(query, by) for by in ("source", "destination", "pair", "port")] == rankings
        assert {ranking.total for ranking in rankings} == {len(of_keys)}


@pytest.mark.parametrize("put", [put_records, put_block])
def test_times_are_from_since_to_below_until(server: Server, put: type) -> None:
    start = now_ns()
    put(server, Made(start, 100).batch)
    with Reader(settings(server)) as reader:
        found = joined(reader.batches(Query(since_ns=start + 10_000, until_ns=start + 20_000)))
        assert found.timestamp.tolist() == list(range(start + 10_000, start + 20_000, 1000))
        assert reader.top(Query(since_ns=start + 99_000)).total == 1
        assert reader.top(Query(until_ns=start)).total == 0


def test_a_blocks_records_are_gone_after_their_own_time_however_long_the_key_lives(server: Server) -> None:
    ttl_ms = 1_000
    old = now_ns() - ttl_ms * 1_000_000
    batch = Made(old - 50_000, 50).batch
    late = Made(now_ns(), 50, first=50).batch
    server.client.persist(put_block(server, batch, late, ttl_ms=ttl_ms))
    with Reader(settings(server, ttl=600)) as reader:
        assert rows(joined(reader.batches())) == rows(late.records)
        assert reader.top().total == 50


def test_old_records_with_keys_of_their_own_need_an_expiry(server: Server) -> None:
    old = Made(now_ns() - 60 * 10**9, 3).batch
    put_records(server, old)
    for key in server.client.scan_iter():
        if key.endswith("1"):
            server.client.persist(key)
    with Reader(settings(server, ttl=30)) as reader:  # which was more when they were stored
        assert [record.sequence for record in reader.records()] == [0, 2]
        assert reader.top().total == 2
        assert reader.skipped == {"no_expiry": 1}
    with Reader(settings(server, ttl=300)) as reader:
        assert reader.top().total == 3


@pytest.mark.parametrize("by", ["source", "destination", "pair", "port"])
def test_top(servers: Servers, by: By) -> None:
    a, b = servers(), servers()
    start = now_ns()
    batch = Made(start, 100, sources=["203.0.113.7", "2001:db8::1", "203.0.113.7"], destination_ports=[80, 443]).batch
    put_records(a, batch[:60])
    put_block(b, batch[40:])
    with Reader(settings(a, b)) as reader:
        ranking = reader.top(by=by)
        assert (ranking.total, ranking.keys) == (100, 1 if by == "destination" else 2)
        assert [(talker.key, talker.packets, talker.share) for talker in ranking.talkers] == {
            "source": [(("203.0.113.7",), 67, 0.67), (("2001:db8::1",), 33, 0.33)],
            "destination": [(("127.0.0.1",), 100, 1.0)],
            "pair": [(("203.0.113.7", "127.0.0.1"), 67, 0.67), (("2001:db8::1", "127.0.0.1"), 33, 0.33)],
            "port": [(("80",), 50, 0.5), (("443",), 50, 0.5)],
        }[by]
        assert (ranking.talkers[0].first_ns, ranking.talkers[0].last_ns) == (
            start,
            start + (98_000 if by == "port" else 99_000),
        )
        assert reader.top(by=by, limit=1).talkers == ranking.talkers[:1]


def test_identities_far_apart_do_not_take_more_memory(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_HELD_CHUNKS", 100)
    start = now_ns()
    parts = [Made(start + number, 1, first=number * 2**30, stream=f"x.{number:08x}").batch for number in range(3000)]
    put_block(server, *parts[:2000])
    put_block(server, *parts[1000:])
    with Reader(settings(server)) as reader:
        assert reader.top().total == 3000


def test_streams_beyond_those_that_are_known_are_skipped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "MAX_STREAMS", 10)
    start = now_ns()
    for number in range(15):
        put_records(server, Made(start + number, 1, stream=f"x.{number:08x}").batch)
    put_block(server, Made(start, 7, stream="y.00000001").batch)
    with Reader(settings(server)) as reader:
        assert reader.top().total == 10
        assert reader.skipped == {"too_many_streams": 12}


def test_memory_is_bounded_by_what_is_held(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_PIECE_RECORDS", 2000)
    count, held, block = 200_000, 10_000, 2000
    start = now_ns()
    for first in range(0, count, block):
        put_block(server, Made(start + first // 3, block, first=first, sources=SOURCES).batch)
    last, total = 0, 0
    with Reader(settings(server), held=held) as reader:
        tracemalloc.start()
        for records in reader.batches():
            assert last <= int(records.timestamp[0])
            last = int(records.timestamp[-1])
            total += len(records)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert total == count
    assert peak < 8_000_000 < count * 59


@pytest.mark.parametrize("held", [50, 200, 10_000])
def test_the_newest_ones_are_the_last_of_all_each_counted_once(servers: Servers, held: int) -> None:
    a, b = servers(), servers()
    start = now_ns()
    batch = Made(start, 300).batch
    put_block(a, batch[:200])
    put_block(b, batch[100:])
    put_records(b, batch[290:])
    with Reader(settings(a, b), held=held) as reader:
        for newest in (1, 20, 150, 300, 10**18):
            assert rows(joined(reader.batches(newest=newest))) == rows(batch.records[max(0, 300 - newest) :])
        assert rows(joined(reader.batches(Query(until_ns=start + 50_000), 5))) == rows(batch.records[45:50])


def test_a_reader_can_be_left_early(server: Server) -> None:
    for first in range(0, 20_000, 2000):
        put_block(server, Made(now_ns(), 2000, first=first).batch)
    with Reader(settings(server)) as reader:
        begun_s = time.monotonic()
        for _ in reader.records():
            break
        assert len(next(reader.batches()))
        assert time.monotonic() - begun_s < 5
    assert len(server.client.client_list(_type="normal")) == 1
