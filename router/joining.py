"""Writers whose reports say what the router does not have of them: that they are there, or what was edited there."""

import time

from router import changes
from router.commits import Commits
from router.house import House
from tapfan.control import ControlError
from tapfan.logs import Repeated
from tapfan.messages import WriterReport
from tapfan.settings import MAX_WRITERS

_MAX_KNOWN = 2 * MAX_WRITERS  # processes


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
        change = changes.join if member is None else changes.edited

        def done(refusal: ControlError | None) -> None:
            self._under_way.discard(report.name)
            if refusal:
                self._repeated.warn("writer_not_taken", writer=report.name, problem=refusal.message)
            else:
                self._know(address)

        self._under_way.add(report.name)
        try:
            self._commits.stage(lambda intent, _past: change(intent, report, time.time()), done)
        except ControlError as refusal:
            done(refusal)

    def _know(self, address: bytes) -> None:
        self._known[address] = None
        if len(self._known) > _MAX_KNOWN:
            del self._known[next(iter(self._known))]
