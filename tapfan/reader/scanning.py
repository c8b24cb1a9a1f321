"""All keys of a server that can be ours, without holding it up: SCAN in small steps.

The replies are not made to objects, one for each key: where the keys begin and end is found in bulk.
"""

from collections.abc import Generator, Iterator

import numpy as np

from tapfan.batch import Column
from tapfan.reader.exchange import Connection, packed
from tapfan.reader.texts import Texts

_PATTERN = b"tcp[:b]*"  # the keys of both layouts, and few others
_COUNT = b"1000"  # how many keys Redis looks at before it serves others
_KEYS_AT_ONCE = 8192
_HEAD_LINES = 4  # `*2`, the cursor with its length, and how many keys there are
_LINE_FEED, _ZERO = b"\n0"

_Part = tuple[bytes, Column, Column]  # data, and where in it keys start and end


def all_keys(connection: Connection) -> Generator[Texts, None, None]:
    """All keys, some perhaps twice, in pieces worth the work that each costs."""
    waiting: list[_Part] = []
    count = 0
    for part in _scan(connection):
        waiting.append(part)
        count += len(part[1])
        if count >= _KEYS_AT_ONCE:
            yield Texts.within(waiting)
            waiting, count = [], 0
    if count:
        yield Texts.within(waiting)


def _scan(connection: Connection) -> Iterator[_Part]:
    """The same as they come; Redis looks for the next ones while these are used."""
    connection.send(_step(b"0"))
    while True:
        cursor, part = _reply(connection)
        if cursor != b"0":
            connection.send(_step(cursor))
        yield part
        if cursor == b"0":
            return


def _step(cursor: bytes) -> bytes:
    return packed(b"SCAN", cursor, b"MATCH", _PATTERN, b"COUNT", _COUNT)


def _reply(connection: Connection) -> tuple[bytes, _Part]:
    """The next cursor, and the keys."""
    data = connection.receive_lines(_lines)
    found = split(data)
    if found is not None:
        return found
    connection.put_back(data)
    cursor, keys = connection.accept()
    texts = Texts.of(keys)
    return cursor, (texts.data.tobytes(), texts.starts, texts.ends)


def _lines(begun: bytes) -> int:
    """How many lines a reply that begins so has, at least; all of them, once its head is there and has no surprises."""
    if not begun.startswith(b"*"):
        return 1  # an error
    head = begun.split(b"\r\n", _HEAD_LINES)
    count = head[_HEAD_LINES - 1][1:] if len(head) > _HEAD_LINES else b""
    return _HEAD_LINES + 2 * int(count) if count.isdigit() else _HEAD_LINES


def split(reply: bytes) -> tuple[bytes, _Part] | None:
    """The cursor, and where the keys lie in a reply; None for one whose lines do not tell, as a key has a line feed.

    Each line must be as long as the line before it says, and so a key can have nothing in it that is taken for another.
    """
    characters = np.frombuffer(reply, np.uint8)
    feeds = np.flatnonzero(characters == _LINE_FEED)[_HEAD_LINES - 1 :]
    if not len(feeds) or len(feeds) != _lines(reply) - _HEAD_LINES + 1 or feeds[-1] != len(reply) - 1:
        return None
    headers, ends = feeds[1::2], feeds[2::2] - 1
    starts = headers + 1
    digits = headers - feeds[:-1:2] - 3  # between a dollar and a return
    ones, tens, hundreds = (characters[headers - place].astype(np.int64) - _ZERO for place in (2, 3, 4))
    said = ones + np.where(digits > 1, 10 * tens, 0) + np.where(digits > 2, 100 * hundreds, 0)
    if (digits > 3).any() or (said != ends - starts).any():
        return None
    return reply.split(b"\r\n", 3)[2], (reply, starts, ends)
