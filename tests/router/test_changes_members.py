"""Writers that are added, removed, or join by themselves."""

import math
from typing import Any

import pytest

from router.changes import edited, join
from router.intent import Intent
from tapfan.control import ControlError
from tapfan.settings import MAX_WRITERS
from tests.router.housing import a_writer_report
from tests.router.wanting import Wanted, a_request, an_intent, refused


def test_a_writer_is_added_and_removed() -> None:
    wanted = Wanted()
    entry = wanted.ask("add", name="c", redis="redis://c:6379/0", weight="20", rampup="30s")
    member = wanted.intent.members["c"]
    assert list(wanted.intent.members) == ["a", "b", "c"]
    assert (member.weight, member.configured, member.state, member.rampup_s, member.came) == (
        20,
        20,
        "ready",
        30,
        "added",
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
    assert refused(wanted, "add", name="c", redis="redis://c:6379/0", weight=1).code == "too_many_writers"
    with pytest.raises(ControlError) as refusal:
        join(wanted.intent, a_writer_report("c"), 0.0)
    assert refusal.value.code == "too_many_writers"


def test_a_writer_that_is_not_drained_is_removed_only_when_that_is_forced() -> None:
    wanted = Wanted(in_flight={"a": 7})
    error = refused(wanted, "remove", name="a")
    assert error.code == "not_drained"
    assert "7 records" in error.message
    wanted.ask("remove", name="a", force=True)
    assert list(wanted.intent.members) == ["b"]
    assert refused(wanted, "remove", name="b", force=True).code == "nobody_left"


def test_the_last_weight_above_zero_is_not_removed() -> None:
    wanted = Wanted(an_intent(a=0, b=70))
    assert refused(wanted, "remove", name="b", force=True).code == "bad_weight"


@pytest.mark.parametrize("name", ["c", "", None, 7, ["a"], {"a": 1}])
def test_who_is_not_there_is_not_removed(name: object) -> None:
    assert refused(Wanted(), "remove", name=name).code == "unknown_writer"


def test_a_writer_that_reports_by_itself_joins_with_what_it_says_of_itself() -> None:
    wanted = Wanted()
    report = a_writer_report("c", redis="redis://elsewhere:6379/0", weight=12.5, rampup_s=3.0)
    intent, entry = join(wanted.intent, report, 5.0)
    assert entry is not None
    assert (entry.version, entry.kind, entry.by, entry.at_s, intent.version) == (2, "join", "(automatic)", 5.0, 2)
    member = intent.members["c"]
    assert (member.redis, member.weight, member.configured) == ("redis://elsewhere:6379/0", 12.5, 12.5)
    assert (member.rampup_s, member.came, member.state) == (3.0, "joined", "ready")
    assert join(intent, report, 6.0) == (intent, None)


@pytest.mark.parametrize(
    ("claims", "code"), [({"weight": 1e300}, "bad_weight"), ({"redis": "redis://\x1b[2J"}, "bad_redis")]
)
def test_a_writer_that_claims_what_cannot_be_does_not_join(claims: dict[str, Any], code: str) -> None:
    with pytest.raises(ControlError) as refusal:
        join(an_intent(), a_writer_report("c", **claims), 0.0)
    assert refusal.value.code == code


def _with_c_joined() -> Wanted:
    """C has joined with 20, and has 50 by now."""
    intent, _ = join(an_intent(), a_writer_report("c", redis="redis://c", weight=20.0, rampup_s=3.0), 5.0)
    wanted = Wanted(intent)
    wanted.ask("weights", weights={"c": 50})
    wanted.ask("state", states={"c": "drain"})
    return wanted


def _after_edit(intent: Intent, **said: Any) -> tuple[list[tuple[str, Any, Any]], Intent]:
    fields: dict[str, Any] = {"redis": "redis://c", "weight": 20.0, "rampup_s": 3.0}
    then, entry = edited(intent, a_writer_report("c", **fields | said), 9.0)
    if entry is None:
        assert then is intent
        return [], then
    assert (entry.version, entry.at_s, entry.kind, entry.by) == (then.version, 9.0, "configuration", "(automatic)")
    assert (then.version, entry.reason) == (intent.version + 1, "the configuration of c was edited")
    assert {change.writer for change in entry.changes} == {"c"}
    return [(change.what, change.before, change.after) for change in entry.changes], then


def test_of_a_writer_that_joined_an_edited_weight_wins_over_the_one_that_was_set() -> None:
    wanted = _with_c_joined()
    changes, intent = _after_edit(wanted.intent, weight=30.0)
    assert changes == [("configured", 20, 30), ("weight", 50, 30)]
    member = intent.members["c"]
    assert (member.weight, member.configured, member.state, member.came) == (30, 30, "drain", "joined")
    assert wanted.intent.members["c"].weight == 50
    assert list(intent.members) == ["a", "b", "c"]
    assert _after_edit(intent, weight=30.0) == ([], intent)


def test_of_a_writer_that_joined_what_else_was_edited_holds_and_its_weight_stays_as_set() -> None:
    changes, intent = _after_edit(_with_c_joined().intent, redis="redis://d", rampup_s=9.0)
    assert changes == [("redis", "redis://c", "redis://d"), ("rampup", 3, 9)]
    member = intent.members["c"]
    assert (member.weight, member.configured, member.redis, member.rampup_s) == (50, 20, "redis://d", 9)


def test_where_nothing_was_edited_or_the_writer_is_none_that_joined_nothing_changes() -> None:
    assert _after_edit(_with_c_joined().intent)[0] == []
    assert _after_edit(an_intent(), weight=30.0)[0] == []
    assert _after_edit(an_intent(a=1, c=5), weight=30.0)[0] == []


def test_an_edit_holds_during_a_ramp_which_goes_on_for_the_others() -> None:
    wanted = _with_c_joined()
    wanted.ask("weights", now_s=0.0, weights={"a": 90, "c": 100}, over=60)
    _, intent = _after_edit(wanted.intent, weight=30.0)
    assert intent.ramp is not None
    assert dict(intent.ramp.origin) == {"a": 30, "b": 70, "c": 30}
    assert (intent.members["c"].weight, intent.members["a"].weight) == (30, 90)


@pytest.mark.parametrize(
    ("said", "code"),
    [({"weight": 0.0}, "bad_weight"), ({"weight": 1e300}, "bad_weight"), ({"redis": "\0"}, "bad_redis")],
)
def test_an_edit_that_cannot_be_is_not_taken(said: dict[str, Any], code: str) -> None:
    wanted = _with_c_joined()
    wanted.ask("weights", weights={"a": 0, "b": 0}, force=True)
    with pytest.raises(ControlError) as refusal:
        _after_edit(wanted.intent, **said)
    assert refusal.value.code == code


def test_an_edit_is_undone_like_one_of_the_routers_own_configuration() -> None:
    wanted = _with_c_joined()
    before = wanted.intent.version
    intent, entry = edited(wanted.intent, a_writer_report("c", redis="redis://d", weight=30.0), 9.0)
    assert entry is not None
    then = Wanted(intent, wanted.history.add(entry))
    assert "which was edited" in refused(then, "undo").message
    then.ask("undo", version=before)
    assert (then.weights["c"], then.intent.members["c"].configured) == (50, 30)
