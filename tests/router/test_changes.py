"""Requests for changes: all of one or nothing, each with a version, and once only."""

import copy
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.changes import Request, apply, is_change, is_repeated, join
from router.history import Entry, History
from router.intent import Intent
from tapfan.control import CODES, ControlError
from tapfan.settings import MAX_WRITERS
from tapfan.values import MAX_WEIGHT
from tests.router.housing import a_writer_report
from tests.router.wanting import Wanted, a_request, an_intent
from tests.tapfan.strategies import anything

_ID = "0123456789abcdef"
_LONGEST_MESSAGE = 300
_vectors = st.lists(st.integers(0, 100), min_size=3, max_size=3).filter(any)


def _refused(wanted: Wanted, command: str, **arguments: Any) -> ControlError:
    """Why a request is refused, which has changed nothing."""
    before = wanted.intent, copy.deepcopy(wanted.intent), wanted.history, list(wanted.history)
    with pytest.raises(ControlError) as refusal:
        wanted.take(a_request(command, **arguments))
    assert wanted.intent is before[0]
    assert (wanted.intent, wanted.history, list(wanted.history)) == before[1:]
    assert 0 < len(refusal.value.message) < _LONGEST_MESSAGE
    return refusal.value


def test_weights_are_changed_as_one_vector_and_told_in_the_history() -> None:
    wanted = Wanted()
    entry = wanted.ask("weights", now_s=7.0, weights={"a": 50, "b": "12.5"}, by="ada", reason="b is slow")
    assert wanted.weights == {"a": 50, "b": 12.5}
    assert wanted.intent.version == entry.version == 2
    assert entry.told() == {
        "version": 2,
        "at": 7.0,
        "kind": "weights",
        "by": "ada",
        "key": None,
        "reason": "b is slow",
        "over": None,
        "changes": [
            {"writer": "a", "what": "weight", "before": 30, "after": 50},
            {"writer": "b", "what": "weight", "before": 70, "after": 12.5},
        ],
    }


@pytest.mark.parametrize("value", [0, 0.5, 71, MAX_WEIGHT, "12.5", "1e3"])
def test_a_good_weight_is_set_and_the_others_keep_theirs(value: float | str) -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"b": value})
    assert wanted.weights == {"a": 30, "b": float(value)}
    assert wanted.intent.members["b"].configured == 70


@pytest.mark.parametrize(
    "value",
    [
        *(-1, -0.001, math.nan, math.inf, -math.inf, MAX_WEIGHT + 1, 10**400, True, False, None),
        *("many", "nan", "inf", "", b"30", [30], {"a": 30}, "+", "-", "%", "+-1", "+1%", "1%%", "+1e3", "+nan", "-inf"),
        *("+1_0", "\u0663%", "+\u0663", "+1.", "+.5", "-71", "+1000000000", f"{MAX_WEIGHT}0%", "9" * 21 + "%"),
        *("+" + "9" * 60_000, "9" * 60_000),
    ],
)
def test_a_bad_weight_is_refused_by_name(value: object) -> None:
    error = _refused(Wanted(), "weights", weights={"a": 50, "b": value})
    assert error.code == "bad_weight"
    assert "the weight of b, " in error.message


@pytest.mark.parametrize(
    ("value", "then"),
    [("+10", 80), ("-10", 60), ("-70", 0), ("+0.3", 70.3), ("50%", 50), ("0%", 0), ("12.5%", 12.5), ("250%", 250)],
)
def test_relative_weights_go_by_what_is_set_and_percents_by_what_is_configured(value: str, then: float) -> None:
    wanted = Wanted(an_intent(a=30, b=100))
    wanted.ask("weights", weights={"b": 70})
    wanted.ask("weights", weights={"b": value})
    assert wanted.weights == {"a": 30, "b": then}


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 4))
@example(1, 2, 1)
def test_decimals_are_meant_as_they_are_written(one: int, other: int, places: int) -> None:
    """Not 0.1 + 0.2 = 0.30000000000000004."""
    unit = 10**places
    wanted = Wanted(an_intent(a=one / unit, b=1))
    text = f"+{other / unit:.{places}f}"
    wanted.take(a_request("weights", weights={"a": text}))
    assert wanted.weights["a"] == (one + other) / unit
    wanted.take(a_request("weights", weights={"a": "10%"}))
    assert wanted.weights["a"] == one / (unit * 10)


