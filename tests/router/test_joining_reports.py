"""What writers say of themselves: who is there joins, what was edited there holds, and who is removed stays so."""

import select
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from router import joining
from router.commits import Commits
from router.history import History
from router.house import House
from router.intent import Intent
from router.joining import Joining
from router.remembered import Remembered
from tapfan.logs import Repeated
from tests.router.housing import a_house, a_writer_report, change

_WAIT_S = 10.0


class _Desk:
    """A house whose changes are in force at once."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.problem: OSError | None = None
        repeated = Repeated(structlog.get_logger())
        self.commits = Commits(house, self._write, repeated)
        self.joining = Joining(house, self.commits, repeated)

    def _write(self, _intent: Intent, _history: History, _remembered: Remembered) -> None:
        if self.problem:
            raise self.problem

    def report(self, address: bytes, name: str = "c", **said: Any) -> bool:
        """Take a report, and see in force what comes of it; whether it was answered."""
        report = a_writer_report(name, **said)
        is_answered = self.house.take_writer_report(report, address) is not None
        self.joining.take(report, address)
        while self.commits.waiting:
            assert select.select([self.commits.wake], [], [], _WAIT_S)[0], "woken"
            self.commits.settle()
        return is_answered

    @property
    def weights(self) -> dict[str, float]:
        """The weights that are set."""
        return {name: member.weight for name, member in self.house.intent.members.items()}

    @property
    def kinds(self) -> list[str]:
        """What the history has."""
        return [entry.kind for entry in self.house.history]


@pytest.fixture
def desk() -> Iterator[_Desk]:
    """Of a router that has a and b; its thread is ended."""
    made = _Desk(a_house(a=30, b=70))
    yield made
    made.problem = None
    made.commits.close()


def test_a_writer_joins_and_is_answered_from_then_on(desk: _Desk) -> None:
    assert not desk.report(b"c.1", weight=20.0)
    assert desk.weights == {"a": 30, "b": 70, "c": 20}
    for _ in range(3):
        assert desk.report(b"c.1", weight=20.0)
    assert (desk.kinds, desk.house.intent.version) == (["join"], 2)


def test_what_was_edited_wins_when_its_process_is_started_anew_and_what_was_set_holds_else(desk: _Desk) -> None:
    for _ in range(2):
        desk.report(b"c.1", weight=20.0)
    change(desk.house, "weights", weights={"c": 50})
    for address, weight, then in ((b"c.1", 20.0, 50), (b"c.2", 20.0, 50), (b"c.3", 30.0, 30), (b"c.3", 30.0, 30)):
        desk.report(address, weight=weight)
        assert desk.weights["c"] == then
    assert (desk.kinds, desk.house.intent.version) == (["join", "weights", "configuration"], 4)


def test_of_two_processes_under_one_name_each_is_read_once(desk: _Desk) -> None:
    for _ in range(10):
        desk.report(b"c.1", weight=20.0)
        desk.report(b"c.2", weight=30.0)
    assert (desk.weights["c"], desk.kinds) == (30, ["join", "configuration"])


def test_two_that_undo_each_other_do_not_push_out_what_operators_did(
    desk: _Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process that is started is read once: two hosts where it cannot run, and which start it again and again."""
    desk.report(b"c.first", weight=20.0)
    change(desk.house, "weights", weights={"a": 31})
    with capture_logs() as lines:
        for number in range(100):
            desk.report(b"c.%d" % number, weight=20.0 + number % 2)
    assert desk.kinds == ["join", "weights"] + ["configuration"] * 10
    (line,) = lines
    assert (line["event"], line["writer"]) == ("writer_not_taken", "c")
    assert "10 times within a day" in line["problem"]
    desk.report(b"d.1", "d", weight=5.0)
    desk.report(b"d.2", "d", weight=6.0)
    assert (desk.weights["d"], desk.weights["c"]) == (6, 20)
    assert desk.report(b"c.99", weight=21.0), "it gets records all the same"
    monkeypatch.setattr(joining, "time", SimpleNamespace(time=lambda: time.time() + 86_400.0))
    desk.report(b"c.99", weight=21.0)
    assert desk.weights["c"] == 21


def test_what_the_routers_own_configuration_has_is_not_asked_of_the_writer(desk: _Desk) -> None:
    for address in (b"a.1", b"a.2"):
        desk.report(address, "a", weight=99.0)
    assert (desk.weights["a"], desk.kinds) == (30, [])


def test_an_edit_that_could_not_be_saved_is_taken_later(desk: _Desk) -> None:
    desk.report(b"c.1", weight=20.0)
    desk.problem = OSError(28, "No space left on device")
    with capture_logs() as lines:
        desk.report(b"c.2", weight=30.0)
    assert "writer_not_taken" in [line["event"] for line in lines]
    assert desk.weights["c"] == 20
    desk.problem = None
    desk.report(b"c.2", weight=30.0)
    assert desk.weights["c"] == 30


def test_the_process_of_a_removed_writer_does_not_join_in_the_next_router_either_and_a_new_one_does(
    desk: _Desk,
) -> None:
    """Also where the router that removed it has not heard of it itself, but the one before had."""
    for _ in range(2):
        desk.report(b"c.1", weight=20.0)
    second = a_house(a=30, b=70, c=20)
    second.restore(desk.house.remembered(desk.house.intent), 0.0)
    change(second, "state", states={"c": "drain"})
    change(second, "remove", name="c")
    third = a_house(a=30, b=70)
    third.restore(second.remembered(second.intent), 0.0)
    later = _Desk(third)
    with capture_logs() as lines:
        assert not later.report(b"c.1", weight=20.0)
    assert [(line["event"], line["writer"]) for line in lines] == [("removed_writer", "c")]
    assert later.weights == {"a": 30, "b": 70}
    later.report(b"c.2", weight=20.0)
    assert later.report(b"c.2", weight=20.0)
    assert later.weights == {"a": 30, "b": 70, "c": 20}
    later.commits.close()
