"""Changes on their way to the disk: in force and answered only once they are saved, in order, and all or none."""

import os
import resource
import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from router import changes
from router.changes import Request
from router.commits import MAX_WAITING, Commits
from router.history import Entry, History
from router.intent import Intent
from router.remembered import Remembered
from tapfan.control import AUTOMATIC, ControlError
from tapfan.logs import Repeated
from tests.router.housing import a_house, a_listener_report, a_writer_report, bring_up, shares_of, take_down
from tests.router.sharing import a_batch
from tests.router.wanting import a_request

_WAIT_S = 10.0
_NOW_S = 1_800_000_000.0


class _Disk:
    """Writes nothing before it may: one saving for each time that it is let; or fails."""

    def __init__(self) -> None:
        self.written: list[tuple[Intent, list[Entry]]] = []
        self.remembered = Remembered()  # with the last of them
        self.problem: Exception | None = None
        self._may = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)

    def let(self, times: int = 1) -> None:
        """Let the next savings go on."""
        self._may.release(times)

    def save(self, intent: Intent, history: History, remembered: Remembered) -> None:
        self.begun.release()
        assert self._may.acquire(timeout=_WAIT_S)
        if self.problem:
            raise self.problem
        self.written.append((intent, list(history)))
        self.remembered = remembered


class _Desk:
    """A house, its commits, and what clients were told: for each request its version, or why not."""

    def __init__(self) -> None:
        self.house = a_house(a=30, b=70)
        self.disk = _Disk()
        self.commits = Commits(self.house, self.disk.save, Repeated(structlog.get_logger()))
        self.told: list[tuple[int, int | str]] = []
        self._asked = 0

    def ask(self, command: str = "weights", **arguments: Any) -> int:
        """Ask for a change; gives the number of the request."""
        self._asked += 1
        number = self._asked
        request = Request(command, arguments, f"request {number}", f"{arguments}", "ann", None, _NOW_S)

        def done(refusal: ControlError | None) -> None:
            self.told.append((number, refusal.code if refusal else self.house.intent.version))

        self.commits.stage(lambda intent, history: changes.apply(intent, history, request, self.house.in_flight), done)
        return number

    def settle(self) -> None:
        """Wait until the commits say that there is something to settle, and settle it."""
        assert select.select([self.commits.wake], [], [], _WAIT_S)[0], "woken"
        self.commits.settle()

    def saved_at_start(self) -> None:
        """Get the saving over with that a router begins with."""
        self.commits.look()
        self.disk.let()
        self.settle()
        self.disk.written.clear()
        assert self.disk.begun.acquire(timeout=_WAIT_S)

    @property
    def weight(self) -> float:
        """The weight of a that is in force."""
        return self.house.intent.members["a"].weight


@pytest.fixture
def desk() -> Iterator[_Desk]:
    """A desk that has nothing to save; its thread is ended."""
    made = _Desk()
    made.saved_at_start()
    yield made
    made.disk.let(1000)
    made.commits.close()


def test_a_change_is_in_force_and_answered_once_it_is_saved_and_not_before(desk: _Desk) -> None:
    desk.ask(weights={"a": 1})
    assert desk.disk.begun.acquire(timeout=_WAIT_S)
    desk.commits.settle()
    assert (desk.told, desk.weight, desk.commits.waiting) == ([], 30, 1)
    desk.disk.let()
    desk.settle()
    assert (desk.told, desk.weight, desk.commits.waiting) == ([(1, 2)], 1, 0)
    ((intent, entries),) = desk.disk.written
    assert (intent, entries) == (desk.house.intent, list(desk.house.history))


def test_what_comes_in_while_one_is_saved_is_the_next_group_and_each_follows_on_the_one_before(desk: _Desk) -> None:
    desk.ask(weights={"a": 1})
    for weight in range(2, 12):
        desk.ask(weights={"a": "+1"}, if_version=weight)
    desk.disk.let()
    desk.settle()
    assert (desk.told, desk.weight) == ([(1, 2)], 1)
    desk.disk.let()
    desk.settle()
    assert (desk.told, desk.weight) == ([(number, number + 1) for number in range(1, 12)], 11)
    assert [intent.version for intent, _ in desk.disk.written] == [2, 12]
    assert [entry.version for entry in desk.disk.written[1][1]] == list(range(2, 13))


def test_what_is_not_valid_after_those_that_wait_is_refused_at_once(desk: _Desk) -> None:
    desk.ask(weights={"a": 1, "b": 0})
    with pytest.raises(ControlError, match="version 2 is in force") as refusal:
        desk.ask(weights={"b": 5}, if_version=1)
    assert refusal.value.code == "version_conflict"
    with pytest.raises(ControlError) as refusal:
        desk.ask(weights={"a": 0})
    assert refusal.value.code == "bad_weight"
    desk.disk.let()
    desk.settle()
    assert (desk.told, desk.house.intent.version) == ([(1, 2)], 2)


