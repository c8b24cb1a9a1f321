"""The reader over real Redis servers: both layouts, every database, each record once, by time."""

from ipaddress import ip_network

import numpy as np

from tapfan.batch import Records
from tapfan.reader import Query, Reader, Record
from tests.tapfan.reader.conftest import Servers
from tests.tapfan.reader.storing import PORT, STREAM, Made, now_ns, put_block, put_records, settings
from tests.tapfan.strategies import rows
from tests.writers.servers import Server


def test_both_layouts_of_all_databases_come_as_one_by_time_and_each_record_once(servers: Servers) -> None:
    a, b = servers(), servers()
    start = now_ns()
    batch = Made(start, 100, sources=["203.0.113.7", "2001:db8::1"], flags=[2, 16, 24]).batch
    other = Made(start + 50_500, 100, stream="second.00000001").batch
    put_records(a, batch[:60])
    put_block(b, batch[40:70], other[:50])
    put_block(a, other[30:])
    put_block(b, batch[55:])
    put_records(b, batch[90:])
    with Reader(settings(a, b)) as reader:
        found = Records.concatenate(list(reader.batches()))
        everything = Records.concatenate([batch.records, other.records])
        assert rows(found) == rows(everything[np.argsort(everything.timestamp)])
        assert reader.problems == []
        assert not reader.skipped


def test_records_have_texts_and_identities(server: Server) -> None:
    start = now_ns()
    put_records(server, Made(start, 1, first=7, flags=[18]).batch)
    put_block(server, Made(start + 5, 1, first=2**40, stream="x.00000001", sources=["2001:db8::1"]).batch)
    with Reader(settings(server)) as reader:
        assert list(reader.records()) == [
            Record(start, "203.0.113.7", 40_000, "127.0.0.1", PORT, "SA", 1, STREAM, 7),
            Record(start + 5, "2001:db8::1", 40_000, "127.0.0.1", PORT, "A", 1, "x.00000001", 2**40),
        ]


def test_top(server: Server) -> None:
    start = now_ns()
    batch = Made(start, 100, sources=["203.0.113.7", "2001:db8::1", "203.0.113.7"]).batch
    put_records(server, batch[:60])
    put_block(server, batch[40:])
    with Reader(settings(server)) as reader:
        ranking = reader.top()
        assert [(t.key, t.packets, t.first_ns, t.last_ns) for t in ranking.talkers] == [
            (("203.0.113.7",), 67, start, start + 99_000),
            (("2001:db8::1",), 33, start + 1000, start + 97_000),
        ]
        assert (ranking.total, ranking.keys) == (100, 2)
        for by in ("source", "destination", "pair", "port"):
            print(reader.top(by=by))
        print(reader.top(Query(sources=(ip_network("2001:db8::/32"),))))
