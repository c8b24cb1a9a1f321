"""The listener's source of records by capturing: a ring for each interface."""

import errno
import os
from collections import deque
from typing import Literal

import numpy as np

from listener.capture import blocks
from listener.capture.filter import build
from listener.capture.ring import Ring
from listener.decode.decoder import Decoded, decode
from listener.decode.matching import Matching
from tapfan.batch import Records
from tapfan.interfaces import choose
from tapfan.logs import Logger
from tapfan.messages import PacketCounts
from tapfan.program import CannotRunError
from tapfan.settings import ListenerSettings
from tapfan.skips import Skipped


class CaptureSource:
    """Captures what is sent to the endpoints. Raises CannotRunError, and PermissionError without CAP_NET_RAW."""

    kind: Literal["capture"] = "capture"
    can_wait = has_ended = False

    def __init__(self, settings: ListenerSettings, log: Logger) -> None:
        self._log = log
        self._tunnels = settings.tunnels
        self._skipped = Skipped()
        program = build(settings.listen, settings.only, settings.tunnels)
        self._matching = None if program.exact else Matching(settings.listen, settings.only)
        # The kernel hands a block over after one to two such periods: half the linger at most.
        retire_ms = max(1, round(settings.linger * 250))
        self._buffer = np.zeros(blocks.BUFFER_BYTES, np.uint8)
        self._rings: deque[Ring] = deque()
        for interface in choose(settings.listen, settings.interface):
            try:
                self._rings.append(Ring(interface, program.code, settings.ring_bytes, retire_ms))
            except PermissionError:
                self.close()
                raise
            except OSError as error:
                self.close()
                hint = "; Linux 4.20 or newer is needed" if error.errno == errno.ENOPROTOOPT else ""
                raise CannotRunError(f"cannot capture on {interface}: {error.strerror or error}{hint}") from error

    @property
    def interfaces(self) -> list[str]:
        """What is captured on."""
        return [ring.interface for ring in self._rings]

    def descriptors(self) -> list[int]:
        """To be polled for reading."""
        return [ring.fileno() for ring in self._rings]

    def read(self) -> Records | None:
        """The records of the next blocks of a ring, decoded together; None when there are none now."""
        for _ in range(len(self._rings)):
            ring = self._rings[0]
            self._rings.rotate(-1)  # so that no ring has to wait until another is empty
            if (taken := ring.take(blocks.TOGETHER)) is not None:
                records = blocks.alike(taken)
                decoded = (
                    decode(blocks.copied(taken, self._buffer), self._tunnels) if records is None else Decoded(records)
                )
                ring.give_back(len(taken))
                return self._kept(decoded)
        return None

    def _kept(self, decoded: Decoded) -> Records:
        """The records that are for us."""
        self._skipped += decoded.skipped
        if self._matching is None:
            return decoded.records
        wanted = self._matching.wanted(decoded.records)
        self._skipped["other_endpoint"] += len(wanted) - int(wanted.sum())
        return decoded.records[wanted]

    def check(self) -> None:
        """To be called now and then: tells of interfaces that are down. Raises CannotRunError when one is gone."""
        for ring in self._rings:
            error = ring.take_error()
            if ring.is_lost():
                raise CannotRunError(f"the interface {ring.interface}, on which packets were captured, is gone")
            if error:
                self._log.warning(
                    "interface_error", interface=ring.interface, problem=os.strerror(error), then="waits for it"
                )

    def counts(self) -> PacketCounts:
        """What became of the packets since the start."""
        of_rings = [ring.statistics() for ring in self._rings]
        seen, drops, freezes = (sum(counts) for counts in zip(*of_rings, strict=True))
        return PacketCounts(seen=seen, kernel_drops=drops, ring_freezes=freezes, skipped=dict(self._skipped))

    def close(self) -> None:
        """Stop capturing."""
        for ring in self._rings:
            ring.close()
