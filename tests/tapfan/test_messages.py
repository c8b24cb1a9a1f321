"""Reports and acknowledgements: each kind arrives as it was, anything else is a WireError."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.messages import Acknowledgement, ListenerReport, Mark, Message, Stored, WriterReport, read_message
from tapfan.wire import MAX_SEQUENCE, STREAM_FORM, WireError, unpack
from tests.tapfan.strategies import anything, nested

names = st.from_regex("[A-Za-z0-9_-]{1,32}", fullmatch=True)
streams = st.from_regex(STREAM_FORM, fullmatch=True)
epochs = st.from_regex("[0-9a-f]{8}", fullmatch=True)
sequences = st.integers(0, MAX_SEQUENCE)
counts = st.integers(0, 2**63 - 1)
texts = st.text(max_size=500)


@st.composite
def _listener_reports(draw: st.DrawFn) -> ListenerReport:
    expired, base, sent, captured = sorted(draw(st.lists(sequences, min_size=4, max_size=4)))
    return ListenerReport(
        name=draw(names),
        stream=draw(streams),
        number=draw(counts),
        base=base,
        sent=sent,
        expired=expired,
        captured=captured,
        kernel_drops=draw(counts),
        undecoded=draw(counts),
        source=draw(st.sampled_from(["capture", "accept"])),
        waiting=draw(st.booleans()),
    )


messages: st.SearchStrategy[Message] = st.one_of(
    _listener_reports(),
    st.builds(
        Acknowledgement,
        stream=streams,
        acknowledged=sequences,
        expired=counts,
        expected=sequences,
        report=counts,
        sent=sequences,
    ),
    st.builds(
        WriterReport,
        name=names,
        redis=texts,
        healthy=st.booleans(),
        reason=texts,
        router=st.none() | epochs,
        expected=counts,
        mark=counts,
        sent=counts,
    ),
    st.builds(Mark, router=epochs, number=counts, base=counts, sent=counts),
    st.builds(Stored, name=names, router=epochs, number=counts, stored=counts, expired=counts),
)

MARK: dict[str, Any] = {"kind": "mark", "router": "0a1b2c3d", "number": 1, "base": 2, "sent": 3}
REPORT: dict[str, Any] = {
    "kind": "listener",
    "name": "local",
    "stream": "local.0a1b2c3d",
    "number": 1,
    "base": 2,
    "sent": 3,
    "expired": 0,
    "captured": 4,
    "kernel_drops": 0,
    "undecoded": 0,
    "waiting": False,
    "source": "capture",
}
WRITER: dict[str, Any] = {
    "kind": "writer",
    "name": "a",
    "redis": "redis://127.0.0.1:7101/0",
    "healthy": True,
    "reason": "",
    "router": None,
    "expected": 0,
    "mark": 0,
    "sent": 0,
}


@given(messages)
def test_each_message_arrives_as_it_was(message: Message) -> None:
    assert read_message(unpack(message.pack())) == message


@pytest.mark.parametrize("content", [MARK, REPORT, WRITER])
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
        (MARK | {"number": 2**63}, "mark.number"),
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
        (REPORT | {"source": "tap"}, "listener.source"),
        (WRITER | {"healthy": 1}, "writer.healthy"),
        (WRITER | {"reason": "x" * 501}, "writer.reason"),
        (WRITER | {"redis": None}, "writer.redis"),
    ],
)
def test_a_bad_message_is_refused_with_the_field_in_question(content: dict[str, Any], problem: str) -> None:
    with pytest.raises(WireError, match=problem):
        read_message(content)


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
