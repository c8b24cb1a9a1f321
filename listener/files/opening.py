"""Opening a capture file, whatever it is called."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from listener.decode.frames import Frames
from listener.files.buffer import Buffer
from listener.files.errors import CaptureFileError
from listener.files.pcap import Pcap, is_pcap
from listener.files.pcapng import MAGIC, Pcapng
from listener.files.source import GZIP_MAGIC, Descriptor, Gunzip
from tapfan.skips import Skipped

# What else captures are packed with, and the command that unpacks it.
_OTHER_PACKING = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zX": "xz", b"BZh9": "bzip2", b"\x04\x22\x4d\x18": "lz4"}


class CaptureFile:
    """A capture file that is open; `open_capture` gives it. Close it, or use it in a `with`.

    `skipped`: how many packets had to be left out: "link_type" for one that is not supported, and "no_timestamp".
    """

    def __init__(self, name: str, descriptor: Descriptor) -> None:
        self.skipped = Skipped()
        self.name = name
        self._descriptor = descriptor
        with _reading(name):
            self._buffer = _unpacked(name, descriptor)
            self._reader = self._recognise()

    def _recognise(self) -> Pcap | Pcapng:
        buffer = self._buffer
        if not buffer.fill(4):
            buffer.finish()
            if not buffer.end and buffer.cut_at is not None:
                raise buffer.error("is cut before anything can be unpacked")
            if not buffer.end:
                raise buffer.error("is empty, instead of a pcap or pcapng file")
        magic = bytes(buffer.array[: min(buffer.end, 4)])
        if is_pcap(magic):
            return Pcap(buffer)
        if magic == MAGIC:
            return Pcapng(buffer, self.skipped)
        packing = _OTHER_PACKING.get(magic)
        what = f"is packed with {packing}" if packing else f"begins with the bytes {magic.hex(' ')}"
        hint = f"; unpack it with `{packing} -dc`" if packing else ""
        raise buffer.error(f"{what}, which is no capture file: pcap or pcapng, also in gzip, can be read{hint}")

    def frames(self) -> Iterator[Frames]:
        """All packets in order, in chunks; of a pcapng chunk, one link type after the other.

        A chunk's buffer is valid until the next is asked for. Raises CaptureFileError at damage, once what is before
        it is given.
        """
        with _reading(self.name):
            yield from self._reader.frames()

    @property
    def position(self) -> int:
        """How many bytes have been read, as they are on the disk."""
        return self._descriptor.position

    @property
    def size(self) -> int | None:
        """How many there are; None of a pipe."""
        return self._descriptor.size

    @property
    def truncated_at(self) -> int | None:
        """Once all frames are given: where that begins whose end is missing, None when nothing is.

        It is counted in bytes of what is unpacked.
        """
        return self._buffer.cut_at

    def close(self) -> None:
        """Close it."""
        self._descriptor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Tells of the operating system's errors as CaptureFileError."""
    try:
        yield
    except OSError as error:
        raise CaptureFileError(f"{name}: cannot be read: {error.strerror or error}") from error


def _unpacked(name: str, descriptor: Descriptor) -> Buffer:
    buffer = Buffer(name, descriptor)
    buffer.fill(len(GZIP_MAGIC))
    head = bytes(buffer.array[: buffer.end])
    return Buffer(name, Gunzip(descriptor, head)) if head.startswith(GZIP_MAGIC) else buffer


def open_capture(path: str) -> CaptureFile:
    """Open a capture file ("-": the standard input) and read its header. Raises CaptureFileError."""
    name = "standard input" if path == "-" else path
    with _reading(name):
        descriptor = Descriptor(path)
    try:
        return CaptureFile(name, descriptor)
    except BaseException:
        descriptor.close()
        raise
