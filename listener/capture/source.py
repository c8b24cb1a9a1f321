"""The listener's source of records by capturing: a ring for each interface."""

import errno
import os
from collections import deque
from typing import Literal

import numpy as np

from listener.capture.decode import BUFFER_BYTES, TOGETHER_BYTES, decode
from listener.capture.filter import MAX_INSTRUCTIONS, build
from listener.capture.ring import BLOCK_BYTES, Block, Ring
from tapfan.batch import Records
from tapfan.interfaces import choose
from tapfan.logs import Logger
from tapfan.program import CannotRunError
from tapfan.settings import ListenerSettings


class CaptureSource:
    """Captures what is sent to the endpoints. Raises CannotRunError, and PermissionError without CAP_NET_RAW."""

    kind: Literal["capture"] = "capture"

    def __init__(self, settings: ListenerSettings, log: Logger) -> None:
        self._endpoints = settings.listen
        self._log = log
        self._undecoded = 0
        program = build(settings.listen)
        if len(program) > MAX_INSTRUCTIONS:
            raise CannotRunError(
                f"listen has more endpoints than the kernel's filter can hold ({len(program)} instructions, at most "
                f"{MAX_INSTRUCTIONS}); a wildcard address takes fewer"
            )
        # The kernel hands a block over after one to two such periods: half the linger at most.
        retire_ms = max(1, round(settings.linger * 250))
        self._buffer = np.zeros(BUFFER_BYTES, np.uint8)
        self._rings: deque[Ring] = deque()
        for interface in choose(settings.listen, settings.interface):
            try:
                self._rings.append(Ring(interface, program, settings.ring_bytes, retire_ms))
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
            if blocks := self._take(ring):
                decoded = decode(self._buffer, blocks, self._endpoints)
                self._undecoded += decoded.undecoded
                return decoded.records
        return None

    def _take(self, ring: Ring) -> list[Block]:
        """As many blocks of a ring as the buffer holds, one after the other."""
        blocks: list[Block] = []
        end = 0
        while end + BLOCK_BYTES <= TOGETHER_BYTES and (block := ring.take_into(self._buffer, end)) is not None:
            blocks.append(block)
            end += block.size
        return blocks

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

    def undecoded(self) -> int:
        """Packets that passed the filter and gave no record."""
        return self._undecoded

    def kernel_drops(self) -> int:
        """Packets that the kernel had to drop since the start, as no block was free."""
        return sum(ring.count_drops() for ring in self._rings)

    def close(self) -> None:
        """Stop capturing."""
        for ring in self._rings:
            ring.close()