@pytest.mark.parametrize("name", ["c", "", "A", "x" * 10_000, "a "])
@pytest.mark.parametrize(("command", "key", "value"), [("weights", "weights", 50), ("state", "states", "drain")])
def test_an_unknown_writer_is_refused(command: str, key: str, value: object, name: str) -> None:
    error = _refused(Wanted(), command, **{key: {"a": value, name: value}})
    assert error.code == "unknown_writer"
    assert "there are: a, b" in error.message


def test_of_a_thousand_writers_a_refusal_names_some() -> None:
    wanted = Wanted(an_intent(**{f"w{i}": 1 for i in range(1000)}))
    error = _refused(wanted, "weights", weights={"nobody": 1})
    assert error.message.endswith("w8, w9 and 990 more")


@pytest.mark.parametrize("force", [False, True])
def test_all_weights_zero_is_refused_whatever_is_forced(force: bool) -> None:
    assert _refused(Wanted(), "weights", weights={"a": 0, "b": "0%"}, force=force).code == "bad_weight"
    wanted = Wanted(an_intent(a=0, b=70))
    assert _refused(wanted, "weights", weights={"b": "-70"}, force=force).code == "bad_weight"


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
    assert _refused(Wanted(), command, **arguments).code == "bad_request"


@pytest.mark.parametrize(
    ("term", "value"),
    [
        ("by", 7),
        ("by", None),
        ("by", "x" * 65),
        ("by", "a\x1b[2Jb"),
        ("by", "two\nlines"),
        ("by", "tapfan"),
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
    error = _refused(Wanted(), "weights", weights={"a": 1}, **{term: value})
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
    error = _refused(wanted, "weights", weights={"a": 60}, if_version=version)
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
            assert _refused(wanted, "weights", weights=change).code == "bad_weight"
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
    error = _refused(wanted, "weights", request_id=_ID, weights={"a": "+20"})
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
    assert _refused(wanted, "weights", request_id=_ID, weights={"a": -1}).code == "bad_weight"
    wanted.ask("weights", request_id=_ID, weights={"a": 1})


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
    assert _refused(Wanted(), "state", states={"b": "drain", "a": state}).code == "bad_state"


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
    assert _refused(wanted, command, **arguments).code == "nobody_left"
    assert _refused(wanted, command, **arguments, force=False).code == "nobody_left"
    wanted.ask(command, **arguments, force=True)


def test_an_undo_that_leaves_nobody_must_be_forced() -> None:
    wanted = Wanted()
    wanted.ask("state", states={"a": "maint", "b": "maint"}, force=True)
    wanted.ask("state", states={"a": "ready"})
    assert _refused(wanted, "undo").code == "nobody_left"
    wanted.ask("undo", force=True)
    wanted.ask("ttl", ttl=60)


@pytest.mark.parametrize(("over", "over_s"), [("60s", 60), (0.1, 0.1), ("1d", 86_400), ("100ms", 0.1), (5, 5)])
def test_a_ramp_leads_to_the_weights_that_are_set(over: object, over_s: float) -> None:
    wanted = Wanted()
    entry = wanted.ask("weights", now_s=100.0, weights={"a": 90}, over=over)
    assert (entry.kind, entry.over_s) == ("ramp", over_s)
    assert wanted.weights == {"a": 90, "b": 70}
    ramp = wanted.intent.ramp
    assert ramp is not None
    assert (dict(ramp.origin), ramp.begun_s, ramp.over_s) == ({"a": 30, "b": 70}, 100.0, over_s)


@pytest.mark.parametrize(
    "over", [0, 0.05, -1, "25h", 86_401, math.nan, math.inf, None, True, "", "soon", [], 10**400, "9" * 60_000 + "s"]
)
def test_a_bad_duration_of_a_ramp_is_refused(over: object) -> None:
    assert _refused(Wanted(), "weights", weights={"a": 90}, over=over).code == "bad_duration"


def test_a_change_during_a_ramp_ends_it_and_who_is_not_named_stays_where_it_is() -> None:
    wanted = Wanted(an_intent(a=30, b=70, c=0))
    wanted.ask("weights", now_s=0.0, weights={"a": 90, "c": 10}, over=10)
    entry = wanted.ask("weights", now_s=5.0, weights={"b": 1})
    assert (wanted.weights, wanted.intent.ramp) == ({"a": 60, "b": 1, "c": 5}, None)
    assert {(change.writer, change.before, change.after) for change in entry.changes} == {
        ("a", 90, 60),
        ("b", 70, 1),
        ("c", 10, 5),
    }


def test_a_ramp_is_cancelled_where_it_is_or_replaced_from_there() -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90}, over=10)
    replaced = copy.copy(wanted)
    wanted.ask("weights", now_s=2.5, cancel=True)
    assert (wanted.weights, wanted.intent.ramp, wanted.intent.version) == ({"a": 45, "b": 70}, None, 3)
    replaced.ask("weights", now_s=2.5, weights={"b": 10}, over=20)
    assert replaced.weights == {"a": 45, "b": 10}
    assert replaced.intent.ramp is not None
    assert replaced.intent.ramp.origin == {"a": 45, "b": 70}


