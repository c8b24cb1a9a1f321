"""All keys of a server that can be ours, without holding it up: SCAN in small steps."""

import re
from collections.abc import Generator, Iterator

from tapfan.reader.exchange import Connection, packed, unexpected
from tapfan.reader.texts import Texts

_PATTERN = b"tcp*"  # the keys of both layouts, and few others; a class in it costs Redis more
_COUNT = b"1000"  # how many keys Redis looks at before it serves others
_KEYS_AT_ONCE = 16_384
_BEGINNING = re.compile(rb"\*2\r\n\$[0-9]+\r\n([0-9]+)\r\n")  # of a reply: the cursor is known before the keys


def all_keys(connection: Connection) -> Generator[Texts, None, None]:
    """All keys, some perhaps twice, in pieces worth the work that each costs."""
    waiting: list[bytes] = []
    for keys in _scan(connection):
        waiting += keys
        if len(waiting) >= _KEYS_AT_ONCE:
            yield Texts.of(waiting)
            waiting = []
    if waiting:
        yield Texts.of(waiting)


def _scan(connection: Connection) -> Iterator[list[bytes]]:
    """The same as they come; Redis looks for the next ones while these are used."""
    cursor = b"0"
    connection.send(_step(cursor))
    while True:
        begun = _BEGINNING.match(connection.beginning())
        if begun and begun[1] != b"0":
            connection.send(_step(begun[1]))
        cursor, keys = _found(connection.accept())
        if not begun and cursor != b"0":
            connection.send(_step(cursor))
        yield keys
        if cursor == b"0":
            return


def _found(reply: object) -> tuple[bytes, list[bytes]]:
    match reply:
        case [bytes(cursor), list(keys)] if cursor.isdigit() and set(map(type, keys)) <= {bytes}:
            return cursor, keys
    raise unexpected(reply, "a cursor and a list of keys")


def _step(cursor: bytes) -> bytes:
    return packed(b"SCAN", cursor, b"MATCH", _PATTERN, b"COUNT", _COUNT)
