"""Undo and redo: weights, states and time to live as they were, whoever came and went meanwhile."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.changes import apply, edited, join
from router.history import MAX_ENTRIES, Change, Entry, History
from router.intent import Intent, Member
from router.ramp import stopped
from router.steering import Steering
from router.vectors import with_weights
from tapfan.control import AUTOMATIC, ControlError
from tests.router.housing import a_writer_report
from tests.router.wanting import Wanted, a_request, an_intent


def _refused(wanted: Wanted, **arguments: Any) -> ControlError:
    before = copy.deepcopy(wanted.intent)
    with pytest.raises(ControlError) as refusal:
        wanted.take(a_request("undo", **arguments))
    assert wanted.intent == before
    return refusal.value


def test_an_undo_takes_the_last_change_back_and_a_second_one_makes_it_again() -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"a": 50})
    wanted.ask("state", states={"b": "drain"})
    for state in ("ready", "drain", "ready"):
        entry = wanted.ask("undo", by="ada")
        assert (entry.kind, wanted.states["b"], wanted.weights["a"]) == ("undo", state, 50)
    assert wanted.intent.version == 6


def test_the_user_whom_all_programs_may_run_as_changes_and_undoes_as_any_other() -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"a": 50}, by="tapfan")
    wanted.ask("undo", by="tapfan")
    assert [(entry.by, entry.is_note) for entry in wanted.history] == [("tapfan", False)] * 2
    assert wanted.weights["a"] == 30


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("weights", {"weights": {"a": 1, "b": 2}}),
        ("weights", {"weights": {"a": 1, "b": 2}, "over": 60}),
        ("state", {"states": {"a": "maint"}}),
        ("ttl", {"ttl": "10m"}),
    ],
)
def test_every_kind_of_change_is_undone_and_redone(command: str, arguments: dict[str, Any]) -> None:
    wanted = Wanted()
    before = wanted.intent
    wanted.ask(command, **arguments)
    after = wanted.intent
    wanted.ask("undo", now_s=100.0)
    assert _values(wanted.intent) == _values(before)
    assert wanted.intent.ramp is None
    wanted.ask("undo", now_s=101.0)
    assert _values(wanted.intent) == _values(after)


def test_an_undo_goes_back_to_what_was_in_force_and_not_to_where_a_ramp_would_have_led() -> None:
    wanted = Wanted(an_intent(a=10, b=90))
    wanted.ask("weights", now_s=0.0, weights={"a": 90, "b": 10}, over=100)
    wanted.ask("weights", now_s=25.0, weights={"a": 50})
    assert wanted.weights == {"a": 50, "b": 70}
    wanted.ask("undo", now_s=26.0)
    assert wanted.weights == {"a": 30, "b": 70}
    wanted.ask("undo", version=1)
    wanted.ask("weights", now_s=200.0, weights={"a": 90, "b": 10}, over=100)
    wanted.ask("undo", now_s=250.0)
    assert wanted.weights == {"a": 10, "b": 90}
    wanted.ask("undo", now_s=251.0)
    assert wanted.weights == {"a": 50, "b": 50}


def test_a_ramp_that_was_cancelled_leaves_nothing_to_take_back() -> None:
    wanted = Wanted(an_intent(a=10, b=90))
    wanted.ask("weights", now_s=0.0, weights={"a": 90, "b": 10}, over=100)
    wanted.ask("weights", now_s=25.0, cancel=True)
    assert _refused(wanted, now_s=26.0).code == "unknown_version"
    assert wanted.weights == {"a": 30, "b": 70}


def _values(intent: Intent) -> tuple[Any, ...]:
    return intent.members, intent.ttl_ms


def test_there_must_be_something_to_take_back() -> None:
    assert _refused(Wanted()).code == "unknown_version"
    wanted = Wanted()
    wanted.intent, entry = join(wanted.intent, a_writer_report("c"), 0.0)
    assert entry is not None
    wanted.history = wanted.history.add(entry)
    assert _refused(wanted).code == "unknown_version"


def test_who_was_added_or_removed_is_not_taken_back_by_an_undo() -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"a": 50})
    wanted.ask("add", name="c", redis="redis://c:6379/0", weight=20)
    error = _refused(wanted)
    assert error.code == "bad_request"
    assert "remove" in error.message
    wanted.ask("remove", name="c")
    assert "add" in _refused(wanted).message


def test_going_back_to_a_version_leaves_out_who_is_gone_and_leaves_alone_who_came_later() -> None:
    wanted = Wanted(an_intent(a=30, b=70, d=1))
    wanted.ask("weights", weights={"a": 40, "b": 60, "d": 2})  # version 2
    wanted.ask("state", states={"b": "drain"})
    wanted.ask("add", name="c", redis="redis://c:6379/0", weight=20)
    wanted.ask("weights", weights={"a": 1, "b": 2, "c": 3, "d": 4})
    wanted.ask("remove", name="d")
    wanted.ask("ttl", ttl=60)
    wanted.ask("undo", version=2)
    assert (wanted.weights, wanted.intent.ttl_ms) == ({"a": 40, "b": 60, "c": 3}, 300_000)
    assert wanted.states == {"a": "ready", "b": "ready", "c": "ready"}
    assert wanted.intent.version == 8
    wanted.ask("undo", version=7)
    assert (wanted.weights, wanted.intent.ttl_ms, wanted.states["b"]) == ({"a": 1, "b": 2, "c": 3}, 60_000, "drain")


def test_who_went_and_came_again_has_what_its_name_had() -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"b": 60})
    wanted.ask("state", states={"b": "maint"})
    wanted.ask("remove", name="b")
    wanted.ask("add", name="b", redis="redis://b:6379/0", weight=5)
    wanted.ask("undo", version=3)
    assert (wanted.weights, wanted.states) == ({"a": 30, "b": 60}, {"a": "ready", "b": "maint"})


@pytest.mark.parametrize("version", [0, -1, 4, 2**70])
def test_a_version_that_never_was_is_refused_with_the_oldest_possible(version: int) -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"b": 60})
    wanted.ask("weights", weights={"b": 50})
    error = _refused(wanted, version=version)
    assert error.code == "unknown_version"
    assert "from 1 to 3" in error.message


def test_a_version_that_is_not_in_the_history_any_more_is_refused() -> None:
    wanted = Wanted()
    for weight in range(1, MAX_ENTRIES + 2):
        wanted.ask("weights", weights={"b": 70 + weight})
    assert "from 2 to 502" in _refused(wanted, version=1).message
    wanted.ask("undo", version=3)
    assert wanted.weights["b"] == 72


def test_without_a_history_there_is_only_the_version_in_force() -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"b": 60})
    wanted.history = History()
    assert "from 2 to 2" in _refused(wanted, version=1).message
    assert wanted.take(a_request("undo", version=2)) is None


def test_a_ramp_that_is_undone_is_back_at_once_and_one_that_is_not_touched_goes_on() -> None:
    wanted = Wanted()
    wanted.ask("weights", now_s=0.0, weights={"a": 90}, over=10)
    wanted.ask("ttl", now_s=1.0, ttl=60)
    ramp = wanted.intent.ramp
    wanted.ask("undo", now_s=2.0)
    assert (wanted.intent.ttl_ms, wanted.intent.ramp) == (300_000, ramp)
    wanted.ask("undo", now_s=3.0, version=1)
    assert (wanted.weights, wanted.intent.ramp) == ({"a": 30, "b": 70}, None)


def test_a_ramp_to_the_weights_that_are_set_is_undone_too() -> None:
    """It stays where it was when that began, and that cannot be undone, so it is said."""
    wanted = Wanted()
    wanted.ask("weights", now_s=100.0, weights={"a": 50}, over=60)
    wanted.ask("weights", now_s=130.0, weights={"a": 50}, over=600)
    wanted.ask("undo", now_s=131.0)
    assert (wanted.weights, wanted.intent.ramp) == ({"a": 40, "b": 70}, None)
    error = _refused(wanted, now_s=132.0)
    assert error.code == "unknown_version"
    assert "version 4, nothing is left to take back" in error.message
    wanted.ask("undo", version=1)
    assert wanted.weights == {"a": 30, "b": 70}


def test_an_undo_of_what_a_writer_had_that_is_gone_is_refused() -> None:
    wanted = Wanted(an_intent(a=30, b=70, c=5))
    wanted.ask("weights", weights={"c": 9})
    wanted.intent = replace(
        wanted.intent, members={name: member for name, member in wanted.intent.members.items() if name != "c"}
    )
    error = _refused(wanted)
    assert error.code == "unknown_version"
    assert "name a version" in error.message
    assert wanted.take(a_request("undo", version=1)) is None


def test_going_back_to_a_ramps_version_after_its_end_gives_where_it_led_to() -> None:
    steering = Steering(an_intent(), History(), 0.0)
    for now_s, command, arguments in (
        (0.0, "weights", {"weights": {"a": 90}, "over": 10}),
        (1.0, "ttl", {"ttl": 60}),
        (12.0, "undo", {"version": 2}),
    ):
        steering.tick(now_s, 0.0)
        intent, entry = apply(steering.intent, steering.history, a_request(command, now_s, **arguments))
        assert entry is not None
        steering.adopt(intent, [entry], now_s)
    assert (steering.view()["weights"], steering.view()["ttl"]) == ({"a": 90, "b": 70}, 300)


_steps = st.one_of(
    st.tuples(
        st.just("weights"),
        st.fixed_dictionaries({"weights": st.dictionaries(st.sampled_from("ab"), st.integers(0, 3))}),
    ),
    st.tuples(
        st.just("state"),
        st.fixed_dictionaries(
            {"states": st.dictionaries(st.sampled_from("ab"), st.sampled_from(["ready", "drain", "maint"]))}
        ),
    ),
    st.tuples(st.just("ttl"), st.fixed_dictionaries({"ttl": st.integers(1, 5)})),
    st.tuples(st.just("undo"), st.fixed_dictionaries({}, optional={"version": st.integers(1, 12)})),
    st.tuples(
        st.just("weights"),
        st.fixed_dictionaries(
            {
                "weights": st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), min_size=1),
                "over": st.sampled_from([3, 10]),
            }
        ),
    ),
    st.tuples(st.just("weights"), st.just({"cancel": True})),
)


@given(st.lists(_steps, max_size=15))
def test_going_back_to_any_version_gives_what_was_set_then(steps: list[tuple[str, dict[str, Any]]]) -> None:
    """Checked against a copy of each version; of one whose ramp was broken off, with the weights as they were then."""
    wanted = Wanted(an_intent(a=1, b=1))
    versions = {1: wanted.intent}
    for now, (command, arguments) in enumerate(steps):
        forced = {} if command == "ttl" else {"force": True}
        before = wanted.intent
        try:
            wanted.take(a_request(command, float(now), **arguments, **forced))
        except ControlError:
            continue
        if before.ramp is not None and wanted.intent.ramp is not before.ramp:
            here = {name: member.weight for name, member in stopped(before, float(now)).members.items()}
            for version, intent in versions.items():
                if intent.ramp is before.ramp:
                    versions[version] = replace(with_weights(intent, here), ramp=None)
        versions[wanted.intent.version] = wanted.intent
    for version, intent in versions.items():
        back = copy.copy(wanted)
        back.take(a_request("undo", 100.0, version=version, force=True))
        assert _values(back.intent) == _values(intent)


def test_going_back_gives_a_writer_nothing_of_another_one_that_had_its_name() -> None:
    wanted = Wanted(an_intent(a=30, b=70, c=5))
    wanted.ask("weights", weights={"c": 77})
    wanted.ask("state", states={"c": "drain"})
    wanted.ask("remove", name="c")
    wanted.ask("add", name="c", redis="redis://another:6379/0", weight=1)
    wanted.ask("weights", weights={"c": 2, "a": 31})
    wanted.ask("undo", version=2)
    assert (wanted.weights, wanted.states["c"]) == ({"a": 30, "b": 70, "c": 2}, "ready")


def _take(wanted: Wanted, came: tuple[Intent, Entry | None]) -> None:
    """Let a writer's own word be in force."""
    wanted.intent, entry = came
    wanted.history = wanted.history.add(*([entry] if entry else []))


