"""Whether a writer is given records: decided by its checks, two a second, as HAProxy does it with rise and fall.

A report that says that Redis takes records is a passed check; one that says otherwise, or that does not come, is a
failed one. Counted in looks of the router's own and not by a clock: while it stands still itself, nobody's are missed.
"""

FIRST_LOOKS = 10  # five seconds
AWAY_LOOKS = 60  # thirty seconds: longer than an orderly stop takes, of one program after the other


class Health:
    """`fall` failed checks in a row take a writer out, `rise` passed ones bring it back.

    A writer that has not reported yet counts as up for FIRST_LOOKS: at a start each comes at its own pace, and whoever
    is first is not to get everything. One that comes later (`up` false) must report first.
    """

    def __init__(self, rise: int, fall: int, up: bool = True) -> None:
        self._rise = rise
        self._fall = fall
        self._in_a_row = 0  # checks that say other than `up` does
        self._missed = 0
        self._has_reported = self._has_passed = False
        self.up = up
        self.looks_down = 0  # in a row

    @property
    def is_away(self) -> bool:
        """Whether it has not been up for so long that it is no stop of everything that the router sees."""
        return self.looks_down >= AWAY_LOOKS

    @property
    def text(self) -> str:
        """up, down (its Redis), or absent (its reports do not come)."""
        if not self._has_reported or self._missed >= self._fall:
            return "absent"
        return "up" if self.up and self._has_passed else "down"

    def report(self, passed: bool) -> None:
        """A report came. With the first that is passed a writer is up; one that is not is as any other."""
        if not self._has_reported:
            self.up, self._in_a_row = self.up or passed, 0
            self._has_reported = True
        self._has_passed |= passed
        # One of the looks between reports may find none only because both come at the same pace.
        self._missed = -1
        self._check(passed)

    def look(self) -> None:
        """A period is over."""
        self._missed += 1
        if not self._has_reported:
            self.up &= self._missed < FIRST_LOOKS
        elif self._missed > 0:
            self._check(False)
        self.looks_down = 0 if self.up else self.looks_down + 1

    def _check(self, passed: bool) -> None:
        self._in_a_row = 0 if passed == self.up else self._in_a_row + 1
        if self._in_a_row >= (self._rise if passed else self._fall):
            self.up, self._in_a_row = passed, 0
