"""Reports and acknowledgements: each kind arrives as it was, anything else is a WireError."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.bounds import MAX_COUNT, MAX_NUMBER, MAX_PARTS, MAX_SEQUENCE
from tapfan.losses import REASONS, Reason
from tapfan.messages import (
    MAX_LEFTOVERS,
    MAX_TEXT,
    MAX_WARNINGS,
    Acknowledgement,
    Gap,
    ListenerReport,
    Mark,
    Message,
    PacketCounts,
    Projection,
    Stored,
    WriterReport,
    cut,
    read_message,
)
from tapfan.names import STREAM_FORM
from tapfan.skips import SKIP_REASONS
from tapfan.wire import WireError, unpack
from tests.tapfan.strategies import anything, nested

names = st.from_regex("[A-Za-z0-9_-]{1,32}", fullmatch=True)
streams = st.from_regex(STREAM_FORM, fullmatch=True)
epochs = st.from_regex("[0-9a-f]{8}", fullmatch=True)
sequences = st.integers(0, MAX_SEQUENCE)
counts = st.integers(0, MAX_COUNT)
wholes = st.integers(0, MAX_NUMBER - 1)
_PACKET_COUNTS = st.builds(
    PacketCounts,
    seen=counts,
    kernel_drops=counts,
    ring_freezes=counts,
    skipped=st.dictionaries(st.sampled_from(SKIP_REASONS), counts),
)
_AMOUNTS = st.floats(min_value=0, allow_infinity=False, allow_nan=False)
_PROJECTIONS = st.builds(
    Projection, rate=_AMOUNTS, bytes_a_record=_AMOUNTS, needed=wholes, available=st.none() | wholes
)
texts = st.text(max_size=500)
reasons: st.SearchStrategy[Reason] = st.sampled_from(REASONS)
losses: st.SearchStrategy[dict[Reason, int]] = st.dictionaries(reasons, counts)


@st.composite
def _listener_reports(draw: st.DrawFn) -> ListenerReport:
    base, sent, unspooled, captured = sorted(draw(st.lists(sequences, min_size=4, max_size=4)))
    lost: dict[Reason, int] = {}
    for reason in draw(st.lists(reasons, unique=True)):
        lost[reason] = draw(st.integers(0, base - sum(lost.values())))
    return ListenerReport(
        name=draw(names),
        stream=draw(streams),
        live=draw(st.booleans()),
        number=draw(wholes),
        base=base,
        sent=sent,
        lost=lost,
        captured=captured,
        spooled=captured - unspooled,
        leftovers=draw(st.lists(streams, max_size=3)),
        packets=draw(_PACKET_COUNTS),
        source=draw(st.sampled_from(["capture", "accept", "file"])),
    )


@st.composite
def _gaps(draw: st.DrawFn) -> Gap:
    first, end = sorted(draw(st.lists(sequences, min_size=2, max_size=2, unique=True)))
    return Gap(stream=draw(streams), first=first, end=end, reason=draw(reasons))


@st.composite
def _stored(draw: st.DrawFn) -> Stored:
    expired = draw(st.lists(counts, max_size=5))
    shares = len(expired) or draw(st.integers(1, MAX_PARTS))
    return Stored(
        name=draw(names), router=draw(epochs), number=draw(wholes), shares=shares, stored=draw(counts), expired=expired
    )


messages: st.SearchStrategy[Message] = st.one_of(
    _listener_reports(),
    _gaps(),
    st.builds(
        Acknowledgement,
        stream=streams,
        acknowledged=sequences,
        lost=losses,
        expected=sequences,
        report=wholes,
        sent=sequences,
    ),
    st.builds(
        WriterReport,
        name=names,
        redis=texts,
        weight=_AMOUNTS,
        rampup_s=_AMOUNTS,
        healthy=st.booleans(),
        reason=texts,
        round_trip_us=st.none() | wholes,
        used_memory=st.none() | wholes,
        max_memory=st.none() | wholes,
        projection=st.none() | _PROJECTIONS,
        warnings=st.lists(texts, max_size=MAX_WARNINGS),
        router=st.none() | epochs,
        expected=wholes,
        mark=wholes,
        sent=wholes,
    ),
    st.builds(Mark, router=epochs, number=wholes, base=wholes, sent=wholes),
    _stored(),
)

MARK: dict[str, Any] = {"kind": "mark", "router": "0a1b2c3d", "number": 1, "base": 2, "sent": 3}
STORED: dict[str, Any] = {
    "kind": "stored",
    "name": "a",
    "router": "0a1b2c3d",
    "number": 7,
    "shares": 2,
    "stored": 30,
    "expired": [0, 1],
}
REPORT: dict[str, Any] = {
    "kind": "listener",
    "name": "local",
    "stream": "local.0a1b2c3d",
    "live": True,
    "number": 1,
    "base": 2,
    "sent": 3,
    "lost": {"dropped_disk": 1},
    "captured": 5,
    "spooled": 1,
    "leftovers": ["local.00000001"],
    "packets": {"seen": 9, "kernel_drops": 1, "ring_freezes": 1, "skipped": {"truncated": 3}},
    "source": "capture",
}
GAP: dict[str, Any] = {"kind": "gap", "stream": "local.0a1b2c3d", "first": 3, "end": 4, "reason": "expired_in_spool"}
WRITER: dict[str, Any] = {
    "kind": "writer",
    "name": "a",
    "redis": "redis://127.0.0.1:7101/0",
    "weight": 30.0,
    "rampup_s": 0.0,
    "healthy": True,
    "reason": "",
    "round_trip_us": None,
    "used_memory": None,
    "max_memory": None,
    "router": None,
    "expected": 0,
    "mark": 0,
    "sent": 0,
}


@given(messages)
def test_each_message_arrives_as_it_was(message: Message) -> None:
    assert read_message(unpack(message.pack())) == message


@pytest.mark.parametrize("content", [MARK, REPORT, GAP, WRITER, STORED, STORED | {"expired": []}])
def test_the_examples_that_the_others_break_are_valid(content: dict[str, Any]) -> None:
    assert read_message(dict(content)).kind == content["kind"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "kind: not text"),
        (MARK | {"kind": "batch"}, "'batch' found using 'kind' does not match"),
        (MARK | {"kind": None}, "kind: not text"),
        (MARK | {"kind": ["mark"]}, "kind: not text"),
        (MARK | {"extra": 1}, "mark.extra: Extra inputs are not permitted"),
        ({key: MARK[key] for key in MARK if key != "sent"}, "mark.sent: Field required"),
        (MARK | {"number": -1}, "mark.number"),
        (MARK | {"number": MAX_NUMBER}, "mark.number"),
        (MARK | {"number": True}, "mark.number"),
        (MARK | {"number": "1"}, "mark.number"),
        (MARK | {"number": 1.0}, "mark.number"),
        (MARK | {"router": "0a1b2c3d\n"}, "mark.router"),
        (MARK | {"router": "0A1B2C3D"}, "mark.router"),
        (MARK | {"router": None}, "mark.router"),
        (REPORT | {"name": "local\n"}, "listener.name"),
        (REPORT | {"name": "a b"}, "listener.name"),
        (REPORT | {"name": "a" * 33}, "listener.name"),
        (REPORT | {"name": b"local"}, "listener.name"),
        (REPORT | {"stream": "local"}, "listener.stream"),
        (REPORT | {"stream": "x\nlocal.0a1b2c3d"}, "listener.stream"),
        (REPORT | {"base": MAX_SEQUENCE + 1}, "listener.base"),
        (REPORT | {"live": 1}, "listener.live"),
        ({key: REPORT[key] for key in REPORT if key != "live"}, "listener.live: Field required"),
        (REPORT | {"expired": 0}, "listener.expired: Extra inputs are not permitted"),
        (REPORT | {"lost": {"dropped_by_nobody": 1}}, "listener.lost.dropped_by_nobody"),
        (REPORT | {"lost": {"dropped_disk": -1}}, "listener.lost.dropped_disk"),
        (REPORT | {"lost": {"dropped_disk": 1.0}}, "listener.lost.dropped_disk"),
        (REPORT | {"lost": [1]}, "listener.lost"),
        (REPORT | {"spooled": -1}, "listener.spooled"),
        (REPORT | {"spooled": None}, "listener.spooled"),
        (REPORT | {"packets": {"kernel_drops": MAX_COUNT + 1}}, "listener.packets.kernel_drops"),
        (REPORT | {"packets": {"seen": MAX_COUNT + 1}}, "listener.packets.seen"),
        (REPORT | {"packets": {"skipped": {"bad_ip": MAX_COUNT + 1}}}, "listener.packets.skipped.bad_ip"),
        (REPORT | {"leftovers": ["local"]}, "listener.leftovers.0"),
        (REPORT | {"leftovers": ["local.0a1b2c3d"] * (MAX_LEFTOVERS + 1)}, "listener.leftovers"),
        (REPORT | {"leftovers": "local.0a1b2c3d"}, "listener.leftovers"),
        (GAP | {"stream": "local"}, "gap.stream"),
        (GAP | {"first": -1}, "gap.first"),
        (GAP | {"end": MAX_SEQUENCE + 1}, "gap.end"),
        (GAP | {"reason": "lost"}, "gap.reason"),
        (GAP | {"reason": None}, "gap.reason"),
        ({key: GAP[key] for key in GAP if key != "reason"}, "gap.reason: Field required"),
        (WRITER | {"round_trip_us": -1}, "writer.round_trip_us"),
        (WRITER | {"used_memory": MAX_NUMBER}, "writer.used_memory"),
        (WRITER | {"max_memory": "0"}, "writer.max_memory"),
        ({key: WRITER[key] for key in WRITER if key != "used_memory"}, "writer.used_memory: Field required"),
        (REPORT | {"source": "tap"}, "listener.source"),
        (WRITER | {"healthy": 1}, "writer.healthy"),
        (WRITER | {"reason": "x" * 501}, "writer.reason"),
        (WRITER | {"redis": None}, "writer.redis"),
        (STORED | {"number": -1}, "stored.number"),
        (STORED | {"shares": 0}, "stored.shares"),
        (STORED | {"shares": MAX_PARTS + 1, "expired": []}, "stored.shares"),
        (STORED | {"shares": 3}, "stored: Value error, expired must be empty or say how many of each share"),
        (STORED | {"shares": 2.0}, "stored.shares"),
        (STORED | {"stored": -1}, "stored.stored"),
        (STORED | {"stored": [15, 15]}, "stored.stored"),
        (STORED | {"expired": [0]}, "stored: Value error, expired must be empty or say how many of each share"),
        (STORED | {"expired": [0, -1]}, "stored.expired.1"),
        (STORED | {"stored": MAX_COUNT + 1}, "stored.stored"),
        (STORED | {"expired": [0, MAX_COUNT + 1]}, "stored.expired.1"),
        (STORED | {"expired": [0] * (MAX_PARTS + 1)}, "stored.expired"),
        (STORED | {"expired": None}, "stored.expired"),
    ],
)
def test_a_bad_message_is_refused_with_the_field_in_question(content: dict[str, Any], problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        read_message(content)


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({"lost": {}, "base": 0, "sent": 0, "captured": 0, "spooled": 0}, True),
        ({"lost": {"dropped_disk": 1, "expired_in_spool": 1}}, True),
        ({"lost": {"dropped_disk": 1, "expired_in_spool": 2}}, False),
        ({"lost": {"dropped_disk": 3}}, False),
        ({"base": 3}, True),
        ({"base": 4}, False),
        ({"sent": 4}, True),
        ({"sent": 5}, False),
        ({"spooled": 2}, True),
        ({"spooled": 3}, False),
        ({"spooled": 6}, False),
    ],
)
def test_what_a_listener_counts_must_add_up(changes: dict[str, Any], valid: bool) -> None:
    """The records lost are below its base, and what it has sent is not in its spool only."""
    if valid:
        assert read_message(REPORT | changes).kind == "listener"
        return
    with pytest.raises(WireError, match="listener: Value error, lost, base, sent and captured without spooled must"):
        read_message(REPORT | changes)


@pytest.mark.parametrize("end", [0, 2, 3])
def test_a_gap_has_a_record_at_least(end: int) -> None:
    with pytest.raises(WireError, match="gap: Value error, a gap ends after its first record"):
        read_message(GAP | {"end": end})


@given(messages, st.data())
def test_a_message_with_one_other_value_is_read_or_refused_shortly(message: Message, data: st.DataObject) -> None:
    content = unpack(message.pack())
    content[data.draw(st.one_of(st.sampled_from(sorted(content)), st.text(max_size=100)))] = data.draw(anything)
    _read_or_refused(msgpack.packb(content))


@pytest.mark.parametrize("key", [*MARK, "another"])
@pytest.mark.parametrize("depth", [300, 1000, 1020])
def test_nesting_of_any_depth_is_refused(key: str, depth: int) -> None:
    with pytest.raises(WireError):
        read_message(unpack(nested(MARK, key, depth)))


@pytest.mark.parametrize("content", [MARK | {"kind": "x" * 100_000}, MARK | {"y" * 100_000: 1}])
def test_an_error_stays_short_whatever_came_in(content: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        read_message(content)
    assert len(str(caught.value)) < 300


def _read_or_refused(message: bytes) -> None:
    try:
        read_message(unpack(message))
    except WireError as error:
        text = str(error)
        assert 0 < len(text) < 300


@pytest.mark.parametrize(("length", "end"), [(0, ""), (MAX_TEXT, "x"), (MAX_TEXT + 1, "x…"), (10**5, "x…")])
def test_a_text_that_is_too_long_is_cut_and_shows_it(length: int, end: str) -> None:
    text = cut("x" * length)
    assert len(text) == min(length, MAX_TEXT)
    assert text.endswith(end)