def test_going_back_gives_a_writer_nothing_of_one_whose_redis_was_edited_to_another() -> None:
    wanted = Wanted()
    _take(wanted, join(wanted.intent, a_writer_report("c", redis="redis://x", weight=20.0), 0.0))
    wanted.ask("weights", weights={"c": 33})  # version 3
    _take(wanted, edited(wanted.intent, a_writer_report("c", redis="redis://y", weight=20.0), 0.0))
    wanted.ask("weights", weights={"c": 44})  # version 5
    wanted.ask("remove", name="c")
    _take(wanted, join(wanted.intent, a_writer_report("c", redis="redis://x", weight=7.0), 0.0))
    for version in range(1, 8):
        back = copy.copy(wanted)
        back.take(a_request("undo", version=version))
        assert back.weights["c"] == 7


_edits = st.tuples(st.just("report"), st.tuples(st.sampled_from("xy"), st.integers(1, 2)))
_X, _Y = ("report", ("x", 1)), ("report", ("y", 2))
_REMOVED = ("remove", {"name": "c"})
_c_steps = st.one_of(
    _edits,
    _edits,
    st.just(_REMOVED),
    st.tuples(st.just("weights"), st.fixed_dictionaries({"weights": st.fixed_dictionaries({"c": st.integers(1, 9)})})),
    st.tuples(
        st.just("state"),
        st.fixed_dictionaries({"states": st.fixed_dictionaries({"c": st.sampled_from(["ready", "drain"])})}),
    ),
)


