"""What the listener keeps until it is settled: a batch, or a gap in the place of one."""

from dataclasses import dataclass

from tapfan.losses import Reason
from tapfan.messages import Gap

_ENTRY_BYTES = 4096  # counted for each on top of its message: what listener, router and writers need to keep it


@dataclass(frozen=True)
class Entry:
    """A batch and its message, or a gap, which has none but a reason for which its records are lost.

    `place`: its number in the order of everything that the listener has captured; `newest`: the latest capture time,
    ns; `on_disk`: also in the spool.
    """

    place: int
    stream: str
    first: int
    end: int
    newest: int = 0
    message: bytes = b""
    reason: Reason | None = None
    on_disk: bool = False

    @property
    def sendable(self) -> bytes:
        """What to send to the router."""
        if self.reason is None:
            return self.message
        return Gap(stream=self.stream, first=self.first, end=self.end, reason=self.reason).pack()

    @property
    def records(self) -> int:
        """The records that are in it."""
        return self.end - self.first if self.reason is None else 0

    @property
    def size(self) -> int:
        """The bytes of memory to count for it."""
        return len(self.message) + _ENTRY_BYTES
