"""When to look for records again: each look's records make one batch, which should be neither small nor late."""


class Pacing:
    """Waits a little after each look that found some, so that the next finds more; looks at once when idle.

    Each look costs the same, whatever it finds. `pause_s`: how long a record may wait for that; `batch_records`:
    a look that finds as many is followed by the next at once. Times are of any one clock, handed in.
    """

    def __init__(self, batch_records: int, pause_s: float) -> None:
        self._batch_records = batch_records
        self._pause_s = pause_s
        self._not_before_s = 0.0

    def found(self, records: int, now_s: float) -> None:
        """A look found so many records."""
        if 0 < records < self._batch_records:
            self._not_before_s = now_s + self._pause_s

    def pause_s(self, now_s: float) -> float:
        """For how long not to look; 0 when the next record may be taken as soon as it is there."""
        return max(0.0, self._not_before_s - now_s)
