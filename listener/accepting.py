"""The listener's source of records without the right to capture: what its serving process accepts and reads."""

import os
from typing import Literal

import numpy as np

from listener.serving.rows import FORM
from tapfan.batch import COLUMNS, Records
from tapfan.messages import PacketCounts

_READ_BYTES = FORM.size * 16_384
_ROW = np.dtype([(name, dtype) if width == 1 else (name, dtype, (width,)) for name, (dtype, width) in COLUMNS.items()])


class AcceptSource:
    """Reads rows from the serving process's pipe, which does not block."""

    kind: Literal["accept"] = "accept"
    can_wait = has_ended = False

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def descriptors(self) -> list[int]:
        """To be polled for reading."""
        return [self._pipe]

    def read(self) -> Records | None:
        """The records that have come; None when there are none now."""
        try:
            data = os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            return None
        rows = np.frombuffer(data, _ROW)
        return Records(*(np.ascontiguousarray(rows[name]) for name in COLUMNS))

    def check(self) -> None:
        """Nothing can happen to a pipe."""

    def counts(self) -> PacketCounts:
        """None: there are no packets, and nothing is dropped, as TCP makes the senders wait."""
        return PacketCounts()

    def stop(self) -> None:
        """Nothing to be done: rows end with the process that writes them."""

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._pipe)