def test_what_changes_nothing_is_answered_at_once_but_not_before_what_it_follows_on(desk: _Desk) -> None:
    desk.ask(weights={"a": 30})
    assert desk.told == [(1, 1)]
    desk.ask(weights={"a": 1})
    desk.ask(weights={"a": 1})
    assert desk.told == [(1, 1)]
    desk.disk.let(2)
    while len(desk.told) < 3:
        desk.settle()
    assert desk.told == [(1, 1), (2, 2), (3, 2)]


@pytest.mark.parametrize(
    ("problem", "text"),
    [(OSError(28, "No space left on device"), "No space left on device"), (RuntimeError("secret"), "RuntimeError")],
)
def test_where_saving_fails_nothing_changes_for_any_that_wait(desk: _Desk, problem: Exception, text: str) -> None:
    before = desk.house.intent
    refusals: list[ControlError | None] = []
    desk.ask(weights={"a": 1})
    desk.ask(weights={"a": 2})
    desk.commits.stage(lambda intent, _history: (intent, None), refusals.append)
    desk.disk.problem = problem
    desk.disk.let()
    with capture_logs() as lines:
        desk.settle()
    assert desk.told == [(1, "not_saved"), (2, "not_saved")]
    assert [str(refusal) for refusal in refusals] == [f"nothing changed, as it could not be saved: {text}"]
    assert (desk.house.intent, len(desk.house.history), desk.commits.waiting) == (before, 0, 0)
    assert [(line["event"], line["problem"]) for line in lines] == [("control_not_saved", str(problem))]


def test_after_a_failure_what_is_in_force_is_saved_again_and_changes_go_on(desk: _Desk) -> None:
    """The file may hold what was refused: it may have failed when it had its place already."""
    desk.disk.problem = OSError(5, "Input/output error")
    desk.ask(weights={"a": 1})
    desk.disk.let()
    desk.settle()
    desk.commits.look()
    desk.disk.let()
    desk.settle()
    desk.disk.problem = None
    desk.commits.look()
    desk.disk.let()
    desk.settle()
    assert desk.disk.written == [(desk.house.intent, [])]
    desk.commits.look()
    desk.ask(weights={"a": 5})
    desk.disk.let()
    desk.settle()
    assert (desk.told[1:], desk.weight) == ([(2, 2)], 5)
    assert len(desk.disk.written) == 2


def test_what_the_house_does_by_itself_is_saved_too_and_lost_from_no_group(desk: _Desk) -> None:
    desk.house.take_writer_report(a_writer_report("a"), b"a")
    desk.ask(weights={"a": 1})
    desk.ask(weights={"a": 2})
    take_down(desk.house, "a")
    desk.commits.house_changed()
    desk.disk.let(2)
    while len(desk.told) < 2:
        desk.settle()
    assert [entry.kind for entry in desk.house.history] == ["health", "weights", "weights"]
    assert desk.disk.written[-1] == (desk.house.intent, list(desk.house.history))
    desk.commits.look()
    assert len(desk.disk.written) == 2
    take_down(desk.house, "b")
    desk.commits.house_changed()
    desk.commits.look()
    desk.disk.let()
    desk.settle()
    assert desk.disk.written[-1] == (desk.house.intent, list(desk.house.history))


def test_a_ramp_that_ends_while_a_change_is_saved_ends_once(desk: _Desk) -> None:
    desk.ask(weights={"a": 10}, over=1.0)
    desk.disk.let()
    desk.settle()
    desk.ask(command="state", states={"b": "drain"})
    desk.house.tick(_NOW_S + 2.0, 0.0)
    assert desk.house.intent.ramp is None
    desk.disk.let()
    desk.settle()
    desk.house.tick(_NOW_S + 3.0, 0.0)
    assert desk.house.intent.ramp is None
    assert [(entry.kind, entry.by == AUTOMATIC) for entry in desk.house.history] == [
        ("ramp", False),
        ("ramp", True),
        ("state", False),
    ]


def test_so_many_wait_and_no_more(desk: _Desk) -> None:
    for number in range(MAX_WAITING):
        desk.ask(weights={"a": number + 1})
    with pytest.raises(ControlError, match=f"{MAX_WAITING} changes wait") as refusal:
        desk.ask(weights={"a": 1})
    assert refusal.value.code == "rate_limited"
    desk.disk.let(3)
    while desk.commits.waiting:
        before = len(desk.told)
        desk.settle()
        assert len(desk.told) - before <= 16, "and so not all of them in one turn"
    assert [version for _, version in desk.told] == list(range(2, MAX_WAITING + 2))
    assert len(desk.disk.written) == 2


