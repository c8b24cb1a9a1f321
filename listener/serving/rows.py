"""Records of accepted connections, for users who may not capture: fixed rows of bytes in a pipe to the listener.

A row has a record's columns one after the other, little-endian, in the order of `tapfan.batch.COLUMNS`.
"""

import asyncio
import select
import struct
from typing import Any

from tapfan.endpoints import packed

FORM = struct.Struct("<Q16s16sHHBH")
# A pipe takes up to PIPE_BUF bytes whole or not at all: a process that is killed leaves no part of a row behind.
_ATOMIC_BYTES = select.PIPE_BUF // FORM.size * FORM.size
SYN, PSH, ACK = 0x02, 0x08, 0x10

Addresses = tuple[bytes, bytes, int, int]


class Rows:
    """Writes rows to a pipe, once a turn of the event loop.

    The write waits while the listener does not read: then nothing is served either, and the clients wait.
    """

    def __init__(self, pipe: int) -> None:
        self._file = open(pipe, "wb", buffering=0)  # noqa: SIM115 (a descriptor, open for as long as we run)
        self._waiting = bytearray()

    @staticmethod
    def addresses(peer: Any, local: Any) -> Addresses:
        """Source and destination, address and port, of an accepted connection."""
        return packed(peer[0]), packed(local[0]), peer[1], local[1]

    def add(self, timestamp_ns: int, addresses: Addresses, flags: int) -> None:
        """One record."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting += FORM.pack(timestamp_ns, *addresses, flags, 1)

    def flush(self) -> None:
        """Write what waits."""
        data = memoryview(self._waiting)
        self._waiting = bytearray()
        for start in range(0, len(data), _ATOMIC_BYTES):
            self._file.write(data[start : start + _ATOMIC_BYTES])