def test_a_ramp_that_is_over_is_not_cancelled_and_its_weights_are_the_set_ones() -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90}, over=10)
    assert wanted.take(a_request("weights", now_s=10.0, cancel=True)) is None
    entry = wanted.ask("weights", now_s=11.0, weights={"b": 1})
    assert wanted.weights == {"a": 90, "b": 1}
    assert [change.writer for change in entry.changes] == ["b"]


def test_what_is_relative_during_a_ramp_goes_by_what_it_leads_to() -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90}, over=10)
    wanted.ask("weights", now_s=5.0, weights={"a": "+10"})
    assert wanted.weights == {"a": 100, "b": 70}


@pytest.mark.parametrize("change", [("ttl", {"ttl": 60}), ("state", {"states": {"b": "drain"}})])
def test_a_ramp_goes_on_while_other_things_change(change: tuple[str, dict[str, Any]]) -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90}, over=10)
    ramp = wanted.intent.ramp
    entry = wanted.ask(change[0], now_s=5.0, **change[1])
    assert wanted.intent.ramp is ramp
    assert entry.over_s is None


def test_writers_that_come_and_go_during_a_ramp_are_in_it_or_not() -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90, "b": 10}, over=10)
    wanted.ask("add", now_s=1.0, name="c", redis="redis://c:6379/0", weight=5)
    wanted.ask("remove", now_s=2.0, name="b")
    ramp = wanted.intent.ramp
    assert ramp is not None
    assert dict(ramp.origin) == {"a": 30, "c": 5}


