"""Where a capture file's bytes come from: a file or a pipe, and gzip's unpacking of it."""

import fcntl
import os
import select
import stat
import zlib
from contextlib import suppress
from typing import Protocol

GZIP_MAGIC = b"\x1f\x8b"
_STANDARD_INPUT = 0
_PACKED_BYTES = 65536  # as many as are unpacked at once
_PIPE_BYTES = 1 << 20  # so that a fast one gives much at once
_GZIP_ONLY = 16 + zlib.MAX_WBITS


class Source(Protocol):
    """Bytes in order."""

    ended: bool
    cut: bool  # it ended where it could not have
    damage: str | None  # why it ended although more is there

    def is_ready(self) -> bool:
        """Whether reading would not wait."""

    def read_into(self, room: memoryview) -> int:
        """Read once; how many bytes that gave. None is no end: `ended` says that."""


class Descriptor:
    """A file, a pipe, or ("-") the standard input. Raises OSError."""

    cut = False
    damage: str | None = None

    def __init__(self, path: str) -> None:
        self._is_ours = path != "-"
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if self._is_ours else _STANDARD_INPUT
        status = os.fstat(self._descriptor)
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        if stat.S_ISFIFO(status.st_mode):
            with suppress(OSError):  # what one user may have of this is limited
                fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self.position = 0
        self.ended = False
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def is_ready(self) -> bool:
        """Whether reading would not wait."""
        return bool(self._poll.poll(0))

    def read_into(self, room: memoryview) -> int:
        """Wait until something is there, and read it."""
        self._poll.poll()  # the standard input may be one that does not wait by itself
        count = os.readv(self._descriptor, [room])
        self.position += count
        self.ended = not count
        return count

    def close(self) -> None:
        """Close what was opened here."""
        self.ended = True
        if self._is_ours:
            self._is_ours = False
            os.close(self._descriptor)


class Gunzip:
    """Unpacks gzip, of one or more members. `head`: what has been read already."""

    def __init__(self, packed: Source, head: bytes) -> None:
        self._source = packed
        self._head = head
        self._packed = b""
        self._room = memoryview(bytearray(_PACKED_BYTES))
        self._member = zlib.decompressobj(_GZIP_ONLY)
        self._within = False  # a member
        self._holds_more = False
        self.ended = False
        self.cut = False
        self.damage: str | None = None

    def is_ready(self) -> bool:
        """Whether reading would not wait."""
        return bool(self._packed or self._head) or self._holds_more or self._source.is_ready()

    def read_into(self, room: memoryview) -> int:
        """Unpack what is there, or else what can be read at once."""
        if not self._packed and not self._holds_more:
            self._packed = self._read()
        if not self._within:
            self._packed = self._packed.lstrip(b"\0")  # what pads a tape's or disk's blocks after a member
            self._within = bool(self._packed)
            if not self._within:
                return 0
        data = self._unpack(len(room))
        room[: len(data)] = data
        return len(data)

    def _read(self) -> bytes:
        if self._head:
            packed, self._head = self._head[:_PACKED_BYTES], self._head[_PACKED_BYTES:]
            return packed
        packed = bytes(self._room[: self._source.read_into(self._room)])
        self.ended = self._source.ended
        self.cut = self.ended and self._within
        return packed

    def _unpack(self, most: int) -> bytes | bytearray:
        before = self._member.copy()
        try:
            data = self._member.decompress(self._packed, most)
        except zlib.error as error:
            self.ended = True
            self.damage = f"its gzip data are damaged ({str(error).rpartition(': ')[2]})"
            return _until_damage(before, self._packed, most)
        if self._member.eof:
            self._packed = self._member.unused_data
            self._member = zlib.decompressobj(_GZIP_ONLY)
            self._within = self._holds_more = False
        else:
            self._packed = self._member.unconsumed_tail
            self._holds_more = len(data) == most
        return data


def _until_damage(member: "zlib._Decompress", packed: bytes, most: int) -> bytearray:
    """What can be unpacked before the damage: zlib keeps to itself what it had when it met it."""
    data = bytearray()
    try:
        for byte in packed:
            data += member.decompress(bytes((byte,)), most - len(data))
            if len(data) == most:
                break
    except zlib.error:
        pass
    return data
