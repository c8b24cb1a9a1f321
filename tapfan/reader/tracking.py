"""Which keys are written, told by Redis itself, without being configured for it.

`CLIENT TRACKING ON BCAST` (Redis 6) has it send the names of all keys with our prefixes that change (or expire) to
another connection, which has subscribed to a channel.
See https://redis.io/docs/latest/develop/reference/client-side-caching/.
"""

from collections.abc import Callable, Iterator

from tapfan import blocks
from tapfan.reader import keys as record_keys
from tapfan.reader.exchange import Connection, packed, unexpected

_CHANNEL = b"__redis__:invalidate"
_PREFIXES = (b"PREFIX", record_keys.PREFIX, b"PREFIX", blocks.PREFIX)
_IDLE_S = 1.0  # after so long without a word, Redis is asked whether it is there
_LINGER_S = 0.005  # what else comes within it is read together
_KEYS_AT_ONCE = 8192


def begin(notices: Connection, asking: Connection) -> None:
    """Have keys that change told to `notices` for as long as both are open. Raises RefusedError."""
    told = notices.run(b"CLIENT", b"ID")
    if not isinstance(told, int):
        raise unexpected(told, "a number")
    asking.run(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", b"%d" % told, b"BCAST", *_PREFIXES)
    notices.run(b"SUBSCRIBE", _CHANNEL)


def changes(notices: Connection, asking: Connection, is_over: Callable[[], bool]) -> Iterator[list[bytes]]:
    """The keys that change, many at once where many do."""
    while not is_over():
        message = notices.receive_within(_IDLE_S)
        if message is None:
            asking.send(packed(b"PING"))
            asking.receive()  # whatever it is: Redis is there
            continue
        keys: list[bytes] = []
        while message is not None:
            keys += _named(message)
            message = notices.receive_within(_LINGER_S) if len(keys) < _KEYS_AT_ONCE else None
        yield keys


def _named(message: object) -> list[bytes]:
    """The keys in a message; none when all keys went."""
    match message:
        case [_, _, None]:
            return []
        case [_, _, list(keys)] if all(isinstance(key, bytes) for key in keys):
            return keys
    raise unexpected(message, "a message with a list of keys")
