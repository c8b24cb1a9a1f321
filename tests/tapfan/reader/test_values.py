"""Values of the record layout beside their keys."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import Batch
from tapfan.reader.values import read_record_values
from tests.tapfan.reader.storing import stored_texts
from tests.tapfan.strategies import batches

KEY = b"tcp:203.0.113.7>127.0.0.1:1795575907403940346-local.079748f5.0000000000ff"
CONTENT = {"ts": 1795575907.403940346, "src": "203.0.113.7", "sport": 49614, "dst": "127.0.0.1", "dport": 9000}
CONTENT |= {"flags": "FA", "segments": 1}
VALUE = json.dumps(CONTENT, separators=(",", ":")).encode().replace(b"1795575907.4039404", b"1795575907.403940346")


@given(batches())
def test_what_a_writer_stores_is_read(batch: Batch) -> None:
    keys, values = zip(*stored_texts(batch), strict=True)
    read = read_record_values(keys, values)
    assert read.rows.tolist() == list(range(len(batch)))
    for name in ("source_port", "destination_port", "flags", "segments"):
        assert getattr(read, name).tolist() == getattr(batch.records, name).tolist()


def test_the_same_in_another_way_is_read_too() -> None:
    spaced = VALUE.replace(b",", b" , ").replace(b":", b" : ", 1)
    turned = b"{" + b",".join(reversed(VALUE[1:-1].split(b","))) + b',"more":[1]}'
    read = read_record_values([KEY] * 3, [VALUE, spaced, turned])
    assert read.rows.tolist() == [0, 1, 2]
    assert read.source_port.tolist() == [49614] * 3
    assert read.flags.tolist() == [0b10001] * 3


def _with(**changes: object) -> bytes:
    text = json.dumps(CONTENT | {"ts": "TS"} | changes)
    return text.replace('"TS"', "1795575907.403940346").encode()


def test_the_changes_below_begin_with_a_good_value() -> None:
    assert read_record_values([KEY], [_with()]).rows.tolist() == [0]


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"1", b"null", b"[]", b"{}", b"{", b"\xff", b'"' + b"a" * 1000, b"[" * 1025, b"9" * 1025, VALUE[:-1]),
        *(VALUE + b" x", VALUE.replace(b"203.0.113.7", b"203.0.113.8"), VALUE.replace(b"127.0.0.1", b"127.0.0.2")),
        *(VALUE.replace(b"346,", b"347,"), VALUE.replace(b"9000", b"90000"), VALUE.replace(b"FA", b"AF")),
        *(
            _with(sport=-1),
            _with(sport=True),
            _with(sport="1"),
            _with(sport=1.0),
            _with(sport=None),
            _with(dport=65536),
        ),
        *(_with(flags="X"), _with(flags=None), _with(flags=["A"]), _with(flags="é"), _with(segments={})),
        *(_with(ts=1795575907), _with(ts=None), _with(src=1), _with(dst=None), _with(src="203.0.113.7\x00")),
    ],
)
def test_others_are_left_out(value: bytes) -> None:
    assert read_record_values([KEY, KEY, KEY], [VALUE, value, VALUE]).rows.tolist() == [0, 2]


@given(st.binary(max_size=80), st.integers(0, len(VALUE)), st.integers(0, 10))
def test_nothing_raises(piece: bytes, at: int, gone: int) -> None:
    read_record_values([KEY], [VALUE[:at] + piece + VALUE[at + gone :]])
