"""What a file holds, and what has become of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from tests.listener.pcaps import Packet
from tests.process import captures
from tests.process.running import Programs
from tests.process.stored import stored

COUNT = 1000
Expected = list[tuple[str, int, int]]


def expected(content: list[Packet], unit_ns: int = 1) -> Expected:
    """The source, its port and the timestamp of each packet that `captures.packets` made."""
    return sorted(
        (
            captures.SOURCES[number % len(captures.SOURCES)],
            40_000 + number % 1000,
            packet.timestamp_ns // unit_ns * unit_ns,
        )
        for number, packet in enumerate(content)
    )


def found_in(programs: Programs) -> Expected:
    return sorted((record.source, record.value["sport"], record.timestamp_ns) for record in stored(programs))


def status_of(programs: Programs) -> dict[str, Any]:
    status: dict[str, Any] = programs.status()["listeners"]["file"]
    return status


@contextmanager
def through_a_pipe(programs: Programs, *options: str) -> Iterator[IO[bytes]]:
    """A listener that reads its standard input, of which this is the other end."""
    stdin = programs.read("--read", "-", *options, stdin=subprocess.PIPE).stdin
    assert stdin
    try:
        yield stdin
    finally:
        stdin.close()
