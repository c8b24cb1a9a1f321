"""Requests for changes: what they may say, each with a version, and once only."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.changes import Request, is_change, is_repeated
from tests.router.wanting import Wanted, a_request, an_intent, refused

_ID = "0123456789abcdef"


@pytest.mark.parametrize("name", ["c", "", "A", "x" * 10_000, "a "])
@pytest.mark.parametrize(("command", "key", "value"), [("weights", "weights", 50), ("state", "states", "drain")])
def test_an_unknown_writer_is_refused(command: str, key: str, value: object, name: str) -> None:
    error = refused(Wanted(), command, **{key: {"a": value, name: value}})
    assert error.code == "unknown_writer"
    assert "there are: a, b" in error.message


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("weights", {"weight": {"a": 1}}),
        ("weights", {"weights": [1, 2]}),
        ("weights", {"weights": None}),
        ("weights", {"weights": {1: 2}}),
        ("weights", {"weights": {"a": 1}, "a": 1}),
        ("weights", {"weights": {"a": 1}, "cancel": True}),
        ("weights", {"cancel": True, "over": "1s"}),
        ("weights", {"cancel": 1}),
        ("weights", {"over": "1s"}),
        ("state", {"states": ["a"]}),
        ("state", {"states": {"a": "drain"}, "over": 1}),
        ("ttl", {"ttl": "5m", "writer": "a"}),
        ("ttl", {"ttl": "5m", "force": True}),
        ("undo", {"version": "1"}),
        ("undo", {"version": True}),
        ("undo", {"version": 1.0}),
        ("undo", {"to": 1}),
        ("add", {}),
        ("add", {"name": "c", "redis": "redis://c:6379/0"}),
        ("add", {"name": "c", "redis": "redis://c:6379/0", "weight": 1, "layout": "block"}),
        ("remove", {}),
        ("remove", {"name": "a", "names": ["b"]}),
    ],
)
def test_what_is_no_such_request_is_refused(command: str, arguments: dict[str, Any]) -> None:
    assert refused(Wanted(), command, **arguments).code == "bad_request"


@pytest.mark.parametrize(
    ("term", "value"),
    [
        ("by", 7),
        ("by", None),
        ("by", "x" * 65),
        ("by", "a\x1b[2Jb"),
        ("by", "two\nlines"),
        ("by", "(automatic)"),
        ("reason", b"bytes"),
        ("reason", "x" * 201),
        ("reason", "\u202e"),
        ("if_version", "1"),
        ("if_version", True),
        ("if_version", 1.0),
        ("force", 1),
        ("force", "yes"),
        ("force", None),
    ],
)
def test_a_bad_term_is_refused(term: str, value: object) -> None:
    error = refused(Wanted(), "weights", weights={"a": 1}, **{term: value})
    assert error.code == "bad_request"
    assert term in error.message


def test_the_longest_terms_pass_and_a_change_is_its_clients_where_it_does_not_say_whose() -> None:
    wanted = Wanted()
    entry = wanted.ask("weights", weights={"a": 1}, by="é" * 64, reason="ß" * 200, if_version=1)
    assert (entry.by, entry.reason) == ("é" * 64, "ß" * 200)
    request = Request("weights", {"weights": {"a": 2}}, None, "", "ada", "laptop", 1.0)
    entry_of_key = wanted.take(request)
    assert entry_of_key is not None
    assert (entry_of_key.by, entry_of_key.key, entry_of_key.reason) == ("ada", "laptop", "")


@pytest.mark.parametrize("version", [0, 1, 3, -1, 2**70])
def test_a_change_of_another_version_than_it_was_meant_for_is_refused_with_who_made_that(version: int) -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"a": 50}, by="ada")
    error = refused(wanted, "weights", weights={"a": 60}, if_version=version)
    assert error.code == "version_conflict"
    assert "version 2 is in force, by ada" in error.message
    wanted.ask("weights", weights={"a": 60}, if_version=2)


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.integers(0, 2)), max_size=20))
def test_the_version_counts_changes_and_nothing_else(changes: list[dict[str, int]]) -> None:
    wanted = Wanted(an_intent(a=1, b=1))
    current, version = {"a": 1, "b": 1}, 1
    for change in changes:
        then = current | change
        if not any(then.values()):
            assert refused(wanted, "weights", weights=change).code == "bad_weight"
        else:
            entry = wanted.take(a_request("weights", weights=change))
            version += then != current
            assert (entry is not None) == (then != current)
            current = then
        assert (wanted.weights, wanted.intent.version, len(wanted.history)) == (current, version, version - 1)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("weights", {}),
        ("weights", {"weights": {}}),
        ("weights", {"weights": {"a": 30, "b": "70"}}),
        ("weights", {"weights": {"a": "+0"}, "over": "60s"}),
        ("weights", {"weights": {"a": "100%"}}),
        ("weights", {"cancel": True}),
        ("weights", {"cancel": False}),
        ("state", {"states": {"a": "ready"}}),
        ("ttl", {"ttl": "5m"}),
        ("ttl", {}),
        ("undo", {"version": 1}),
    ],
)
def test_what_changes_nothing_has_no_version(command: str, arguments: dict[str, Any]) -> None:
    wanted = Wanted()
    assert wanted.take(a_request(command, **arguments)) is None
    assert wanted.intent.version == 1


def test_a_request_that_comes_again_is_applied_once() -> None:
    wanted = Wanted()
    request = a_request("weights", request_id=_ID, weights={"a": "+10"}, if_version=1)
    assert not is_repeated(wanted.history, request)
    assert wanted.take(request) is not None
    wanted.ask("weights", weights={"b": 1})
    assert is_repeated(wanted.history, request)
    assert wanted.take(request) is None
    assert (wanted.weights, wanted.intent.version) == ({"a": 40, "b": 1}, 3)


def test_an_id_is_not_taken_for_another_request() -> None:
    wanted = Wanted()
    wanted.ask("weights", request_id=_ID, weights={"a": "+10"})
    error = refused(wanted, "weights", request_id=_ID, weights={"a": "+20"})
    assert error.code == "id_reused"
    assert "version 2" in error.message


@pytest.mark.parametrize("request_id", [None, 7, 2**63, "", "short", "1234567"])
def test_ids_that_may_be_the_same_by_accident_are_not_remembered(request_id: str | int | None) -> None:
    wanted = Wanted()
    for then in (40, 50):
        wanted.ask("weights", request_id=request_id, weights={"a": "+10"})
        assert wanted.weights["a"] == then
    assert all(entry.request is None for entry in wanted.history)


def test_a_refused_request_may_come_again_under_its_id() -> None:
    wanted = Wanted()
    assert refused(wanted, "weights", request_id=_ID, weights={"a": -1}).code == "bad_weight"
    wanted.ask("weights", request_id=_ID, weights={"a": 1})


@pytest.mark.parametrize(
    ("command", "arguments", "changes"),
    [
        ("status", {}, False),
        ("history", {"limit": 5}, False),
        ("weights", {}, False),
        ("weights", {"weights": {}}, False),
        ("weights", {"weights": {"a": 1}}, True),
        ("weights", {"cancel": True}, True),
        ("weights", {"weights": None}, True),
        ("state", {}, False),
        ("state", {"states": {"a": "drain"}}, True),
        ("ttl", {}, False),
        ("ttl", {"ttl": 5}, True),
        ("undo", {}, True),
        ("add", {}, True),
        ("remove", {}, True),
    ],
)
def test_who_may_only_read_may_ask_for_what_changes_nothing(
    command: str, arguments: dict[str, Any], changes: bool
) -> None:
    assert is_change(command, arguments) == changes


@pytest.mark.parametrize("command", ["status", "history", "", "weight", "x" * 10_000])
def test_what_is_no_command_for_a_change_is_refused(command: str) -> None:
    assert refused(Wanted(), command).code == "unknown_command"