def test_at_the_end_what_waits_is_saved_and_answered() -> None:
    desk = _Desk()
    for number in range(200):
        desk.ask(weights={"a": number + 1})
    desk.disk.let(10)
    desk.commits.close()
    assert [version for _, version in desk.told] == list(range(2, 202))
    assert desk.disk.written[-1] == (desk.house.intent, list(desk.house.history))


def test_at_the_end_what_was_refused_is_written_over() -> None:
    """The file may hold it: it may have failed when it had its place already."""
    desk = _Desk()
    desk.saved_at_start()
    desk.disk.problem = OSError(5, "Input/output error")

    def done(refusal: ControlError | None) -> None:
        assert refusal
        desk.disk.problem = None

    request = a_request("weights", weights={"a": 1})
    desk.commits.stage(lambda intent, history: changes.apply(intent, history, request), done)
    desk.disk.let(10)
    desk.commits.close()
    assert desk.disk.written == [(desk.house.intent, [])]


@pytest.fixture
def many_files() -> Iterator[None]:
    """So many files are open that the next one has a number that `select` cannot do with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("there may not be so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    with ExitStack() as files:
        while files.enter_context(Path(os.devnull).open("rb")).fileno() < 1024:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_it_ends_with_many_files_open_too() -> None:
    desk = _Desk()
    assert desk.commits.wake > 1023
    desk.ask(weights={"a": 1})
    desk.disk.let(10)
    desk.commits.close()
    assert desk.told == [(1, 2)]


def test_a_writer_gets_nothing_more_while_its_removal_is_saved(desk: _Desk) -> None:
    """Else the others would get the same records once it is gone."""
    house = desk.house
    house.take_listener_report(a_listener_report(), b"listener", 0.0)
    take_down(house, "b")
    desk.ask("remove", name="b")
    bring_up(house, "b")
    house.take_batch(a_batch(0, 100))
    assert shares_of(house, "b") == []
    desk.disk.let()
    desk.settle()
    assert (desk.told, list(house.writers)) == ([(1, 2)], ["a"])
    assert house.writers["a"].lane.in_flight == 100


def test_a_writer_that_is_not_removed_after_all_gets_records_again(desk: _Desk) -> None:
    take_down(desk.house, "b")
    desk.ask("remove", name="b")
    bring_up(desk.house, "b")
    assert desk.house.view()["shares"] == {"a": 1.0, "b": 0.0}
    desk.disk.problem = OSError(28, "No space left on device")
    desk.disk.let()
    desk.settle()
    assert desk.told == [(1, "not_saved")]
    assert desk.house.view()["shares"] == {"a": 0.3, "b": 0.7}


def test_the_process_of_a_removed_writer_is_saved_with_its_removal(desk: _Desk) -> None:
    desk.house.take_writer_report(a_writer_report("a"), b"a.1")
    desk.house.take_writer_report(a_writer_report("b"), b"b.1")
    desk.ask("remove", name="b", force=True)
    desk.disk.let()
    desk.settle()
    assert desk.disk.remembered == Remembered(processes={"a": b"a.1"}, removed={b"b.1": "b"})
    desk.commits.look()
    assert len(desk.disk.written) == 1, "all of it was saved"


def test_what_the_house_remembers_is_saved_once_it_is_another(desk: _Desk) -> None:
    for address in (b"\0drawn", b"a.1", b"a.1", b"a.2"):
        desk.house.take_writer_report(a_writer_report("a"), address)
        desk.commits.look()
        if address == desk.disk.remembered.processes.get("a", b"\0drawn"):
            continue
        desk.disk.let()
        desk.settle()
        assert desk.disk.remembered.processes == {"a": address}
    assert len(desk.disk.written) == 2


def test_a_drain_that_is_not_in_force_yet_lets_nobody_be_removed(desk: _Desk) -> None:
    desk.ask("state", states={"b": "drain"})
    with pytest.raises(ControlError, match="b gets records") as refusal:
        desk.ask("remove", name="b")
    assert refusal.value.code == "not_drained"
    desk.disk.let()
    desk.settle()
    desk.ask("remove", name="b")
    desk.disk.let()
    desk.settle()
    assert list(desk.house.writers) == ["a"]


def test_at_the_end_what_cannot_be_saved_is_told() -> None:
    desk = _Desk()
    desk.disk.problem = OSError(30, "Read-only file system")
    desk.ask(weights={"a": 1})
    desk.disk.let(10)
    desk.commits.close()
    assert desk.told == [(1, "not_saved")]
