"""A router with many writers: what it costs where every batch of 2,000 records is cut into 64 shares."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import zmq

from bench.measuring import asked, cpu_s, folder, process
from tapfan import sockets
from tapfan.batch import Batch, Records
from tapfan.endpoints import packed
from tapfan.messages import Acknowledgement, ListenerReport, PacketCounts, read_message
from tapfan.wire import batch_message, packed_batch, unpack
from tests.process.namespace import Namespace
from tests.process.running import Programs, wait_for

_BATCH_RECORDS = 2000
_WINDOW_RECORDS = 500_000  # what a listener keeps unsettled, unless it is told otherwise
_REPORT_PERIOD_S = 0.5
_STREAM = "local.0123abcd"
_WARM_S, _SECONDS = 1.0, 5.0
_EQUAL = {f"w{number}": 1.0 for number in range(64)}
_UNEQUAL = {f"w{number}": round(1.0 + number % 7 + number / 100, 2) for number in range(64)}
_TWO = {"a": 30.0, "b": 70.0}


def fanout(_: Namespace) -> list[bool]:
    """CPU a record of a real router, between a listener and writers that do nothing else.

    At a set rate, most of it is in waking up for each batch, with two writers, too; what a share costs shows when the
    router has as much to do as the listener's window lets through.
    """
    met = []
    for name, weights, rate in (
        ("64 writers of equal weights", _EQUAL, None),
        ("64 writers of unequal weights", _UNEQUAL, None),
        ("2 writers", _TWO, None),
        ("64 writers of equal weights", _EQUAL, 200_000),
        ("2 writers", _TWO, 200_000),
    ):
        cpu_us, done = _measured(weights, rate)
        print(f"fanout, {name}, batches of {_BATCH_RECORDS:,}, {done:,.0f} records/s: {cpu_us:.3f} us a record")
        if rate is None:
            met.append(asked("us of the router's CPU a record", cpu_us, 0.2))
    return met


def _measured(weights: Mapping[str, float], rate: float | None) -> tuple[float, float]:
    """The router's CPU in us a record, and how many records a second were stored; None: as many as it takes."""
    with folder() as path:
        given = {name: {"redis": "redis://127.0.0.1:1/0"} for name in weights}
        programs = Programs(Path(path), weights=weights, given=given)
        try:
            programs.start("router")
            programs.wait_ready()
            with _writers(programs, weights), _Feeder(programs.endpoint("records")) as feeder:
                wait_for(lambda: _all_up(programs), "all writers are up")
                feeder.feed(rate, _WARM_S)
                of = process(programs, "router")
                before_s, begun_s = cpu_s(of), time.monotonic()
                records = feeder.feed(rate, _SECONDS)
                seconds, used_s = time.monotonic() - begun_s, cpu_s(of) - before_s
                assert programs.status()["ledger"]["balanced"]
        finally:
            programs.close()
    return used_s * 1e6 / records, records / seconds


def _all_up(programs: Programs) -> bool:
    return all(writer["health"] == "up" for writer in programs.status()["writers"].values())


@contextmanager
def _writers(programs: Programs, weights: Mapping[str, float]) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.fanout_writers", programs.endpoint("shares"), *weights]
    running = subprocess.Popen(command)
    try:
        yield
    finally:
        running.kill()
        running.wait()


class _Feeder:
    """A listener whose records are always the same."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[sockets.Socket] = zmq.Context()
        self._socket = sockets.connected(self._context, zmq.DEALER, endpoint, b"local")
        self._batch = packed_batch(Batch(_STREAM, 0, _records()))
        self._end = self._acknowledged = self._reports = 0
        self._next_report_s = 0.0

    def __enter__(self) -> "_Feeder":
        wait_for(lambda: self._exchange(10), "the router knows the feeder")
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(linger=0)

    def feed(self, rate: float | None, seconds: float) -> int:
        """Send so long, and wait until all is acknowledged; gives the number of records."""
        first, begun_s = self._end, time.monotonic()
        while (now_s := time.monotonic()) < begun_s + seconds:
            window = self._acknowledged + _WINDOW_RECORDS
            due = min(window, first + int((now_s - begun_s) * rate)) if rate else window
            while self._end + _BATCH_RECORDS <= due:
                self._socket.send(batch_message(replace(self._batch, first=self._end)))
                self._end += _BATCH_RECORDS
            next_s = begun_s + (self._end + _BATCH_RECORDS - first) / rate if rate else now_s + 0.01
            self._exchange(max(1, round((next_s - time.monotonic()) * 1000)))
        wait_for(lambda: self._exchange(10) and self._acknowledged == self._end, "all is acknowledged")
        return self._end - first

    def _exchange(self, wait_ms: int) -> bool:
        """Report when it is time, and take the acknowledgements, waiting for the first so long; whether any came."""
        if time.monotonic() >= self._next_report_s:
            self._next_report_s = time.monotonic() + _REPORT_PERIOD_S
            self._report()
        if not self._socket.poll(wait_ms):
            return False
        while (frames := sockets.received(self._socket)) is not None:
            message = read_message(unpack(frames[0]))
            assert isinstance(message, Acknowledgement)
            assert message.expected >= message.sent, "something was lost"
            self._acknowledged = message.acknowledged
        return True

    def _report(self) -> None:
        self._reports += 1
        report = ListenerReport(
            name="local",
            stream=_STREAM,
            live=True,
            number=self._reports,
            base=self._acknowledged,
            sent=self._end,
            lost={},
            captured=self._end,
            spooled=0,
            leftovers=[],
            packets=PacketCounts(),
            source="capture",
        )
        sockets.sent(self._socket, report.pack())


def _records() -> Records:
    """IPv4 packets of many sources to one endpoint, as a listener has them."""
    random = np.random.default_rng(1)
    count = _BATCH_RECORDS
    return Records(
        np.uint64(time.time_ns()) + np.sort(random.integers(0, 10**7, count, np.uint64)),
        random.integers(0, 256, (count, 4), np.uint8),
        np.broadcast_to(np.frombuffer(packed("192.0.2.1"), np.uint8), (count, 16)),
        random.integers(0, 65_536, count, "<u2"),
        np.broadcast_to(np.uint16(9000), count),
        random.choice(np.array([2, 16, 17, 24], np.uint8), count),
        np.broadcast_to(np.uint16(1), count),
    )
