"""Block layout, from a TCP connection to what a program reads."""

import time

import pytest

from tapfan.reader import Query, Reader
from tapfan.settings import load
from tests.process.conftest import StartPrograms
from tests.process.feeder import feeder, records
from tests.process.running import wait_for
from tests.process.stored import blocks, stored
from tests.process.traffic import connections


def test_the_split_is_exact_and_every_record_is_read_once_in_order(start: StartPrograms) -> None:
    programs = start(top={"layout": "block"})
    connections(500, programs.port)
    captured = programs.wait_settled(1000)["ledger"]["captured"]
    in_a = sum(len(block.records) for block in blocks(programs, "a"))
    in_b = sum(len(block.records) for block in blocks(programs, "b"))
    assert in_a + in_b == captured
    assert abs(in_a - 0.3 * captured) < 1
    with Reader(load(programs.config)) as reader:
        read = list(reader.records(Query()))
    assert sorted(record.sequence for record in read) == list(range(captured))
    assert [record.timestamp_ns for record in read] == sorted(record.timestamp_ns for record in read)
    assert {(record.destination_port, record.segments) for record in read} == {(programs.port, 1)}
    assert not reader.problems
    assert not reader.skipped


def test_a_writers_layout_may_be_another_than_the_others(start: StartPrograms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPFAN_WRITERS__B__LAYOUT", "block")
    programs = start()
    connections(100, programs.port)
    captured = programs.wait_settled(200)["ledger"]["captured"]
    in_a, in_b = stored(programs, "a"), list(blocks(programs, "b"))
    assert not stored(programs, "b")
    assert not list(blocks(programs, "a"))
    assert len(in_a) + sum(len(block.records) for block in in_b) == captured
    with Reader(load(programs.config)) as reader:
        assert sorted(record.sequence for record in reader.records(Query())) == list(range(captured))


def test_small_shares_wait_for_each_other_and_a_large_one_for_none(start: StartPrograms) -> None:
    programs = start(top={"layout": "block"}, weights={"a": 1})
    with feeder(programs) as feeding:
        feeding.send(records(10_000))
        for _ in range(40):
            feeding.send(records(1))
        feeding.wait_acknowledged()
    sizes = sorted(len(block.records) for block in blocks(programs))
    assert sizes[-1] == 10_000
    assert sum(sizes) == 10_040
    assert len(sizes) < 20


@pytest.mark.parametrize("layout", ["record", "block"])
def test_a_key_is_gone_when_its_last_record_is_over(start: StartPrograms, layout: str) -> None:
    programs = start(top={"ttl": "2s", "layout": layout}, weights={"a": 1})
    with feeder(programs) as feeding:
        feeding.send(records(100, time.time_ns() - 10**9))
        feeding.wait_acknowledged()
        with programs.redis("a") as client:
            assert client.dbsize() > 0
            wait_for(lambda: client.dbsize() == 0, "all is gone")
        feeding.send(records(100, time.time_ns() - 3 * 10**9))
        feeding.wait_acknowledged()
    ledger = programs.status()["ledger"]
    assert (ledger["stored"], ledger["lost"]) == (100, {"expired_at_writer": 100})
