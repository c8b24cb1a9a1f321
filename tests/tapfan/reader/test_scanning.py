"""Replies to SCAN, whose keys are found without an object for each."""

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from tapfan.reader.exchange import Connection, packed
from tapfan.reader.nodes import nodes
from tapfan.reader.scanning import all_keys, split
from tapfan.reader.texts import Texts
from tests.tapfan.reader.storing import settings
from tests.writers.servers import Server

NASTY = [b"tcp:\r\n$3\r\nabc", b"tcp:\n", b"tcp:$7", b"tcp:\r", b"tcp:" + b"a" * 995, b"tcp:" + b"a" * 996, b"tcp:\0"]
_keys = st.lists(
    st.one_of(st.sampled_from([*NASTY, b"", b"\n"]), st.binary(max_size=30), st.just(b"x" * 120)), max_size=9
)


def reply(cursor: bytes, keys: list[bytes]) -> bytes:
    """What Redis answers."""
    return b"*2\r\n" + packed(cursor).partition(b"\r\n")[2] + packed(*keys)


@given(st.integers(0, 2**64 - 1).map(lambda cursor: b"%d" % cursor), _keys)
def test_a_reply_is_split_as_hiredis_does_it_or_not_at_all(cursor: bytes, keys: list[bytes]) -> None:
    data = reply(cursor, keys)
    reader = hiredis.Reader()
    reader.feed(data)
    assert reader.gets() == [cursor, keys]
    found = split(data)
    if found is not None:
        texts = Texts.within([found[1]])
        assert (found[0], texts.bytes_of(slice(None))) == (cursor, keys)
    assert found is not None or any(b"\n" in key or len(key) > 999 for key in keys)


def test_what_is_no_such_reply_is_not_split() -> None:
    good = reply(b"0", [b"tcp:a"])
    for data in (
        b"-NOAUTH\r\n",
        b"*0\r\n",
        good + b"\n",
        good + good,
        good[:-1],
        b"\r\n" * 4,
    ):
        assert split(data) is None


def test_all_keys_come_whatever_they_are(server: Server) -> None:
    expected = [*NASTY, b"tcp:" + b"a" * 3_000_000, *(b"tcp:%d" % number for number in range(5000)), b"tcpb:x"]
    for key in expected:
        server.client.set(key, "x")
    server.client.set("other", "x")
    (node,) = nodes(settings(server).writers[0], 5.0)
    connection = Connection(node.pool)
    try:
        found = [key for texts in all_keys(connection) for key in texts.bytes_of(slice(None))]
    finally:
        connection.close()
    assert sorted(found) == sorted(expected)


def test_prefixes() -> None:
    texts = Texts.of([b"tcp:x", b"tcp", b":", b"tcpb:", b"tcpb", b"tcp:"])
    assert texts.begin_with(b"tcp:").tolist() == [True, False, False, False, False, True]
    assert texts.begin_with(b"tcpb:").tolist() == [False, False, False, True, False, False]