def test_a_writer_is_added_and_removed() -> None:
    wanted = Wanted()
    entry = wanted.ask("add", name="c", redis="redis://c:6379/0", weight="20", rampup="30s")
    member = wanted.intent.members["c"]
    assert list(wanted.intent.members) == ["a", "b", "c"]
    assert (member.weight, member.configured, member.state, member.rampup_s, member.joined) == (
        20,
        20,
        "ready",
        30,
        False,
    )
    assert [(change.what, change.before, change.after) for change in entry.changes] == [
        ("redis", None, "redis://c:6379/0"),
        ("weight", None, 20),
    ]
    wanted.ask("state", states={"c": "drain"})
    entry = wanted.ask("remove", name="c")
    assert list(wanted.intent.members) == ["a", "b"]
    assert [(change.what, change.before, change.after) for change in entry.changes] == [
        ("redis", "redis://c:6379/0", None),
        ("weight", 20, None),
        ("state", "drain", None),
    ]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"name": "a"}, "writer_exists"),
        *(({"name": name}, "bad_name") for name in ("", "x" * 33, "a b", "ä", "c\n", None, 7, ["c"])),
        *(({"redis": url}, "bad_redis") for url in ("", "c:6379", 7, None, "http://c/", "redis://:secret@c:6379/0")),
        ({"redis": "redis://c:6379/0?password=secret"}, "bad_redis"),
        ({"redis": f"redis://{'c' * 600}:6379/0"}, "bad_redis"),
        ({"redis": "redis://c\x1b[2J:6379/0"}, "bad_redis"),
        *(({"weight": weight}, "bad_weight") for weight in (-1, None, "+1", "50%", math.nan, 10**400)),
        *(({"rampup": rampup}, "bad_duration") for rampup in (-1, "soon", None, "2d", math.nan)),
    ],
)
def test_what_cannot_be_added_is_refused(arguments: dict[str, Any], code: str) -> None:
    valid = {"name": "c", "redis": "redis://c:6379/0", "weight": 20}
    error = _refused_of(Wanted(), "add", valid | arguments)
    assert error.code == code
    assert "secret" not in error.message


def _refused_of(wanted: Wanted, command: str, arguments: dict[str, Any]) -> ControlError:
    with pytest.raises(ControlError) as refusal:
        wanted.take(a_request(command, **arguments))
    assert wanted.intent == an_intent(**wanted.weights)
    return refusal.value


def test_there_are_not_more_writers_than_there_may_be() -> None:
    wanted = Wanted(an_intent(**{f"w{i}": 1 for i in range(MAX_WRITERS)}))
    assert _refused(wanted, "add", name="c", redis="redis://c:6379/0", weight=1).code == "too_many_writers"
    with pytest.raises(ControlError) as refusal:
        join(wanted.intent, a_writer_report("c"), 0.0)
    assert refusal.value.code == "too_many_writers"


def test_a_writer_that_is_not_drained_is_removed_only_when_that_is_forced() -> None:
    wanted = Wanted(in_flight={"a": 7})
    error = _refused(wanted, "remove", name="a")
    assert error.code == "not_drained"
    assert "7 records" in error.message
    wanted.ask("remove", name="a", force=True)
    assert list(wanted.intent.members) == ["b"]
    assert _refused(wanted, "remove", name="b", force=True).code == "nobody_left"


def test_the_last_weight_above_zero_is_not_removed() -> None:
    wanted = Wanted(an_intent(a=0, b=70))
    assert _refused(wanted, "remove", name="b", force=True).code == "bad_weight"


@pytest.mark.parametrize("name", ["c", "", None, 7, ["a"], {"a": 1}])
def test_who_is_not_there_is_not_removed(name: object) -> None:
    assert _refused(Wanted(), "remove", name=name).code == "unknown_writer"


def test_a_writer_that_reports_by_itself_joins_with_what_it_says_of_itself() -> None:
    wanted = Wanted()
    report = a_writer_report("c", redis="redis://elsewhere:6379/0", weight=12.5, rampup_s=3.0)
    intent, entry = join(wanted.intent, report, 5.0)
    assert entry is not None
    assert (entry.version, entry.kind, entry.by, entry.at_s, intent.version) == (2, "join", "tapfan", 5.0, 2)
    member = intent.members["c"]
    assert (member.redis, member.weight, member.configured) == ("redis://elsewhere:6379/0", 12.5, 12.5)
    assert (member.rampup_s, member.joined, member.state) == (3.0, True, "ready")
    assert join(intent, report, 6.0) == (intent, None)


@pytest.mark.parametrize(
    ("claims", "code"), [({"weight": 1e300}, "bad_weight"), ({"redis": "redis://\x1b[2J"}, "bad_redis")]
)
def test_a_writer_that_claims_what_cannot_be_does_not_join(claims: dict[str, Any], code: str) -> None:
    with pytest.raises(ControlError) as refusal:
        join(an_intent(), a_writer_report("c", **claims), 0.0)
    assert refusal.value.code == code


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
    assert _refused(Wanted(), command).code == "unknown_command"


