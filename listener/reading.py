"""The listener's source of records from a capture file, which is read and decoded in a thread of its own."""

import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from listener.decode.decoder import decode
from listener.decode.frames import Frames
from listener.decode.link import network
from listener.decode.matching import Matching
from listener.files.errors import CaptureFileError
from listener.files.opening import CaptureFile
from tapfan.batch import Records
from tapfan.bounds import MAX_TIMESTAMP_NS
from tapfan.logs import Logger
from tapfan.messages import PacketCounts
from tapfan.settings import Settings
from tapfan.skips import Skipped

_AHEAD = 8  # chunks that are decoded before they are asked for


class FileSource:
    """Gives what is in a capture file, which it closes. A pipe that gives nothing holds up nobody.

    `rebase`: all timestamps are moved by as much as makes the first packet's the time of the start.
    """

    kind: Literal["file"] = "file"
    can_wait = True

    def __init__(
        self, file: CaptureFile, settings: Settings, rebase: bool, log: Logger, show: Callable[["FileSource"], None]
    ) -> None:
        self.has_ended = False
        self.position = 0  # bytes of the file, as they are on the disk, up to the end of the last chunk that was taken
        self.problem = ""  # why the file could not be read to its end, once it has ended
        self._error: Exception | None = None
        self._file = file
        self._ttl = settings.ttl
        self._tunnels = settings.listener.tunnels
        self._matching = Matching(settings.listener.listen, settings.listener.only)
        self._rebase = rebase
        self._shift_ns: int | None = None  # once the first packet is read
        self._log = log
        self._show = show
        self._counts = PacketCounts()
        self._chunks: queue.Queue[_Chunk | None] = queue.Queue(_AHEAD)
        self._filled = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # as many as are in it
        self._thread = threading.Thread(target=self._read_all, name="reading", daemon=True)

    @property
    def size(self) -> int | None:
        """How many there are; None of a pipe."""
        return self._file.size

    def descriptors(self) -> list[int]:
        """To be polled for reading."""
        return [self._filled]

    def read(self) -> Records | None:
        """The records of the next chunk; None when there is none now, or no more."""
        if self._thread.ident is None:
            self._thread.start()
        try:
            chunk = self._chunks.get_nowait()
        except queue.Empty:
            return None
        os.eventfd_read(self._filled)
        if chunk is None:
            if self._error:
                raise self._error
            self.has_ended = True
            return None
        self._counts = chunk.counts
        self.position = chunk.position
        return chunk.records

    def check(self) -> None:
        """Show how far the file is read."""
        self._show(self)

    def counts(self) -> PacketCounts:
        """What became of the packets so far."""
        return self._counts

    def stop(self) -> None:
        """Nothing to be done: what is not read is read by whoever begins again."""

    def close(self) -> None:
        """Nothing to be done: the thread that reads has the file, and ends with it or with the process."""

    def _read_all(self) -> None:
        seen, skipped = 0, Skipped()
        try:
            for frames in self._file.frames():
                records = self._records(frames, skipped)
                seen += len(frames)
                self._put(_Chunk(records, self._counted(seen, skipped), self._file.position))
            if self._file.truncated_at is not None:
                self.problem = f"{self._file.name}: is cut short at byte {self._file.truncated_at}, within a packet"
        except CaptureFileError as error:
            self.problem = str(error)
        except Exception as error:  # whatever it is, the file is not read: the main thread is to end with it
            self._error = error
        finally:
            counts = self._counted(seen, skipped)
            self._put(_Chunk(Records.empty(), counts, self._file.position))
            self._file.close()
            self._put(None)

    def _counted(self, seen: int, skipped: Skipped) -> PacketCounts:
        """With those that the file's reader has left out."""
        left_out = Skipped(self._file.skipped)
        return PacketCounts(seen=seen + left_out.total(), skipped=dict(skipped + left_out))

    def _put(self, chunk: "_Chunk | None") -> None:
        os.eventfd_write(self._filled, 1)  # first: whoever takes the chunk takes this, too
        self._chunks.put(chunk)

    def _records(self, frames: Frames, skipped: Skipped) -> Records:
        """The records of a chunk that are for us; the other packets are counted."""
        if self._shift_ns is None:
            self._shift_ns = self._begin(int(frames.timestamp.min()))
        decoded = decode(network(frames), self._tunnels)
        skipped.update(decoded.skipped)
        records = decoded.records
        np.add(records.timestamp, np.uint64(self._shift_ns % 2**64), out=records.timestamp)
        possible = records.timestamp < MAX_TIMESTAMP_NS
        wanted = possible & self._matching.wanted(records)
        skipped.update(no_timestamp=int((~possible).sum()), other_endpoint=int((possible & ~wanted).sum()))
        return records if wanted.all() else records[wanted]

    def _begin(self, first_ns: int) -> int:
        """By how much to move the timestamps of a file whose first packet has this one; tells when that is too old."""
        age_s = (time.time_ns() - first_ns) / 1e9
        if not self._rebase and age_s > self._ttl:
            self._log.warning(
                "older_than_the_ttl",
                first_packet_s_ago=round(age_s),
                ttl_s=self._ttl,
                then="records that old expire instead of being stored; --rebase moves them to now",
            )
        return time.time_ns() - first_ns if self._rebase else 0


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Records, what had become of all packets when they were read, and how far the file was read then."""

    records: Records
    counts: PacketCounts
    position: int
