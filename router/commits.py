"""Changes on their way to the disk: staged one upon the other, saved by a thread, in force only once they are saved.

While one group is being saved, what comes in is staged, and is the next group; so the disk sets the pace of groups and
not of changes. The loop is woken by a file descriptor and waits for nothing.
"""

import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from router.history import Entry, History
from router.house import House
from router.intent import Intent
from router.remembered import Remembered
from tapfan.control import ControlError
from tapfan.logs import Repeated

MAX_WAITING = 500  # changes that wait for the disk; more are refused
_SETTLED_A_TURN = 16  # so that a large group does not hold up the records

Apply = Callable[[Intent, History], tuple[Intent, Entry | None]]
Done = Callable[[ControlError | None], None]
Write = Callable[[Intent, History, Remembered], None]


@dataclass(frozen=True)
class _Staged:
    """A change that is valid after those before it; one that changes nothing has no entry, and waits for them."""

    intent: Intent
    entry: Entry | None
    done: Done


class Commits:
    """Takes changes to the disk, and then to the house; `write` saves, durably, or raises OSError.

    To be used by one thread. `wake`: a file descriptor that is readable when there is something to settle.
    """

    def __init__(self, house: House, write: Write, repeated: Repeated) -> None:
        self._house = house
        self._write = write
        self._repeated = repeated
        self._saving: deque[_Staged] | None = None  # what the thread has
        self._staged: deque[_Staged] = deque()  # what comes after it
        self._saved: deque[_Staged] = deque()  # on disk, and not yet in force
        self._intent, self._history = house.intent, house.history  # once all of them are in force
        self._known = house.history  # the one in force that `_history` begins with
        self._unsaved = True  # whether there is something in force that is not on the disk
        self._remembered: Remembered | None = None  # what was handed over last
        self._groups: SimpleQueue[tuple[Intent, History, Remembered] | None] = SimpleQueue()
        self._outcomes: SimpleQueue[Exception | None] = SimpleQueue()
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = Thread(target=self._save_groups, name="saver", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Changes that are not in force yet."""
        return len(self._saved) + len(self._saving or ()) + len(self._staged)

    def stage(self, apply: Apply, done: Done) -> None:
        """Make a change; `done` is called when it is in force, or with why it is not. Raises ControlError at once."""
        if self.waiting >= MAX_WAITING:
            raise ControlError("rate_limited", f"{MAX_WAITING} changes wait for the disk already; try again")
        if self._house.history is not self._known or not self.waiting:
            self._begin_anew()
        intent, entry = apply(self._intent, self._history)
        if entry is None and not self.waiting:
            done(None)
            return
        self._staged.append(_Staged(intent, entry, done))
        self._intent = intent
        if entry is not None:
            self._history = self._history.add(entry)
            if entry.kind == "remove":
                self._hold_back()
        if self._saving is None:
            self._hand_over()

    def settle(self) -> None:
        """Put in force what is saved, some of it; to be called when `wake` is readable."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        while not self._outcomes.empty():
            self._take_outcome(self._outcomes.get())
        for _ in range(min(len(self._saved), _SETTLED_A_TURN)):
            staged = self._saved.popleft()
            if staged.entry is not None:
                self._house.adopt(staged.intent, [staged.entry], time.time())
            staged.done(None)
        self._begin_anew()
        self._hold_back()
        if self._saved:
            os.eventfd_write(self.wake, 1)

    def house_changed(self) -> None:
        """Note that the house has changed something by itself; it is saved with the next group, or at the next look."""
        self._unsaved = True

    def look(self) -> None:
        """To be called now and then: saves what else there is, and tries again what could not be saved."""
        if self._saving is None and (self._unsaved or self._has_more_to_remember()):
            self._hand_over()

    def close(self) -> None:
        """See saved and in force what waits; takes nothing more."""
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        for _ in range(2):  # the second time only after a failure: the file may hold what was refused
            self.look()
            while self.waiting or self._saving is not None:
                poll.poll()
                self.settle()
        self._groups.put(None)
        self._thread.join()
        os.close(self.wake)

    def _all_waiting(self) -> list[_Staged]:
        return [*self._saved, *(self._saving or ()), *self._staged]

    def _hold_back(self) -> None:
        """Let the writers get nothing more that are to be removed: what they have not got is not given to others."""
        entries = [staged.entry for staged in self._all_waiting() if staged.entry and staged.entry.kind == "remove"]
        self._house.hold_back({change.writer for entry in entries for change in entry.changes if change.writer})

    def _begin_anew(self) -> None:
        """Let what waits follow on what is in force now: the house makes entries by itself, too."""
        waiting = self._all_waiting()
        self._intent = waiting[-1].intent if waiting else self._house.intent
        self._known = self._history = self._house.history
        if waiting:
            self._history = self._known.add(*(staged.entry for staged in waiting if staged.entry is not None))

    def _hand_over(self) -> None:
        """Let the thread save all that is staged, with what is in force."""
        self._begin_anew()
        self._saving, self._staged = self._staged, deque()
        self._unsaved = False
        self._remembered = self._house.remembered(self._intent)
        self._groups.put((self._intent, self._history, self._remembered))

    def _has_more_to_remember(self) -> bool:
        return not self.waiting and self._house.remembered(self._house.intent) != self._remembered

    def _take_outcome(self, problem: Exception | None) -> None:
        saving, self._saving = self._saving or deque(), None
        if problem is None:
            self._saved += saving
            if self._staged:
                self._hand_over()
            return
        self._repeated.warn("control_not_saved", problem=str(problem), error=type(problem).__name__)
        dropped = [*saving, *self._staged]
        self._staged.clear()
        self._unsaved = True
        self._begin_anew()
        reason = problem.strerror if isinstance(problem, OSError) else type(problem).__name__
        for staged in dropped:
            staged.done(ControlError("not_saved", f"nothing changed, as it could not be saved: {reason}"))

    def _save_groups(self) -> None:
        while (group := self._groups.get()) is not None:
            outcome: Exception | None = None
            try:
                self._write(*group)
            except Exception as error:  # whatever it is, clients wait for a reply
                outcome = error
            self._outcomes.put(outcome)
            os.eventfd_write(self.wake, 1)
