"""A time to live that changes live: what is stored later lives so long, in both layouts, and is then gone."""

import time

import numpy as np
import pytest
import redis

from tapfan.blocks import unpack
from tapfan.reader import Query, Reader
from tapfan.settings import load
from tests.process.conftest import StartPrograms
from tests.process.feeder import feeder, records
from tests.process.running import Programs, wait_for

_SHORT_MS = 2000


def _expiries_ms(programs: Programs) -> list[int]:
    """When each key is gone, by Redis's clock."""
    found = []
    for name in programs.redis_ports:
        with programs.redis(name) as client:
            found += [int(time.time() * 1000) + client.pttl(key) for key in client.scan_iter()]
    return found


@pytest.mark.parametrize("layout", ["record", "block"])
def test_what_comes_in_after_a_change_lives_as_long_as_that_says(start: StartPrograms, layout: str) -> None:
    programs = start(top={"ttl": "5m", "layout": layout})
    with feeder(programs) as feeding:
        feeding.send(records(100, time.time_ns()))
        feeding.wait_acknowledged()
        before = _expiries_ms(programs)
        changed = programs.command("ttl", "10m")
        assert (changed.returncode, changed.stdout) == (0, "records live 10m; configured: 5m\n")
        feeding.send(records(100, time.time_ns()))
        feeding.wait_acknowledged()
    later = sorted(_expiries_ms(programs))[len(before) :]
    assert programs.status()["ttl"] == 600
    assert max(before) <= time.time() * 1000 + 300_000
    assert min(later) >= time.time() * 1000 + 590_000
    refused = programs.command("ttl", "ages")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("tapfan: ttl 'ages' must be a duration")


@pytest.mark.parametrize("layout", ["record", "block"])
def test_nothing_older_than_the_ttl_is_read_and_redis_has_its_memory_back(start: StartPrograms, layout: str) -> None:
    programs = start(top={"ttl": f"{_SHORT_MS}ms", "layout": layout})
    with programs.redis("a") as client:
        empty = client.info("memory")["used_memory"]
    with feeder(programs) as feeding:
        for _ in range(20):
            some = records(5000, time.time_ns())
            some.source[:, 8:] = np.random.default_rng(1).integers(0, 256, (5000, 8))
            feeding.send(some)
        feeding.wait_acknowledged()
    last_ns = time.time_ns()
    with programs.redis("a") as client:
        assert client.info("memory")["used_memory"] > empty + 200_000

        def gone() -> bool:
            with Reader(load(programs.config)) as reader:
                now_ns = time.time_ns()
                for part in reader.batches(Query()):
                    assert int(part.timestamp.min()) > now_ns - _SHORT_MS * 1_000_000
            return time.time_ns() > last_ns + _SHORT_MS * 1_000_000

        wait_for(gone, "the time is over")
        # Redis itself removes what is over little by little.
        wait_for(lambda: client.dbsize() == 0, "all keys are gone")
        wait_for(lambda: client.info("memory")["used_memory"] < empty + 200_000, "memory is free again")


def test_a_block_is_read_as_long_as_its_records_live_though_its_key_lives_on(start: StartPrograms) -> None:
    """Two records in one block, one of which is over before the other."""
    programs = start(top={"ttl": "5s", "layout": "block"}, weights={"a": 1})
    now_ns = time.time_ns()
    with feeder(programs) as feeding:
        feeding.send(records(1, now_ns - 3_000_000_000))
        feeding.send(records(1, now_ns))
        feeding.wait_acknowledged()
    with redis.Redis(port=programs.redis_ports["a"]) as client, Reader(load(programs.config)) as reader:
        (key,) = client.keys("tcpb:*")
        assert len(unpack(key, client.get(key)).records) == 2

        def read() -> int:
            return sum(map(len, reader.batches(Query())))

        assert read() == 2
        wait_for(lambda: read() == 1, "one of them is over")
        assert client.exists(key)
