"""Records' identities as single numbers, and which of them were seen already, in bounded memory.

An identity is a uint64: the stream's number in its upper 16 bits, the sequence number in its lower 48.
"""

import itertools
import threading
from collections import OrderedDict

import numpy as np

from tapfan.batch import Column

MAX_STREAMS = 2**16
SEQUENCE_BITS = 48
_SEQUENCE_MASK = 2**SEQUENCE_BITS - 1
_CHUNK_BITS = 16  # identities that differ in the lower bits only share a chunk: 64 KiB for 65,536 records
_CHUNK = 2**_CHUNK_BITS
_FEW_RUNS = 64


class Streams:
    """Numbers for streams' names, in the order in which they come up. For several threads."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._lock = threading.Lock()

    def number(self, name: str) -> int | None:
        """The stream's number; None where there have been MAX_STREAMS others."""
        known = self._numbers.get(name)
        if known is not None:
            return known
        with self._lock:
            if name not in self._numbers and len(self._names) < MAX_STREAMS:
                self._numbers[name] = len(self._names)
                self._names.append(name)
            return self._numbers.get(name)

    def identity(self, identity: int) -> tuple[str, int]:
        """The stream's name and the sequence number."""
        return self._names[identity >> SEQUENCE_BITS], identity & _SEQUENCE_MASK


class CrowdedError(Exception):
    """Raised when identities lie too far apart for all that were seen to be remembered."""


class Seen:
    """Remembers which identities it was given, by one byte each and 64 KiB for what lies near each other.

    `most`: how many such chunks there may be; where more are needed, those longest untouched are forgotten if
    `forgetful`, and else CrowdedError is raised.
    """

    def __init__(self, most: int, forgetful: bool = False) -> None:
        self._chunks: OrderedDict[int, Column] = OrderedDict()
        self._most = most
        self._forgetful = forgetful

    def fresh(self, identity: Column) -> Column:
        """A mask of those that it had not been given before; of equal ones among them, of one."""
        if not len(identity):
            return np.empty(0, bool)
        breaks = _breaks(identity)
        if len(breaks) <= _FEW_RUNS + len(identity) // _CHUNK:
            return self._fresh_in_runs(identity, breaks)
        ordered = np.sort(identity)
        first = np.ones(len(ordered), bool)
        first[1:] = ordered[1:] != ordered[:-1]
        unique = ordered[first]
        fresh = self._fresh_in_runs(unique, _breaks(unique))
        if len(unique) == len(identity) and fresh.all():
            return fresh  # in whatever order
        mask = np.zeros(len(identity), bool)
        mask[np.argsort(identity)[first][fresh]] = True
        return mask

    def _fresh_in_runs(self, identity: Column, breaks: Column) -> Column:
        """The same for runs that ascend, each within one chunk, and begin after the `breaks`."""
        fresh = np.empty(len(identity), bool)
        for start, stop in itertools.pairwise([0, *breaks.tolist(), len(identity)]):
            run = identity[start:stop]
            chunk = self._chunk(int(run[0]) >> _CHUNK_BITS)
            first, last = int(run[0]) % _CHUNK, int(run[-1]) % _CHUNK
            place: slice | Column = (
                slice(first, last + 1) if last - first == stop - start - 1 else run & np.uint64(_CHUNK - 1)
            )
            np.logical_not(chunk[place], out=fresh[start:stop])
            chunk[place] = True
        return fresh

    def _chunk(self, number: int) -> Column:
        chunk = self._chunks.get(number)
        if chunk is None:
            if len(self._chunks) >= self._most:
                if not self._forgetful:
                    raise CrowdedError
                self._chunks.popitem(last=False)
            chunk = self._chunks[number] = np.zeros(_CHUNK, bool)
        elif self._forgetful:
            self._chunks.move_to_end(number)
        return chunk


def _breaks(identity: Column) -> Column:
    """Where an identity is not above the one before it, or in another chunk."""
    before, after = identity[:-1], identity[1:]
    chunk = np.uint64(_CHUNK_BITS)
    return np.flatnonzero((after <= before) | (after >> chunk != before >> chunk)) + 1