@given(st.lists(_c_steps, max_size=20))
@example([_X, _REMOVED, _X, ("state", {"states": {"c": "drain"}})])
@example([_Y, ("weights", {"weights": {"c": 5}}), _REMOVED, _Y, _REMOVED, _X])
def test_going_back_gives_a_name_what_the_same_writer_had_and_nothing_of_others(steps: list[tuple[str, Any]]) -> None:
    """It is the same one from its coming to its going, and when it comes again with the Redis that it went with."""
    wanted = Wanted()
    came: list[str] = []  # with which Redis, of each time that c came
    went: list[str] = []
    versions: dict[int, tuple[int, Member | None]] = {}
    for command, arguments in [("none", {}), *steps]:
        had = wanted.intent.members.get("c")
        if command == "report":
            report = a_writer_report("c", redis=arguments[0], weight=float(arguments[1]))
            _take(wanted, (edited if had else join)(wanted.intent, report, 0.0))
            came += [] if had else [report.redis]
        elif had is not None:
            wanted.take(a_request(command, force=True, **arguments))
            went += [had.redis] if command == "remove" else []
        versions[wanted.intent.version] = (len(came), wanted.intent.members.get("c"))
    now = wanted.intent.members.get("c")
    same = {len(came)}
    for time in range(len(came) - 1, 0, -1):
        if went[time - 1] == came[min(same) - 1]:
            same.add(time)
    for version, (time, member) in versions.items():
        back = copy.copy(wanted)
        back.take(a_request("undo", version=version, force=True))
        then = member if member is not None and time in same else now
        assert back.intent.members.get("c") == (now and then and replace(now, weight=then.weight, state=then.state))


def test_an_edited_configuration_is_not_undone_in_passing() -> None:
    wanted = Wanted()
    wanted.ask("weights", weights={"a": 50})
    changes = (Change("a", "weight", 50.0, 44.0),)
    entry = Entry(3, 0.0, "configuration", AUTOMATIC, None, "the configuration was edited", None, changes)
    wanted.intent = replace(with_weights(wanted.intent, {"a": 44.0}), version=3)
    wanted.history = wanted.history.add(entry)
    error = _refused(wanted)
    assert (error.code, "version 3" in error.message) == ("bad_request", True)
    wanted.ask("undo", version=2)
    assert wanted.weights["a"] == 50
