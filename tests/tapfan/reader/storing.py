"""Records put into real Redis servers as the writers put them there."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import hiredis
import numpy as np

from tapfan import blocks
from tapfan.batch import Batch, Records
from tapfan.endpoints import packed
from tapfan.sections import WriterSettings
from tapfan.settings import Settings
from tests.writers.servers import Server
from writers.commands import pack

STREAM = "local.0123abcd"
TTL_MS = 300_000
PORT = 9000


def now_ns() -> int:
    """The time, in whole microseconds."""
    return time.time_ns() // 1000 * 1000


def addresses(*texts: str) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    """Addresses of shape (n, 16)."""
    return np.frombuffer(b"".join(map(packed, texts)), np.uint8).reshape(-1, 16)


@dataclass(frozen=True)
class Made:
    """Records of consecutive identities, a microsecond from each other."""

    first_ns: int
    count: int
    first: int = 0
    stream: str = STREAM
    sources: Sequence[str] = ("203.0.113.7",)
    destinations: Sequence[str] = ("127.0.0.1",)
    source_ports: Sequence[int] = (40_000,)
    destination_ports: Sequence[int] = (PORT,)
    flags: Sequence[int] = (16,)

    @property
    def batch(self) -> Batch:
        """The batch; each column repeats what it was given."""
        count = self.count
        records = Records(
            np.arange(count, dtype=np.uint64) * np.uint64(1000) + np.uint64(self.first_ns),
            np.resize(addresses(*self.sources), (count, 16)),
            np.resize(addresses(*self.destinations), (count, 16)),
            np.resize(np.array(self.source_ports, "<u2"), count),
            np.resize(np.array(self.destination_ports, "<u2"), count),
            np.resize(np.array(self.flags, np.uint8), count),
            np.ones(count, "<u2"),
        )
        return Batch(self.stream, self.first, records)


def put_records(server: Server, batch: Batch, ttl_ms: int = TTL_MS) -> None:
    """Store a batch in record layout."""
    commands = pack(batch, ttl_ms, time.time_ns() // 1_000_000)
    connection = server.client.connection_pool.get_connection()
    try:
        connection.send_packed_command([commands.data], check_health=False)
        for _ in range(commands.count):
            assert connection.read_response() == "OK"
    finally:
        server.client.connection_pool.release(connection)


def stored_texts(batch: Batch) -> list[tuple[bytes, bytes]]:
    """The keys and values that a writer stores in record layout, of records that live."""
    reader = hiredis.Reader()
    reader.feed(bytes(pack(batch, TTL_MS, 0).data))
    found = []
    while command := reader.gets():
        found.append((command[1], command[2]))
    return found


def put_block(server: Server, *parts: Batch, ttl_ms: int = TTL_MS) -> bytes:
    """Store batches as one block; gives its key."""
    key, value = blocks.pack(parts, ttl_ms)
    server.client.set(key, value, pxat=blocks.Key.read(key).last_ns // 1_000_000 + ttl_ms)
    return key


def settings(*servers: Server, ttl: float = TTL_MS / 1000) -> Settings:
    """A configuration with a writer, a, b and so on, for each of the servers."""
    return Settings(
        ttl=ttl,
        writers=tuple(
            WriterSettings(name=chr(ord("a") + at), redis=f"unix://{server.path}?db=0", weight=1)
            for at, server in enumerate(servers)
        ),
    )
