"""The weights: configured (tapfan.toml), set (an operator's), and the exact split by those of writers that are up."""

from collections.abc import Collection, Mapping

from router.split import Split
from tapfan.control import ControlError
from tapfan.values import shown, weight


class Weights:
    """One weight for each writer, changed as one vector only; each change has a version of its own.

    Which writers are up takes part in the split, and changes no weight.
    """

    def __init__(self, configured: Mapping[str, float]) -> None:
        self.configured = dict(configured)
        self.current = dict(configured)
        self.version = 1
        self._up = set(configured)
        self._effective = dict(configured)  # what the split goes by: 0 for a writer that is not up
        self._split = Split(list(configured.values()))

    @property
    def any_up(self) -> bool:
        """Whether there is a writer that may get records."""
        return any(self._effective.values())

    def change(self, given: Mapping[str, object]) -> None:
        """Set the given writers' weights; the others keep theirs. Raises ControlError, and then nothing changed."""
        wanted = dict(self.current)
        for name, value in given.items():
            if name not in wanted:
                raise ControlError(
                    "unknown_writer", f"no writer is named {shown(name)}; there are: {', '.join(wanted)}"
                )
            try:
                wanted[name] = weight(value)
            except (ValueError, OverflowError) as error:
                raise ControlError("bad_weight", f"the weight of {name}, {shown(value)}, {error}") from error
        if not any(wanted.values()):
            raise ControlError("bad_weight", "all weights would be 0; at least one must be more")
        if wanted != self.current:
            self.version += 1
            self._apply(wanted, self._up)

    def set_up(self, names: Collection[str]) -> bool:
        """Give records to these writers only; True when that is a change."""
        if self._up == set(names):
            return False
        self._apply(self.current, set(names))
        return True

    def take(self, records: int) -> dict[str, int]:
        """How many of the next `records` records each writer gets; only while there is one that may get any."""
        return dict(zip(self.current, self._split.take(records), strict=True))

    def shares(self) -> dict[str, float]:
        """Each writer's part of the records, of 1; 0 for all when none may get any."""
        total = sum(self._effective.values())
        return {name: value / total if total else 0.0 for name, value in self._effective.items()}

    def _apply(self, current: dict[str, float], up: set[str]) -> None:
        """Let a new split begin, if the effective weights are others than before."""
        self.current, self._up = current, up
        effective = {name: value if name in up else 0.0 for name, value in current.items()}
        if effective != self._effective:
            self._effective = effective
            if self.any_up:
                self._split = Split(list(effective.values()))
