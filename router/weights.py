"""The weights: configured (tapfan.toml), set (an operator's), and the exact split by those in force."""

from collections.abc import Mapping

from router.split import Split
from tapfan.control import ControlError
from tapfan.values import shown, weight


class Weights:
    """One weight for each writer, changed as one vector only; each change has a version of its own."""

    def __init__(self, configured: Mapping[str, float]) -> None:
        self.configured = dict(configured)
        self.current = dict(configured)
        self.version = 1
        self._split = Split(list(self.current.values()))

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
            self.current = wanted
            self._split = Split(list(wanted.values()))

    def take(self, records: int) -> dict[str, int]:
        """How many of the next `records` records each writer gets."""
        return dict(zip(self.current, self._split.take(records), strict=True))

    def shares(self) -> dict[str, float]:
        """Each writer's part of the records, of 1."""
        total = sum(self.current.values())
        return {name: value / total for name, value in self.current.items()}
