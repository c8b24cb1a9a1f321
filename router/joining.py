"""Writers whose reports say what the router does not have of them: that they are there, or what was edited there."""

import time

from router import changes
from router.commits import Commits
from router.history import Entry, History
from router.house import House
from router.intent import Intent
from tapfan.control import AUTOMATIC, ControlError
from tapfan.logs import Repeated
from tapfan.messages import WriterReport
from tapfan.settings import MAX_WRITERS

_MAX_KNOWN = 2 * MAX_WRITERS  # processes
_MAX_EDITS = 10  # of one writer in a day: those of two that undo each other must not push out what operators did
_DAY_S = 86_400.0
_TOO_MANY_EDITS = (
    f"it said other things of itself {_MAX_EDITS} times within a day: "
    "are there two of that name, which are configured otherwise?"
)


class Joining:
    """Lets them be members, with what they say of themselves, through the commits.

    A process's configuration is read once: of two that run under one name, each would else undo what the other says.
    """

    def __init__(self, house: House, commits: Commits, repeated: Repeated) -> None:
        self._house = house
        self._commits = commits
        self._repeated = repeated
        self._under_way: set[str] = set()  # names of writers
        self._known: dict[bytes, None] = {}  # processes of writers that joined, by their routing ids

    def take(self, report: WriterReport, address: bytes) -> None:
        """Look at a report, which the house has seen already; it answers those of members."""
        if self._house.is_removed(address):
            self._repeated.warn("removed_writer", writer=report.name)
            return
        member = self._house.intent.members.get(report.name)
        if report.name in self._under_way:
            return
        if member is not None and (member.came != "joined" or address in self._known):
            return

        def apply(intent: Intent, past: History) -> tuple[Intent, Entry | None]:
            now_s = time.time()
            if member is None:
                return changes.join(intent, report, now_s)
            wanted, entry = changes.edited(intent, report, now_s)
            if entry is not None and _edits(past, report.name, now_s) >= _MAX_EDITS:
                raise ControlError("rate_limited", _TOO_MANY_EDITS)
            return wanted, entry

        def done(refusal: ControlError | None) -> None:
            self._under_way.discard(report.name)
            if refusal:
                self._repeated.warn("writer_not_taken", report.name, writer=report.name, problem=refusal.message)
            else:
                self._know(address)

        self._under_way.add(report.name)
        try:
            self._commits.stage(apply, done)
        except ControlError as refusal:
            done(refusal)

    def _know(self, address: bytes) -> None:
        self._known[address] = None
        if len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]


def _edits(past: History, name: str, now_s: float) -> int:
    """How often a writer that joined has said other things of itself within a day, as far as the history goes."""
    return sum(
        (entry.kind, entry.by) == ("configuration", AUTOMATIC)
        and abs(now_s - entry.at_s) < _DAY_S
        and {change.writer for change in entry.changes} == {name}
        for entry in past
    )
