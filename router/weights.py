"""The weights that the split goes by: what is set, as far as a ramp is, of the writers that may get records now."""

from collections.abc import Mapping

from router.split import Split
from router.vectors import Weight, exact


class Weights:
    """The effective vector, and the exact split by it, which begins anew whenever the vector is another."""

    def __init__(self) -> None:
        self.effective: Mapping[str, Weight] = {}  # of those that have more than 0
        self._split: Split | None = None  # by that vector; none while it is empty
        self._shares: Mapping[str, float] = {}

    @property
    def any_up(self) -> bool:
        """Whether there is a writer that may get records."""
        return bool(self.effective)

    def set(self, effective: Mapping[str, Weight]) -> bool:
        """Go by this vector from now on, which has no zeros; True when it is another."""
        if effective == self.effective:
            return False
        self.effective = effective
        self._split = Split([exact(weight) for weight in effective.values()]) if effective else None
        self._shares = dict(zip(effective, self._split.parts, strict=True)) if self._split else {}
        return True

    def take(self, records: int) -> dict[str, int]:
        """How many of the next `records` records each writer gets; only while there is one that may get any."""
        if self._split is None:
            raise LookupError("no writer may get records")
        return dict(zip(self.effective, self._split.take(records), strict=True))

    def shares(self) -> Mapping[str, float]:
        """The part of the records, of 1, of each writer that gets any."""
        return self._shares
