"""Block layout: the whole pipeline at the highest rate, and what a record takes in Redis."""

import contextlib
import socket
import time
from functools import partial
from pathlib import Path

import numpy as np

from bench.measuring import FOR_VOLUME, asked, cpu_s, everything, folder, process, send
from bench.sender import acks
from tapfan import blocks
from tapfan.batch import Batch, Column, Records
from tapfan.endpoints import IPV4_MAPPED_PREFIX
from tests.process.namespace import Namespace
from tests.process.running import Programs, wait_for
from tests.writers.servers import Server

_RATE = 1_000_000
_SECONDS = 5.0
_BLOCK_RECORDS = 2000
_BLOCKS = 500
_TTL_MS = 300_000
_PACKETS = 100


def block(space: Namespace) -> list[bool]:
    """Everything stored, nothing lost, and CPU a record; memory a record in blocks of 2,000."""
    with everything(space, FOR_VOLUME, {"layout": "block"}) as programs:
        processes = {name: process(programs, name) for name in programs.names}
        before = {name: cpu_s(of) for name, of in processes.items()}
        load = send(space, _RATE, _SECONDS)
        begun = time.monotonic()
        ledger = programs.wait_settled(int(load["sent"]), 60)["ledger"]
        settled_s = time.monotonic() - begun
        cpu = {name: (cpu_s(of) - before[name]) * 1e6 / load["sent"] for name, of in processes.items()}
        drops = programs.log("listener").count("kernel_drops")
        late_ms = _visible_after_ms(programs, space)
    print(f"block layout, {load['sent'] / load['seconds']:,.0f} packets/s, {ledger['stored']:,} records stored:")
    print(f"  all stored {settled_s:.1f} s after the last packet; {ledger}")
    for name, value in cpu.items():
        print(f"  {name:10} {value:6.3f} us of CPU a record")
    return [
        asked("packets that are not stored", load["sent"] - ledger["stored"], 0),
        asked("warnings of kernel drops", drops, 0),
        asked("us of CPU a record, Redis included", sum(cpu.values()), 0.35),
        asked("ms until a record is in Redis at low traffic, of 100 the 99th", late_ms, 100),
        asked(f"bytes of Redis memory a record, {_BLOCK_RECORDS:,} records a block", _memory(), 20),
    ]


def _visible_after_ms(programs: Programs, space: Namespace) -> float:
    """How long after a packet its record can be read, of a hundred packets one after the other: the 99th."""
    random = np.random.default_rng(1)
    late_s = []
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(programs.redis(name)) for name in programs.redis_ports]

        def more_than(keys: int) -> bool:
            return sum(int(client.dbsize()) for client in clients) > keys

        for pause_s in random.uniform(0.05, 0.15, _PACKETS):
            time.sleep(pause_s)
            before = sum(int(client.dbsize()) for client in clients)
            begun_s = time.monotonic()
            with socket.socket() as connection, contextlib.suppress(OSError):
                connection.setblocking(False)
                connection.connect((space.address, 9000))
            wait_for(partial(more_than, before), "the packet's record is there")
            late_s.append(time.monotonic() - begun_s)
    return float(np.quantile(late_s, 0.99)) * 1000


def _memory() -> float:
    """What a record takes, of as many blocks as make a million: sources and source ports at random."""
    with folder() as path:
        server = Server(Path(path))
        try:
            before = int(server.client.info("memory")["used_memory"])
            for part in _batches():
                key, value = blocks.pack([part], _TTL_MS)
                server.client.set(key, value, px=_TTL_MS)
            return (int(server.client.info("memory")["used_memory"]) - before) / (_BLOCKS * _BLOCK_RECORDS)
        finally:
            server.close()


def _batches() -> list[Batch]:
    frames = acks("10.0.0.2", 9000, _BLOCK_RECORDS * _BLOCKS)
    count = len(frames)
    timestamp = time.time_ns() + np.arange(count, dtype=np.uint64) * np.uint64(1000)
    source_port = frames[:, 34:36].copy().view(">u2").ravel().astype(np.uint16)
    records = Records(
        timestamp=timestamp,
        source=_mapped(frames[:, 26:30]),
        destination=_mapped(frames[:, 30:34]),
        source_port=source_port,
        destination_port=np.broadcast_to(np.uint16(9000), count),
        flags=np.broadcast_to(np.uint8(0x10), count),
        segments=np.broadcast_to(np.uint16(1), count),
    )
    starts = range(0, count, _BLOCK_RECORDS)
    return [Batch("local.0123abcd", start, records[start : start + _BLOCK_RECORDS]) for start in starts]


def _mapped(ipv4: Column) -> Column:
    prefix = np.broadcast_to(np.frombuffer(IPV4_MAPPED_PREFIX, np.uint8), (len(ipv4), 12))
    return np.concatenate([prefix, ipv4], axis=1)
