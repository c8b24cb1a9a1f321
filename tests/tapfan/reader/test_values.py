"""Values of the record layout beside their keys."""

import json
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapfan.batch import Batch
from tapfan.reader.keys import read_record_keys
from tapfan.reader.texts import Texts
from tapfan.reader.values import RecordValues, read_record_values
from tests.tapfan.reader.storing import stored_texts
from tests.tapfan.strategies import batches

KEY = b"tcp:203.0.113.7>127.0.0.1:1795575907403940346-local.079748f5.0000000000ff"
CONTENT = {"ts": 1795575907.403940346, "src": "203.0.113.7", "sport": 49614, "dst": "127.0.0.1", "dport": 9000}
CONTENT |= {"flags": "FA", "segments": 1}
VALUE = json.dumps(CONTENT, separators=(",", ":")).encode().replace(b"1795575907.4039404", b"1795575907.403940346")


def read(keys: Sequence[bytes], values: Sequence[bytes]) -> RecordValues:
    """Read values beside what their keys say."""
    said = read_record_keys(Texts.of(keys))
    return read_record_values(Texts.of(values), said.timestamp, said.source, said.destination)


@given(batches())
def test_what_a_writer_stores_is_read(batch: Batch) -> None:
    keys, values = zip(*stored_texts(batch), strict=True)
    found = read(keys, values)
    assert found.rows.tolist() == list(range(len(batch)))
    for name in ("source_port", "destination_port", "flags", "segments"):
        assert getattr(found, name).tolist() == getattr(batch.records, name).tolist()


def test_the_same_in_another_way_is_read_too() -> None:
    spaced = VALUE.replace(b",", b" , ").replace(b":", b" : ", 1)
    turned = b"{" + b",".join(reversed(VALUE[1:-1].split(b","))) + b',"more":[1]}'
    found = read([KEY] * 3, [VALUE, spaced, turned])
    assert found.rows.tolist() == [0, 1, 2]
    assert found.source_port.tolist() == [49614] * 3
    assert found.flags.tolist() == [0b10001] * 3


def _with(**changes: object) -> bytes:
    text = json.dumps(CONTENT | {"ts": "TS"} | changes)
    return text.replace('"TS"', "1795575907.403940346").encode()


def test_the_changes_below_begin_with_a_good_value() -> None:
    assert read([KEY], [_with()]).rows.tolist() == [0]


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"1", b"null", b"[]", b"{}", b"{", b"\xff", b'"' + b"a" * 1000, b"[" * 1025, b"9" * 1025, VALUE[:-1]),
        *(VALUE + b" x", VALUE.replace(b"203.0.113.7", b"203.0.113.8"), VALUE.replace(b"127.0.0.1", b"127.0.0.2")),
        *(VALUE.replace(b"346,", b"347,"), VALUE.replace(b"9000", b"90000"), VALUE.replace(b"FA", b"AF")),
        *(VALUE.replace(text, text + b"\0") for text in (b"203.0.113.7", b"127.0.0.1", b"FA")),
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
    assert read([KEY, KEY, KEY], [VALUE, value, VALUE]).rows.tolist() == [0, 2]


_numbers = st.sampled_from(
    [b"0", b"00", b"01", b"65535", b"65536", b"99999", b"-1", b"1.0", b"1e3", b" 7", b"", b":5", b"9" * 30]
)
_texts = st.sampled_from(
    [b"S", b"SA", b"AS", b"FSRPAUEC", b"FSRPAUECC", b"", b"\\u0053", b"\xff", b"\0", b"127.0.0.1", b"::1"]
)
_pieces = st.one_of(st.binary(max_size=3), _numbers, _texts, st.sampled_from([b'"', b'",', b"{", b"}", b":"]))


@st.composite
def _changed(draw: st.DrawFn) -> bytes:
    """A good value of which a word, or anything, is replaced."""
    words = [match.span() for match in re.finditer(rb"[0-9A-Za-z.]+", VALUE)]
    at = st.integers(0, len(VALUE))
    start, end = draw(st.one_of(st.sampled_from(words), st.tuples(at, at).map(sorted)))
    return VALUE[:start] + draw(_pieces) + VALUE[end:]


@given(st.lists(_changed(), max_size=4))
@settings(max_examples=300)
def test_in_bulk_it_is_the_same_as_one_by_one(values: list[bytes]) -> None:
    keys = [KEY] * len(values)
    in_bulk, one_by_one = read(keys, values), read(keys, [b" " + value for value in values])
    for name in ("rows", "source_port", "destination_port", "flags", "segments"):
        assert getattr(in_bulk, name).tolist() == getattr(one_by_one, name).tolist()
