"""Gathers records into batches: one leaves when it is large enough, or when its first record has waited long enough."""

from tapfan.batch import Records
from tapfan.wire import MAX_RECORDS


class Batching:
    """`batch_records`: how many make a batch; `linger_s`: the longest wait. Times are of any one clock, handed in."""

    def __init__(self, batch_records: int, linger_s: float) -> None:
        self._batch_records = batch_records
        self._linger_s = linger_s
        self._parts: list[Records] = []
        self._due_s = 0.0
        self.waiting = 0  # records

    def add(self, records: Records, now_s: float) -> None:
        """Take records."""
        if not len(records):
            return
        if not self._parts:
            self._due_s = now_s + self._linger_s
        self._parts.append(records)
        self.waiting += len(records)

    def due_in(self, now_s: float) -> float | None:
        """Seconds until records must leave; None when none wait."""
        if not self.waiting:
            return None
        return 0.0 if self.waiting >= self._batch_records else max(0.0, self._due_s - now_s)

    def take(self, now_s: float) -> list[Records]:
        """The batches that are to leave now, each of at most MAX_RECORDS."""
        return self.flush() if self.due_in(now_s) == 0 else []

    def flush(self) -> list[Records]:
        """All that wait, as batches."""
        if not self.waiting:
            return []
        records = Records.concatenate(self._parts)
        self._parts, self.waiting = [], 0
        return [records[start : start + MAX_RECORDS] for start in range(0, len(records), MAX_RECORDS)]