_names = st.sampled_from(["a", "b", "c"])
_values = st.one_of(
    st.sampled_from(["+10", "-10", "50%", "+", "%", "drain", "maint", "ready", "5m", "tapfan", 0, 1, 1e9, 0.1]),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 10**400, 2**64, -1, True, None, "", "x" * 5000, "\x1b[2J"]),
    anything,
)
_maps = st.dictionaries(_names | st.text(max_size=3), _values, max_size=4)
_OF_COMMANDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "weights": {"weights": _maps | _values, "over": _values, "cancel": _values, "force": st.booleans() | _values},
    "state": {"states": _maps | _values, "force": st.booleans() | _values},
    "ttl": {"ttl": _values},
    "undo": {"version": st.integers(-1, 5) | _values, "force": st.booleans() | _values},
    "add": {
        "name": _names | _values,
        "redis": st.just("redis://c:6379/0") | _values,
        "weight": _values,
        "rampup": _values,
    },
    "remove": {"name": _names | _values, "force": st.booleans() | _values},
    "no such": {},
}
_TERMS = {"by": _values, "reason": _values, "if_version": st.integers(1, 3) | _values}
_anything_at_all = st.dictionaries(st.text(max_size=5), anything, max_size=3)


@st.composite
def _requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A request that is nearly right, or one that is not at all."""
    command = draw(st.sampled_from([*_OF_COMMANDS]))
    if draw(st.integers(0, 9)) == 0:
        return command, draw(_anything_at_all)
    arguments = draw(st.fixed_dictionaries({}, optional=_OF_COMMANDS[command]))
    terms = draw(st.fixed_dictionaries({}, optional=_TERMS)) if draw(st.integers(0, 4)) == 0 else {}
    return command, arguments | terms


@settings(max_examples=200)
@given(st.lists(_requests(), min_size=1, max_size=5))
@example([("weights", {"weights": {f"w{i}": i for i in range(5000)}})])
@example([("state", {"states": {"x" * 60_000: "drain"}})])
@example([("add", {"name": "c", "redis": "redis://[::1", "weight": 1})])
@example([("add", {"name": "c", "redis": "redis://c:99999999/0", "weight": 1})])
@example([("ttl", {"ttl": "9" * 5000 + "d"})])
def test_whatever_is_asked_for_is_a_change_or_a_refusal_that_changes_nothing(
    requests: list[tuple[str, dict[str, Any]]],
) -> None:
    intent, history = an_intent(), History()
    for now, (command, arguments) in enumerate(requests):
        before = copy.deepcopy((intent, list(history)))
        kept = repr(arguments)
        outcome = _outcome(intent, history, command, arguments, float(now))
        assert (intent, list(history), repr(arguments)) == (*before, kept)
        if isinstance(outcome, ControlError):
            assert outcome.code in CODES
            assert 0 < len(outcome.message) < _LONGEST_MESSAGE + 300 * (outcome.code == "bad_redis")
            continue
        then, entry = outcome
        _assert_sound(then)
        assert (then is intent) == (entry is None)
        assert then.version == intent.version + (entry is not None)
        intent, history = then, history.add(entry) if entry else history


def _outcome(
    intent: Intent, history: History, command: str, arguments: dict[str, Any], now_s: float
) -> tuple[Intent, Entry | None] | ControlError:
    try:
        return apply(intent, history, Request(command, arguments, None, "", "somebody", None, now_s))
    except ControlError as error:
        return error


def _assert_sound(intent: Intent) -> None:
    assert intent.members
    assert any(member.weight for member in intent.members.values())
    for member in intent.members.values():
        assert isinstance(member.weight, float)
        assert 0 <= member.weight <= MAX_WEIGHT
        assert member.state in ("ready", "drain", "maint")
        assert 0 <= member.rampup_s <= 86_400
    assert 1000 <= intent.ttl_ms <= 31 * 86_400_000
    if intent.ramp is not None:
        assert intent.ramp.origin.keys() == intent.members.keys()
        assert 0.1 <= intent.ramp.over_s <= 86_400
