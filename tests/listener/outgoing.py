"""Small batches on their way out of the listener, and what a router says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from listener.entry import Entry
from listener.window import Window
from tapfan.batch import Batch, Records
from tapfan.losses import Reason
from tapfan.messages import Acknowledgement, Gap, ListenerReport, PacketCounts, read_message
from tapfan.wire import batch_message, packed_batch, read_batch, unpack

EPOCH = "0123abcd"
STREAM = f"local.{EPOCH}"
TTL_MS = 10**12  # for ever
NO_PACKETS = PacketCounts()
NOTHING: Mapping[Reason, int] = MappingProxyType({})


@dataclass(frozen=True)
class Piece:
    """What a message to the router says of a stream's records: the timestamps, or why there are none."""

    stream: str
    first: int
    end: int
    timestamps: tuple[int, ...] = ()
    reason: Reason | None = None


def some_records(timestamps: Sequence[int]) -> Records:
    """Records that differ in their timestamps only."""
    records = Records.empty(len(timestamps))
    for name in ("source", "destination", "source_port", "destination_port", "flags", "segments"):
        getattr(records, name)[:] = 1
    records.timestamp[:] = np.array(timestamps, np.uint64)
    return records


def random_records(first: int, count: int, seed: int = 0) -> Records:
    """Records whose columns cannot be packed into less than they are, apart from the timestamps."""
    random = np.random.default_rng([seed, first])
    records = some_records(range(first, first + count))
    for name in ("source", "destination", "source_port", "destination_port"):
        column = getattr(records, name)
        column[:] = random.integers(0, 256**column.itemsize, column.shape, column.dtype)
    return records


def an_entry(place: int, first: int, count: int, stream: str = STREAM, on_disk: bool = False) -> Entry:
    """A batch whose timestamps are its sequence numbers."""
    batch = Batch(stream, first, some_records(range(first, first + count)))
    return Entry(place, stream, first, batch.end, batch.end - 1, batch_message(packed_batch(batch)), on_disk=on_disk)


def a_gap(place: int, first: int, end: int, reason: Reason = "dropped_disk", stream: str = STREAM) -> Entry:
    """A gap in the place of batches."""
    return Entry(place, stream, first, end, reason=reason)


def put(window: Window, count: int) -> None:
    """Put a batch of so many records into the window."""
    window.put(an_entry(1, window.end, count))


def piece(message: bytes) -> Piece:
    """What a message to the router is about."""
    content = unpack(message)
    if content["kind"] == "batch":
        batch = read_batch(content).unpacked()
        return Piece(batch.stream, batch.first, batch.end, tuple(batch.records.timestamp.tolist()))
    gap = read_message(content)
    assert isinstance(gap, Gap)
    return Piece(gap.stream, gap.first, gap.end, reason=gap.reason)


def a_report(window: Window) -> ListenerReport:
    """What the listener says of the window."""
    return ListenerReport(
        name="local",
        stream=window.stream,
        live=window.live,
        number=window.next_report(),
        base=window.base,
        sent=window.sent,
        lost=dict(window.lost),
        captured=window.captured,
        spooled=window.captured - window.end,
        leftovers=[],
        packets=NO_PACKETS,
        source="capture",
    )


def acknowledgement_of(
    report: ListenerReport, acknowledged: int, expected: int, lost: Mapping[Reason, int] = NOTHING
) -> Acknowledgement:
    """A router's answer to a report."""
    return Acknowledgement(
        stream=report.stream,
        acknowledged=acknowledged,
        lost=dict(lost),
        expected=expected,
        report=report.number,
        sent=report.sent,
        ttl_ms=TTL_MS,
    )
