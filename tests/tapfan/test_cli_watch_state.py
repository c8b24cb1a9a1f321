"""What keys do in a watch."""

from typing import Any

import pytest

from tapfan.cli.watch.changes import Change, Changes
from tapfan.cli.watch.picture import Picture
from tapfan.cli.watch.state import State
from tests.tapfan.statuses import status
from tests.tapfan.views import entry


def _picture(*names: str, **given: Any) -> Picture:
    picture = Picture()
    picture.take_status(status(*names, **given), 0.0)
    return picture


def _pressed(state: State, picture: Picture, *keys: str) -> list[tuple[str, dict[str, Any]]]:
    """What is asked of the router, after each of these keys."""
    changes = (state.press(key, picture) for key in keys)
    return [(change.command, dict(change.arguments)) for change in changes if change]


@pytest.fixture
def state() -> State:
    return State(by="anna")


@pytest.mark.parametrize(
    ("keys", "command", "arguments"),
    [
        (["+"], "weights", {"weights": {"a": "+1"}}),
        (["="], "weights", {"weights": {"a": "+1"}}),
        (["j", "-"], "weights", {"weights": {"b": "-1"}}),
        (["d"], "state", {"states": {"a": "drain"}}),
        (["down", "m"], "state", {"states": {"b": "maint"}}),
        (["end", "home", "r"], "state", {"states": {"a": "ready"}}),
        ([*"w30", "enter"], "weights", {"weights": {"a": 30.0}}),
        ([*"w+10", "enter"], "weights", {"weights": {"a": "+10"}}),
        ([*"w-10", "enter"], "weights", {"weights": {"a": "-10"}}),
        ([*"w50%", "enter"], "weights", {"weights": {"a": "50%"}}),
        (["w", "9", "ctrl+u", "1", "x", "backspace", "2", "enter"], "weights", {"weights": {"a": 12.0}}),
        ([*"o60s", "enter", "+"], "weights", {"weights": {"a": "+1"}, "over": 60.0}),
        ([*"o60s", "enter", *"w5", "enter"], "weights", {"weights": {"a": 5.0}, "over": 60.0}),
        ([*"o60s", "enter", "d"], "state", {"states": {"a": "drain"}}),
        ([*"o60s", "enter", "o", "enter", "+"], "weights", {"weights": {"a": "+1"}}),
        (["u", "y"], "undo", {}),
    ],
)
def test_keys_ask_for_changes(state: State, keys: list[str], command: str, arguments: dict[str, Any]) -> None:
    assert _pressed(state, _picture(), *keys) == [(command, arguments | {"by": "anna"})]


@pytest.mark.parametrize(
    "keys",
    [
        ["u", "n"],
        ["u", "enter"],
        ["u", "escape"],
        ["w", "3", "escape"],
        ["w", "enter"],
        ["c"],
        ["x"],
        ["ctrl+l"],
        ["?", "d"],
    ],
)
def test_nothing_is_asked_for_unless_it_was_meant(state: State, keys: list[str]) -> None:
    assert _pressed(state, _picture(), *keys) == []
    assert state.mode == "list"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([*"wabc", "enter"], "the weight of a, 'abc', must be a finite number from 0 to 1000000000"),
        ([*"o1d1s", "enter"], "'1d1s': must be from 100ms to 1d"),
        ([*"osoon", "enter"], "'soon': must be a duration"),
    ],
)
def test_what_cannot_be_is_told_and_not_asked(state: State, keys: list[str], message: str) -> None:
    assert _pressed(state, _picture(), *keys) == []
    assert state.message.startswith(message)
    assert state.tone == "bad"


def test_what_is_typed_is_shown_after_the_question(state: State) -> None:
    picture = _picture()
    _pressed(state, picture, "j", *"w+1")
    assert state.question(picture) == "weight of b (now 30, configured 30; 30, +10, -10, 50%): +1_"
    _pressed(state, picture, "escape", *"o6")
    assert state.question(picture).endswith(": 6_")
    _pressed(state, picture, *"0" * 100)
    assert len(state.question(picture)) < 100


def test_an_undo_says_whose_change_it_takes_back(state: State) -> None:
    picture = _picture()
    assert _pressed(state, picture, "u") == []
    assert state.question(picture) == "undo the last change? y/n"
    change = entry("weights", ("a", "weight", 30.0, 40.0), version=8, by="bert")
    picture.take_history([entry("health", version=9, by="(automatic)"), change])
    assert state.question(picture) == "undo version 8 of bert (weight a 30 -> 40)? y/n"


def test_what_would_leave_nobody_can_be_forced_once_asked(state: State) -> None:
    picture = _picture()
    refused = Change("state", {"states": {"a": "drain"}, "by": "anna"}, "a drain")
    state.offer(refused, "no writer would be left; force it?")
    assert state.question(picture) == "a drain: no writer would be left; force it? y/n"
    assert _pressed(state, picture, "y") == [("state", {"states": {"a": "drain"}, "by": "anna", "force": True})]
    state.offer(Change.of_step("a", -30, {"by": "anna"}), "force it?")
    assert _pressed(state, picture, "n", "y") == []
    assert state.message == "not forced: nothing changed"


