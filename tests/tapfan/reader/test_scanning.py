"""All keys that can be ours, as texts that are looked at in bulk."""

from tapfan.reader.exchange import Connection
from tapfan.reader.nodes import nodes
from tapfan.reader.scanning import all_keys
from tapfan.reader.texts import Texts
from tests.tapfan.reader.storing import settings
from tests.writers.servers import Server

NASTY = [b"tcp:\r\n$3\r\nabc", b"tcp:\n", b"tcp:$7", b"tcp:\r", b"tcp:\0", b"tcp:" + b"a" * 3_000_000]


def test_all_keys_come_whatever_they_are(server: Server) -> None:
    expected = [*NASTY, *(b"tcp:%d" % number for number in range(20_000)), b"tcpb:x"]
    server.client.mset(dict.fromkeys(expected, "x"))
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
    assert texts.chosen(texts.begin_with(b"tcp:")).bytes_of(slice(None)) == [b"tcp:x", b"tcp:"]
