"""Changes of states: apart from the weights, and somebody is left unless that is forced."""

from typing import Any

import pytest

from tests.router.wanting import Wanted, refused


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_a_state_is_apart_from_the_weight(state: str) -> None:
    wanted = Wanted()
    entry = wanted.ask("state", states={"a": state})
    assert (wanted.states, wanted.weights) == ({"a": state, "b": "ready"}, {"a": 30, "b": 70})
    assert [(change.writer, change.what, change.before, change.after) for change in entry.changes] == [
        ("a", "state", "ready", state)
    ]
    wanted.ask("state", states={"a": "ready", "b": state})
    assert wanted.states == {"a": "ready", "b": state}


@pytest.mark.parametrize("state", ["", "Ready", "up", None, 1, ["drain"], {"drain": 1}, "x" * 60_000])
def test_a_bad_state_is_refused(state: object) -> None:
    assert refused(Wanted(), "state", states={"b": "drain", "a": state}).code == "bad_state"


@pytest.mark.parametrize(
    ("first", "command", "arguments"),
    [
        ({}, "state", {"states": {"a": "drain", "b": "maint"}}),
        ({"states": {"a": "drain"}}, "state", {"states": {"b": "drain"}}),
        ({"states": {"a": "drain"}}, "weights", {"weights": {"b": 0}}),
        ({"states": {"a": "drain"}}, "weights", {"weights": {"b": 0}, "over": "10s"}),
        ({"states": {"a": "drain"}}, "remove", {"name": "b"}),
    ],
)
def test_that_nobody_is_left_must_be_forced(first: dict[str, Any], command: str, arguments: dict[str, Any]) -> None:
    wanted = Wanted()
    if first:
        wanted.ask("state", **first)
    assert refused(wanted, command, **arguments).code == "nobody_left"
    assert refused(wanted, command, **arguments, force=False).code == "nobody_left"
    wanted.ask(command, **arguments, force=True)


def test_an_undo_that_leaves_nobody_must_be_forced() -> None:
    wanted = Wanted()
    wanted.ask("state", states={"a": "maint", "b": "maint"}, force=True)
    wanted.ask("state", states={"a": "ready"})
    assert refused(wanted, "undo").code == "nobody_left"
    wanted.ask("undo", force=True)
    wanted.ask("ttl", ttl=60)
