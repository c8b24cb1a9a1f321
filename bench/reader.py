"""`top` over two Redis servers: of blocks, and of keys beside the loop over redis-py that a user would write."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import redis

from bench.measuring import asked, asked_least
from tapfan import blocks
from tapfan.batch import Batch, Column, Records
from tapfan.endpoints import packed
from tapfan.reader import Reader
from tapfan.sections import WriterSettings
from tapfan.settings import Settings
from tests.process.namespace import Namespace
from tests.writers.servers import Server
from writers.commands import pack

_BLOCK_RECORDS, _BLOCKS = 2_000, 2_500
_KEYS = 1_000_000
_SOURCES = 50_000
_TTL_MS = 3_600_000
_STREAM = "local.0123abcd"
_ROUNDS = 3
_AT_ONCE = 1_000  # keys of one SCAN and one MGET in the loop


def reader(_: Namespace) -> list[bool]:
    """The best of some rounds each."""
    with tempfile.TemporaryDirectory(prefix="tapfan-bench-") as folder:
        block_s = _of_blocks(Path(folder))
        ratio = _of_keys(Path(folder))
    return [
        asked("seconds for top of 5,000,000 records in blocks", block_s, 2),
        asked_least("times as fast as the loop over redis-py, 1,000,000 keys", ratio, 3),
    ]


def _of_blocks(folder: Path) -> float:
    with closing(Server(folder / "a")) as a, closing(Server(folder / "b")) as b:
        for number, batch in enumerate(_batches(_BLOCK_RECORDS, _BLOCKS)):
            (b if number % 10 < 7 else a).client.set(*blocks.pack([batch], _TTL_MS))
        settings = _settings(a, b)
        top_s = _best(lambda: _top(settings, _BLOCK_RECORDS * _BLOCKS))
        used = sum(int(server.client.info("memory")["used_memory"]) for server in (a, b))
    print(f"reader, {_BLOCKS:,} blocks of {_BLOCK_RECORDS:,} records, {used / 2**20:.0f} MiB: top {top_s:.2f} s")
    return top_s


def _of_keys(folder: Path) -> float:
    with closing(Server(folder / "c")) as a, closing(Server(folder / "d")) as b:
        for number, batch in enumerate(_batches(10_000, _KEYS // 10_000)):
            _store(b if number % 10 < 7 else a, batch)
        settings = _settings(a, b)
        times = [(_seconds(lambda: _loop([a, b])), _seconds(lambda: _top(settings, _KEYS))) for _ in range(_ROUNDS)]
    loop_s, top_s = (min(each) for each in zip(*times, strict=True))
    print(f"reader, {_KEYS:,} keys: top {top_s:.2f} s, the loop over redis-py {loop_s:.2f} s")
    ratio: float = loop_s / top_s
    return ratio


def _top(settings: Settings, count: int) -> None:
    with Reader(settings, timeout_s=60) as source:
        ranking = source.top()
        assert (ranking.total, ranking.keys, source.problems) == (count, _SOURCES, [])


def _loop(servers: Sequence[Server]) -> None:
    """Who has the most packets, as one would ask redis-py, with the same answer."""
    packets: Counter[bytes] = Counter()
    for server in servers:
        with redis.Redis(unix_socket_path=str(server.path)) as client:
            for keys in _pieces(client.scan_iter(match="tcp:*", count=_AT_ONCE)):
                for key, value in zip(keys, client.mget(keys), strict=True):
                    if value is not None:
                        packets[key[4 : key.index(b">")]] += 1
    assert (packets.total(), len(packets)) == (_KEYS, _SOURCES)
    packets.most_common(20)


def _pieces(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    piece: list[bytes] = []
    for key in keys:
        piece.append(key)
        if len(piece) == _AT_ONCE:
            yield piece
            piece = []
    if piece:
        yield piece


def _batches(count: int, batches: int) -> Iterator[Batch]:
    """IPv4 packets of many sources to one endpoint, ten microseconds from each other."""
    random = np.random.default_rng(5)
    begun_ns = time.time_ns() - 60 * 10**9
    for number in range(batches):
        first = number * count
        at = np.arange(first, first + count, dtype=np.uint64)
        yield Batch(
            _STREAM,
            first,
            Records(
                np.uint64(begun_ns) + at * np.uint64(10_000) + random.integers(0, 9_999, count, np.uint64),
                _sources(at % np.uint64(_SOURCES)),
                np.broadcast_to(np.frombuffer(packed("192.0.2.1"), np.uint8), (count, 16)),
                random.integers(32_768, 61_000, count, "<u2"),
                np.broadcast_to(np.uint16(9000), count),
                random.choice(np.array([2, 16, 17, 24], np.uint8), count),
                np.broadcast_to(np.uint16(1), count),
            ),
        )


def _sources(numbers: Column) -> Column:
    """An address for each number, from all over the range."""
    mapped = np.tile(np.frombuffer(packed("0.0.0.0"), np.uint8), (len(numbers), 1))
    spread = (numbers * np.uint64(2_654_435_761)).astype("<u4") | np.uint32(1 << 31)
    mapped[:, 12:] = spread.astype(">u4")[:, None].view(np.uint8)
    return mapped


def _store(server: Server, batch: Batch) -> None:
    commands = pack(batch, _TTL_MS, time.time_ns() // 1_000_000)
    pool = server.client.connection_pool
    connection = pool.get_connection()
    connection.send_packed_command([commands.data], check_health=False)
    for _ in range(commands.count):
        connection.read_response()
    pool.release(connection)


def _settings(*servers: Server) -> Settings:
    writers = tuple(
        WriterSettings(name=f"w{number}", redis=f"unix://{server.path}?db=0", weight=1)
        for number, server in enumerate(servers)
    )
    return Settings(writers=writers)


def _best(call: Callable[[], None]) -> float:
    return min(_seconds(call) for _ in range(_ROUNDS))


def _seconds(call: Callable[[], None]) -> float:
    begun_s = time.perf_counter()
    call()
    return time.perf_counter() - begun_s
