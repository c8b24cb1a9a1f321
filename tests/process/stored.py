"""What the Redis servers hold, read as a user's program would read it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis

from tapfan.blocks import Block, unpack
from tests.process.running import Programs
from tests.tapfan.strategies import rows

_KEY = re.compile(
    r"tcp:(?P<source>[0-9a-f.:]+)>(?P<destination>[0-9a-f.:]+):(?P<timestamp>\d{19})"
    r"-(?P<stream>[A-Za-z0-9_-]+\.[0-9a-f]{8})\.(?P<sequence>[0-9a-f]{12})"
)


@dataclass(frozen=True)
class Stored:
    """One record: what its key says, and its value's text."""

    source: str
    destination: str
    timestamp_ns: int
    stream: str
    sequence: int
    text: str

    @property
    def value(self) -> dict[str, Any]:
        """The value, read as JSON."""
        value: dict[str, Any] = json.loads(self.text)
        return value


def keys(programs: Programs, writer: str) -> Iterator[re.Match[str]]:
    """All keys of records in a writer's Redis, by their parts."""
    with programs.redis(writer) as client:
        for key in client.scan_iter(count=1000):
            if key.startswith("tcpb:"):
                continue
            match = _KEY.fullmatch(key)
            assert match, key
            yield match


def stored(programs: Programs, *writers: str) -> list[Stored]:
    """All records of these writers' Redis servers, in the order of their sequence numbers."""
    found = []
    for writer in writers or programs.redis_ports:
        matches = list(keys(programs, writer))
        with programs.redis(writer) as client:
            texts = client.mget(match.string for match in matches) if matches else []
        for match, text in zip(matches, texts, strict=True):
            found.append(
                Stored(
                    match["source"],
                    match["destination"],
                    int(match["timestamp"]),
                    match["stream"],
                    int(match["sequence"], 16),
                    text,
                )
            )
    return sorted(found, key=lambda record: record.sequence)


def left_ms(programs: Programs) -> list[int]:
    """The milliseconds that each record has left to live."""
    found: list[int] = []
    for writer in programs.redis_ports:
        with programs.redis(writer) as client:
            pipeline = client.pipeline(transaction=False)
            for match in keys(programs, writer):
                pipeline.pttl(match.string)
            found += pipeline.execute()
    return found


def sequences(programs: Programs, writer: str) -> list[int]:
    """The sequence numbers of all records in a writer's Redis, in order."""
    return [record.sequence for record in stored(programs, writer)]


def blocks(programs: Programs, *writers: str) -> Iterator[Block]:
    """All blocks of these writers' Redis servers."""
    for writer in writers or programs.redis_ports:
        with redis.Redis(port=programs.redis_ports[writer], protocol=2) as client:
            for key in client.scan_iter(match="tcpb:*", count=1000):
                if (value := client.get(key)) is not None:
                    yield unpack(key, value)


def identities(programs: Programs) -> set[tuple[str, int]]:
    """The identities of all records, each once, as a reader has them who drops what is stored twice."""
    found: dict[tuple[str, int], object] = {}
    for record in stored(programs):
        text = found.setdefault((record.stream, record.sequence), record.text)
        assert text == record.text, "one identity, one record"
    for block in blocks(programs):
        streams = [span.stream for span in block.spans for _ in range(span.count)]
        for stream, sequence, row in zip(streams, block.sequence.tolist(), rows(block.records), strict=True):
            assert found.setdefault((stream, sequence), row) == row, "one identity, one record"
    return set(found)
