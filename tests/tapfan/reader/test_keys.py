"""Keys of the record layout, read in bulk, beside a reading of each by itself."""

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import Batch
from tapfan.endpoints import packed
from tapfan.reader.keys import RecordKeys, read_record_keys
from tapfan.reader.texts import Texts
from tests.tapfan.reader.storing import stored_texts
from tests.tapfan.strategies import batches

GOOD = b"tcp:203.0.113.7>2001:db8::1:1795575907403940346-local.079748f5.0000000000ff"
_FORM = re.compile(rb"tcp:([^>]*)>([^>]*):([0-9]{19})-([A-Za-z0-9_-]{1,32}\.[0-9a-f]{8})\.([0-9a-f]{12})")
Read = tuple[int, bytes, bytes, int, str, int]


def _one_by_one(keys: list[bytes]) -> list[Read]:
    read = []
    for row, key in enumerate(keys):
        match = _FORM.fullmatch(key)
        if match and (source := _address(match[1])) and (destination := _address(match[2])):
            stream = match[4].decode()
            read.append((row, source, destination, int(match[3]), stream, int(match[5], 16)))
    return read


def _address(text: bytes) -> bytes | None:
    try:
        address = ip_address(text.decode("ascii"))
    except ValueError:
        return None
    if b"%" in text:  # a scope
        return None
    usual = str(address.ipv4_mapped if address.version == 6 and address.ipv4_mapped else address)
    return packed(usual) if usual.encode() == text else None


def _rows(read: RecordKeys) -> list[Read]:
    return [
        (row, source.tobytes(), destination.tobytes(), timestamp, read.streams[stream], sequence)
        for row, source, destination, timestamp, stream, sequence in zip(
            read.rows.tolist(),
            read.source,
            read.destination,
            read.timestamp.tolist(),
            read.stream.tolist(),
            read.sequence.tolist(),
            strict=True,
        )
    ]


@given(batches())
def test_what_a_writer_stores_is_read(batch: Batch) -> None:
    keys = [key for key, _ in stored_texts(batch)]
    read = read_record_keys(Texts.of(keys))
    assert _rows(read) == _one_by_one(keys)
    assert len(read.rows) == len(batch)
    assert read.timestamp.tolist() == batch.records.timestamp.tolist()
    assert read.source.tobytes() == batch.records.source.tobytes()
    assert read.sequence.tolist() == list(range(batch.first, batch.end))


_places = st.integers(0, len(GOOD))
_pieces = st.one_of(
    st.binary(max_size=3), st.sampled_from([b">", b"-", b":", b".", b"0", b"\0", b"\r\n", b"tcp:", b"a" * 70])
)


@st.composite
def _changed(draw: st.DrawFn) -> bytes:
    """A good key of which something is replaced."""
    start, stop = sorted(draw(st.tuples(_places, _places)))
    stop = draw(st.sampled_from([start, min(start + 1, len(GOOD)), stop]))
    key = GOOD[:start] + draw(_pieces) + GOOD[stop:]
    return b"tcp:" + key.removeprefix(b"tcp:")


@given(
    st.lists(st.one_of(_changed(), st.just(GOOD), st.binary(max_size=60).map(lambda tail: b"tcp:" + tail)), max_size=8)
)
def test_whatever_else_has_our_prefix_is_left_out(keys: list[bytes]) -> None:
    assert _rows(read_record_keys(Texts.of(keys))) == _one_by_one(keys)


@pytest.mark.parametrize(
    "source",
    [
        *("1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.", ".1.2.3", "1..2.3", "1.2.3.4444", "1:2.3.4"),
        *("::ffff:1.2.3.4", "2001:DB8::1", "2001:0db8::1", "::1%eth0", "g::1", "1.2.3.-4", "1.2.3.4 ", "٣.2.3.4"),
        *("127.1.2.3", "::", "0.0.0.0"),
    ],
)
def test_addresses_are_taken_as_they_are_usually_written_only(source: str) -> None:
    others = [b"tcp:%b>1.1.1.1:1795575907403940346-a.079748f5.0000000000ff" % text for text in (b"9.9.9.9", b"8.8.8.8")]
    key = f"tcp:{source}>127.0.0.1:1795575907403940346-local.079748f5.0000000000ff".encode()
    keys = [others[0], key, others[1]]
    assert _rows(read_record_keys(Texts.of(keys))) == _one_by_one(keys)
    assert _rows(read_record_keys(Texts.of([key]))) == _one_by_one([key])


def test_nothing_is_read_of_nothing() -> None:
    assert len(read_record_keys(Texts.of([])).rows) == 0
    assert len(read_record_keys(Texts.of([b"tcp:", b"tcp:check"])).rows) == 0


@pytest.mark.parametrize("place", range(19))
@pytest.mark.parametrize("character", [b":", b"-", b"a", b"/", b" "])
def test_a_time_has_digits_only(place: int, character: bytes) -> None:
    at = GOOD.index(b":1795575907403940346") + 1 + place
    keys = [GOOD, GOOD[:at] + character + GOOD[at + 1 :]]
    assert _rows(read_record_keys(Texts.of(keys))) == _one_by_one(keys[:1])


@pytest.mark.parametrize("order", [1, -1])
def test_a_dash_in_a_name_is_not_the_one_before_it(order: int) -> None:
    names = [b"abc", b"zz-abc", b"-abc", b"1795575907403940346-abc", b"a"][::order]
    keys = [b"tcp:9.9.9.9>8.8.8.8:1795575907403940346-%b.079748f5.0000000000ff" % name for name in names]
    assert [read.streams[read.stream[0]] for read in (read_record_keys(Texts.of([key])) for key in keys)] == [
        f"{name.decode()}.079748f5" for name in names
    ]
    assert _rows(read_record_keys(Texts.of(keys))) == _one_by_one(keys)
    assert len(read_record_keys(Texts.of(keys)).rows) == len(keys)
