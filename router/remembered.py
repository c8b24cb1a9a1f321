"""What the router finds out by itself and the next one is to know: who is coming back, and whose process is which."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

MAX_REMOVED = 1000  # writers, and processes of theirs; the oldest is forgotten


@dataclass(frozen=True)
class Remembered:
    """It is saved with what operators want. A process is known by its ZeroMQ routing id, drawn at its start."""

    rampups: Mapping[str, float] = field(default_factory=dict)  # when they began, since the epoch, by writer
    processes: Mapping[str, bytes] = field(default_factory=dict)  # of each writer, once it has reported
    removed: Mapping[bytes, str] = field(default_factory=dict)  # writers that are none any more, by their processes
    away: Set[str] = frozenset()  # those of `processes` that have not been up for long


def is_of_a_process(address: bytes) -> bool:
    """Whether a routing id is a process's own. One that ZeroMQ drew for it may be somebody else's after a restart."""
    return bool(address) and not address.startswith(b"\0")
