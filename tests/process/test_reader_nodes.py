"""The reader where a writer's Redis is more than one server, or wants to be convinced."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import redis

from tapfan import blocks
from tapfan.batch import Batch, Records
from tapfan.reader import Reader, ReaderError
from tapfan.sections import WriterSettings
from tapfan.settings import Settings
from tests.process.redis_servers import MASTER, Authority, RedisServer, clustered, replicated, watched
from tests.process.running import wait_for
from tests.tapfan.reader.storing import TTL_MS, Made, now_ns, stored_texts
from tests.tapfan.strategies import rows

Set = Callable[[bytes, bytes], object]


def _settings(url: str, **options: object) -> Settings:
    return Settings(writers=(WriterSettings.model_validate({"name": "a", "redis": url, "weight": 1} | options),))


def _put(store: Set, batch: Batch) -> None:
    """Store the first half in record layout, and the second in blocks of ten."""
    half = len(batch) // 2
    for key, value in stored_texts(batch[:half]):
        store(key, value)
    for start in range(half, len(batch), 10):
        store(*blocks.pack([batch[start : start + 10]], TTL_MS))


def _total(reader: Reader) -> int | None:
    """How many records there are; None where nothing can be read."""
    with contextlib.suppress(ReaderError):
        return reader.top().total
    return None


def _follow_until(following: Iterator[Records], count: int, parts: list[Records]) -> None:
    def is_there() -> bool:
        parts.append(next(following))
        return sum(map(len, parts)) >= count

    wait_for(is_there, f"{count} records")


def test_all_primaries_of_a_cluster_are_read_and_followed(tmp_path: Path) -> None:
    with (
        clustered(tmp_path) as nodes,
        closing(redis.RedisCluster("127.0.0.1", port=nodes[0].port, protocol=2)) as client,
    ):
        batch = Made(now_ns(), 400, sources=["203.0.113.7", "2001:db8::1"]).batch
        settings = _settings(f"redis+cluster://{nodes[0].address},{nodes[1].address}")
        with Reader(settings, timeout_s=2) as reader, closing(reader.follow(poll_s=0.05)) as following:
            assert not len(next(following))
            _put(client.set, batch)
            parts: list[Records] = []
            _follow_until(following, len(batch), parts)
            followed = Records.concatenate(parts)
            assert sorted(followed.timestamp.tolist()) == batch.records.timestamp.tolist()
        assert all(node.run("dbsize") for node in nodes[:3])
        with Reader(settings, timeout_s=2) as reader:
            assert rows(Records.concatenate(list(reader.batches()))) == rows(batch.records)
            assert reader.top().total == len(batch)
            assert reader.problems == []


def test_a_primary_that_dies_is_a_problem_until_its_replica_takes_over(tmp_path: Path) -> None:
    with (
        clustered(tmp_path) as nodes,
        closing(redis.RedisCluster("127.0.0.1", port=nodes[0].port, protocol=2)) as client,
    ):
        batch = Made(now_ns(), 400).batch
        _put(client.set, batch)
        settings = _settings(f"redis+cluster://{nodes[0].address},{nodes[1].address}")
        with Reader(settings, timeout_s=2) as reader, closing(reader.follow(poll_s=0.05)) as following:
            next(following)
            nodes[0].kill()
            wait_for(lambda: (next(following), reader.problems)[1], "it is noticed")
            assert nodes[0].address in reader.problems[0]
            wait_for(lambda: (next(following), not reader.problems)[1], "its replica is followed")
            later = Made(now_ns(), 100, first=1000).batch
            with closing(redis.RedisCluster("127.0.0.1", port=nodes[1].port, protocol=2)) as other:
                _put(other.set, later)
            parts: list[Records] = []
            _follow_until(following, len(later), parts)
        with Reader(settings, timeout_s=2) as reader:
            assert reader.top().total == len(batch) + len(later)


def test_the_master_that_sentinels_name_is_read(tmp_path: Path) -> None:
    with replicated(tmp_path) as (master, replica), watched(tmp_path, master, 1) as sentinel:
        batch = Made(now_ns(), 100).batch
        _put(master.client.set, batch)
        master.run("wait", 1, 5000)
        with Reader(_settings(f"redis+sentinel://{sentinel.address}/{MASTER}/0"), timeout_s=2) as reader:
            assert reader.top().total == len(batch)
            master.kill()
            wait_for(lambda: _total(reader) == len(batch), "the sentinel names the replica, which has all")
            assert reader.problems == []
            assert replica.info("replication", "role") == "master"


def test_users_who_may_read_only_and_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    rights = "~tcp:* ~tcpb:* &__redis__:invalidate +@connection +scan +getrange +pttl +subscribe"
    options = {"user": f"reader on >secret {rights}"}
    with closing(RedisServer(tmp_path / "redis", options, authority=authority)) as server:
        server.wait_up()
        batch = Made(now_ns() - 10**9, 100).batch
        settings = _settings(
            f"rediss://reader@{server.address}?ssl_ca_certs={authority.file}", password="secret"
        ).model_copy(update={"ttl": 0.5})
        with Reader(settings) as reader, closing(reader.follow(poll_s=0.05)) as following:
            next(following)
            for key, value in stored_texts(batch):
                server.client.set(key, value, px=TTL_MS)
            _follow_until(following, len(batch), [])
            assert server.info("clients", "tracking_clients") == 1
            assert reader.problems == []
        assert list(map(len, reader.batches())) == [100]
        assert reader.problems == []
