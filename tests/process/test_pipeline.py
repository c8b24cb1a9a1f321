"""From a TCP connection to a TTL key, through all the processes."""

import time

import pytest

from tests.process.conftest import StartPrograms
from tests.process.feeder import feeder, records
from tests.process.running import free_port
from tests.process.stored import left_ms, sequences, stored
from tests.process.traffic import connections

_TTL_MS = 60_000


def test_the_split_is_exact_and_every_record_is_stored(start: StartPrograms) -> None:
    programs = start()
    connections(1000, programs.port)
    status = programs.wait_settled(2000)
    captured = status["ledger"]["captured"]
    in_a, in_b = sequences(programs, "a"), sequences(programs, "b")
    assert sorted(in_a + in_b) == list(range(captured))
    assert abs(len(in_a) - 0.3 * captured) < 1
    assert status["writers"]["a"]["stored"] == len(in_a)
    assert status["writers"]["b"]["stored"] == len(in_b)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_record_says_who_talked_to_whom(start: StartPrograms, address: str) -> None:
    port = free_port(address)
    programs = start(listener={"listen": [f"[{address}]:{port}" if ":" in address else f"{address}:{port}"]})
    before_ns = time.time_ns()
    source_ports = connections(1, port, address)
    programs.wait_settled(2)
    accepted, read = stored(programs)
    assert (accepted.value["flags"], read.value["flags"]) == ("S", "PA")
    for record in (accepted, read):
        assert before_ns <= record.timestamp_ns <= time.time_ns()
        assert record.source == record.destination == address
        assert record.value["src"] == record.value["dst"] == address
        assert [record.value["sport"]] == source_ports
        assert record.value["dport"] == port
        assert f'"ts":{record.timestamp_ns // 10**9}.{record.timestamp_ns % 10**9:09},' in record.text


def test_a_record_lives_from_its_capture_on_however_late_it_is_stored(start: StartPrograms) -> None:
    programs = start(top={"ttl": f"{_TTL_MS}ms"})
    captured_ns = time.time_ns() - 40 * 10**9
    with feeder(programs) as feeding:
        feeding.send(records(100, captured_ns))
        feeding.wait_acknowledged()
    left = left_ms(programs)
    age_ms = (time.time_ns() - captured_ns) // 10**6
    assert len(left) == 100
    assert all(0 < each <= _TTL_MS - 40_000 for each in left)
    assert all(each >= _TTL_MS - age_ms - 1 for each in left)


def test_what_outlived_its_ttl_on_the_way_is_counted_and_not_stored(start: StartPrograms) -> None:
    programs = start(top={"ttl": f"{_TTL_MS}ms"})
    with feeder(programs) as feeding:
        feeding.send(records(100, time.time_ns() - 61 * 10**9))
        feeding.send(records(50))
        feeding.wait_acknowledged()
    assert len(stored(programs)) == 50
    ledger = programs.status()["ledger"]
    assert (ledger["stored"], ledger["expired"], ledger["balanced"]) == (50, 100, True)
