"""Which requests were applied: remembered for far longer than the history's entries, as 15 bytes do for each.

All of it is written with each group of changes, so it is small. With MAX_REMEMBERED known, the chance is 4e-11 that a
new id is taken for one of them, which is refused then.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, Self

MAX_REMEMBERED = 10_000  # requests; no fewer, and a part of a chunk more
_CHUNK = 128  # requests
_ID_BYTES, _DIGEST_BYTES, _VERSION_BYTES = 6, 4, 5  # hashes of the id and of the digest, the version (modulo 2**40)
_VERSIONS = 256**_VERSION_BYTES
_BYTES = _ID_BYTES + _DIGEST_BYTES + _VERSION_BYTES
_CHARACTERS = _BYTES // 3 * 4  # in base64, which needs no padding then
MAX_CHARACTERS = (MAX_REMEMBERED + _CHUNK) * _CHARACTERS
PATTERN = rf"^(?:[A-Za-z0-9+/]{{{_CHARACTERS}}})*$"


@dataclass(frozen=True, slots=True)
class Applied:
    """A request that was applied, which made that version."""

    digest: bytes  # the hash of it
    version: int

    def is_same(self, digest: str) -> bool:
        """Whether a request with this digest is the same one."""
        return self.digest == _hash(digest, _DIGEST_BYTES)


class Record(NamedTuple):
    """What is remembered of a request."""

    key: bytes  # the hash of its id
    known: bytes  # the hash of its digest, and the version that it made
    text: str  # both

    @classmethod
    def of(cls, request: str, digest: str, version: int) -> Self:
        """That of the request with this id and this digest."""
        key = _hash(request, _ID_BYTES)
        known = _hash(digest, _DIGEST_BYTES) + (version % _VERSIONS).to_bytes(_VERSION_BYTES)
        return cls(key, known, b64encode(key + known).decode())


class _Chunk(NamedTuple):
    """Some that follow each other, as text too, which is made once."""

    applied: dict[bytes, bytes]  # what follows the hash of the id, by that
    text: str


class Repeats:
    """The last MAX_REMEMBERED requests. Never changes: `extend` gives another, which shares all but the last chunk.

    `text`: of one that was kept, as `text` gives it.
    """

    def __init__(self, text: str = "") -> None:
        size = _CHUNK * _CHARACTERS
        parts = (text[begin : begin + size] for begin in range(0, len(text), size))
        self._chunks = tuple(_Chunk(dict(_read(part)), part) for part in parts)

    def __len__(self) -> int:
        full, last = self._chunks[:-1], self._chunks[-1:]
        return len(full) * _CHUNK + sum(len(chunk.text) for chunk in last) // _CHARACTERS

    @property
    def text(self) -> str:
        """All of them, of the pattern PATTERN and at most MAX_CHARACTERS long."""
        return "".join([chunk.text for chunk in self._chunks])

    def find(self, request: str) -> Applied | None:
        """The one with this id."""
        key = _hash(request, _ID_BYTES)
        for applied, _ in reversed(self._chunks):
            if key in applied:
                known = applied[key]
                return Applied(known[:_DIGEST_BYTES], int.from_bytes(known[_DIGEST_BYTES:]))
        return None

    def extend(self, records: Iterable[Record]) -> Self:
        """With some more."""
        chunks = list(self._chunks)
        last = chunks.pop() if chunks else _Chunk({}, "")
        applied, texts = last.applied.copy(), [last.text]
        size = len(last.text) // _CHARACTERS
        for record in records:
            if size == _CHUNK:
                chunks.append(_Chunk(applied, "".join(texts)))
                applied, texts, size = {}, [], 0
            applied[record.key] = record.known
            texts.append(record.text)
            size += 1
        more = type(self)()
        more._chunks = (*chunks, _Chunk(applied, "".join(texts)))
        beyond = (len(more) - MAX_REMEMBERED) // _CHUNK
        more._chunks = more._chunks[max(0, beyond) :]
        return more


def _read(text: str) -> Iterator[tuple[bytes, bytes]]:
    content = b64decode(text)
    for begin in range(0, len(content), _BYTES):
        yield content[begin : begin + _ID_BYTES], content[begin + _ID_BYTES : begin + _BYTES]


def _hash(text: str, size: int) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=size).digest()