def test_a_refusal_does_not_take_the_place_of_a_question(state: State) -> None:
    picture = _picture()
    assert _pressed(state, picture, "w", "3") == []
    state.offer(Change("undo", {}, "undo"), "force it?")
    assert _pressed(state, picture, "0", "enter") == [("weights", {"weights": {"a": 30.0}, "by": "anna"})]


def test_a_ramp_that_runs_can_be_ended(state: State) -> None:
    ramp = {"from": {"a": 1.0}, "to": {"a": 2.0}, "over": 60.0, "left": 30.0}
    assert _pressed(state, _picture(ramp=ramp), "c") == [("weights", {"cancel": True, "by": "anna"})]


def test_who_may_only_read_is_told_so(state: State) -> None:
    state.read_only = True
    for key in "+-wodmruc":
        state.say("")
        assert _pressed(state, _picture(), key) == []
        assert state.message.startswith("read only")
    assert _pressed(state, _picture(), "j") == []
    assert state.chosen == "b"


def test_the_choice_stays_within_the_writers_and_with_its_writer(state: State) -> None:
    picture = _picture("a", "b", "c")
    state.page = 2
    _pressed(state, picture, "up", "page down", "page down")
    assert state.chosen == "c"
    state.settle(_picture("x", "a", "b", "c"))
    assert state.chosen == "c"
    state.settle(_picture("x", "a"))
    assert state.chosen == "a", "the one in its place, or the last"
    _pressed(state, _picture("x", "a"), "page up")
    assert state.chosen == "x"


def test_keys_do_nothing_before_anything_is_known(state: State) -> None:
    assert _pressed(state, Picture(), *"jk+-wdmr", "up", "end") == []
    assert state.chosen is None


def test_q_quits_but_not_out_of_a_question(state: State) -> None:
    picture = _picture()
    _pressed(state, picture, "w", "q")
    assert not state.has_quit
    _pressed(state, picture, "escape", "?", "q")
    assert not state.has_quit
    _pressed(state, picture, "q")
    assert state.has_quit


def test_one_change_is_sent_at_a_time_with_the_version_that_was_seen() -> None:
    changes = Changes()
    assert changes.next() is None
    assert changes.ask(Change("state", {"states": {"a": "drain"}}, "a drain"), 7)
    assert changes.next() == ("state", {"states": {"a": "drain"}, "if_version": 7})
    assert changes.ask(Change("undo", {}, "undo"), 7)
    assert changes.next() is None, "the first one is not answered"
    assert changes.made(8).title == "a drain"
    assert changes.next() == ("undo", {"if_version": 8}), "it was asked for in the sight of the first one"
    assert changes.made(9).title == "undo"
    assert changes.next() is None


def test_what_was_seen_later_than_the_answer_counts() -> None:
    changes = Changes()
    changes.ask(Change("undo", {}, "undo"), 7)
    changes.next()
    changes.ask(Change("undo", {}, "undo"), 12)
    changes.made(8)
    assert changes.next() == ("undo", {"if_version": 12})


def test_what_waits_for_a_change_that_was_refused_is_dropped() -> None:
    changes = Changes()
    for _ in range(3):
        changes.ask(Change("undo", {}, "undo"), 7)
    changes.next()
    assert changes.failed().title == "undo"
    assert changes.next() is None


def test_steps_of_one_writer_become_one_change() -> None:
    changes = Changes()
    for by in (1, 1, -1, 1):
        changes.ask(Change.of_step("a", by, {"by": "anna"}), 7)
    changes.ask(Change.of_step("b", 1, {"by": "anna"}), 7)
    changes.ask(Change.of_step("b", 1, {"by": "anna", "over": 60.0}), 7)
    assert changes.next() == ("weights", {"weights": {"a": "+2"}, "by": "anna", "if_version": 7})
    changes.made(8)
    assert changes.next() == ("weights", {"weights": {"b": "+1"}, "by": "anna", "if_version": 8})
    changes.made(9)
    assert changes.next() == ("weights", {"weights": {"b": "+1"}, "by": "anna", "over": 60.0, "if_version": 9})


def test_steps_that_cancel_each_other_are_not_asked() -> None:
    changes = Changes()
    changes.ask(Change.of_step("a", 1, {}), 7)
    changes.ask(Change.of_step("a", -1, {}), 7)
    assert changes.next() is None


def test_only_so_many_changes_wait() -> None:
    changes = Changes()
    assert all(changes.ask(Change("undo", {}, "undo"), 7) for _ in range(20))
    assert not changes.ask(Change("undo", {}, "undo"), 7)
