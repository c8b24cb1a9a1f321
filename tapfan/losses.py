"""Why a captured record is not stored, by where that was: what reports, the ledger and the status count by."""

from collections import Counter
from typing import Literal, get_args

Reason = Literal[
    "expired_at_writer",  # its TTL was over when it was to be stored
    "expired_in_spool",  # its TTL was over when it was to be taken from the spool
    "dropped_spool_full",  # the spool had reached its bound: the oldest went
    "dropped_disk",  # the disk took no more: the oldest went, or what could not be written
    "dropped_spool_damaged",  # the spool could not be read back
    "dropped_listener_killed",  # it was only in the memory of a listener that was killed
    "dropped_untracked",  # listener and router ended at once, and what became of it is not known
]
REASONS: tuple[Reason, ...] = get_args(Reason)

Losses = Counter[Reason]


def expired(losses: Losses) -> int:
    """Records that outlived their TTL on the way."""
    return sum(count for reason, count in losses.items() if reason.startswith("expired"))


def dropped(losses: Losses) -> int:
    """Records that were lost otherwise."""
    return losses.total() - expired(losses)
