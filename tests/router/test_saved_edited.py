"""What operators want, on disk, and the configuration that was edited since: what of each holds."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from router.history import Change, Entry, History
from router.intent import Came, Intent, Member, Ramp
from router.remembered import MAX_REMOVED, Remembered
from router.saved import merged
from tests.router.saving import NOTHING, NOW_S, control_file, intent_of, load
from tests.router.wanting import TTL_MS


def test_of_an_edited_weight_the_file_wins_for_that_writer_only(path: Path) -> None:
    saved = intent_of(
        version=7, a=Member("redis://a:6379/0", 30, 80), b=Member("redis://b:6379/0", 70, 20, "maint"), c=5.0
    )
    control_file(path).save(saved, History(), NOTHING)
    with capture_logs() as lines:
        intent, history = load(path, intent_of(a=40, b=70, c=5))
    assert {name: member.weight for name, member in intent.members.items()} == {"a": 40, "b": 20, "c": 5}
    assert intent.members["b"].state == "maint"
    assert intent.version == 8
    (line,) = lines
    assert (line["event"], line["log_level"], line["version"]) == ("configuration_edited", "info", 8)
    assert line["changes"] == "a: configured 30.0 -> 40.0; a: weight 80.0 -> 40.0"
    assert history.newest == Entry(
        8,
        NOW_S,
        "configuration",
        "(automatic)",
        None,
        "the configuration was edited",
        None,
        (Change("a", "configured", 30, 40), Change("a", "weight", 80, 40)),
    )


def test_an_edit_is_told_once(path: Path) -> None:
    control_file(path).save(intent_of(a=30, b=70), History(), NOTHING)
    configured = intent_of(a=40, b=70)
    intent, history = load(path, configured)
    control_file(path).save(intent, history, NOTHING)
    with capture_logs() as lines:
        again, history_again = load(path, configured)
    assert (again, history_again.text, lines) == (intent, history.text, [])


def test_a_state_holds_though_the_weight_was_edited() -> None:
    saved = intent_of(a=Member("redis://a", 30, 30, "drain"), b=70.0)
    assert merged(saved, TTL_MS, intent_of(a=31, b=70))[0].members["a"].state == "drain"


def test_where_a_writer_stores_is_as_configured() -> None:
    saved = intent_of(a=Member("redis://old", 30, 50, rampup_s=5), b=70.0)
    configured = intent_of(a=Member("redis://new", 30, 30, rampup_s=9), b=70.0)
    intent, changes = merged(saved, TTL_MS, configured)
    assert intent.members["a"] == Member("redis://new", 30, 50, rampup_s=9)
    assert changes == ()


@pytest.mark.parametrize("came", ["joined", "added"])
def test_a_writer_that_is_new_is_there_and_one_that_is_gone_is_not_but_one_that_was_never_configured(
    came: Came,
) -> None:
    other = Member("redis://j:6379/0", 3, 4, "maint", 5.0, came)
    gone = Member("redis://gone:6379/0", 5, 5, "drain")
    saved = intent_of(version=3, a=30, gone=gone, j=other)
    intent, changes = merged(saved, TTL_MS, intent_of(a=30, new=9))
    assert list(intent.members) == ["a", "new", "j"]
    assert intent.members["j"] == other
    assert intent.version == 4
    assert changes == (
        Change("new", "redis", None, "redis://new:6379/0"),
        Change("new", "weight", None, 9),
        Change("gone", "redis", "redis://gone:6379/0", None),
        Change("gone", "weight", 5, None),
        Change("gone", "state", "drain", None),
    )


@pytest.mark.parametrize("came", ["joined", "added"])
def test_one_that_is_configured_now_is_as_any_other_and_goes_with_the_configuration(came: Came) -> None:
    saved = intent_of(a=1, j=Member("redis://j:6379/0", 3, 4, came=came))
    intent, changes = merged(saved, TTL_MS, intent_of(a=1, j=3))
    assert intent.members["j"] == Member("redis://j:6379/0", 3, 4)
    assert changes == ()
    assert list(merged(intent, TTL_MS, intent_of(a=1))[0].members) == ["a"]


def _remembered_after(path: Path, saved: Intent, remembered: Remembered, configured: Intent) -> Remembered:
    control_file(path).save(saved, History(), remembered)
    return control_file(path, configured).load(NOW_S)[2]


def test_the_process_of_a_writer_that_the_configuration_has_no_more_is_that_of_a_removed_one(path: Path) -> None:
    """Else it would join by itself, as it still runs."""
    saved = intent_of(a=1, gone=1, j=Member("redis://j:6379/0", 3, 4, came="joined"))
    known = {"a": b"a.1", "gone": b"gone.1", "j": b"j.1"}
    remembered = Remembered(processes=known, removed={b"x.1": "x"}, away={"gone", "j"})
    assert _remembered_after(path, saved, remembered, intent_of(a=1)) == Remembered(
        processes={"a": b"a.1", "j": b"j.1"}, removed={b"x.1": "x", b"gone.1": "gone"}, away={"j"}
    )


def test_a_writer_that_is_configured_anew_is_heard_again_and_one_that_came_otherwise_is_not(path: Path) -> None:
    saved = intent_of(a=1, added=Member("redis://b:6379/0", 3, 4, came="added"))
    remembered = Remembered(removed={b"c.1": "c", b"added.1": "added", b"x.1": "x", b"c.2": "c"})
    assert _remembered_after(path, saved, remembered, intent_of(a=1, c=1)) == Remembered(
        removed={b"added.1": "added", b"x.1": "x"}
    )


def test_the_oldest_of_many_that_were_removed_is_forgotten(path: Path) -> None:
    removed = {b"c.%d" % number: "c" for number in range(MAX_REMOVED + 3)}
    kept = _remembered_after(path, intent_of(a=1), Remembered(removed=removed), intent_of(a=1)).removed
    assert list(kept) == list(removed)[3:]


def test_an_edited_time_to_live_wins_and_one_that_was_not_edited_does_not() -> None:
    saved = intent_of(ttl_ms=600_000, a=1)
    assert merged(saved, TTL_MS, intent_of(a=1)) == (saved, ())
    edited = Intent(1, 60_000, saved.members)
    intent, changes = merged(saved, TTL_MS, edited)
    assert (intent.ttl_ms, changes) == (60_000, (Change(None, "ttl", 600, 60),))


def test_where_no_weight_would_be_left_all_are_as_configured() -> None:
    saved = intent_of(a=Member("redis://a:6379/0", 30, 0), b=Member("redis://b:6379/0", 0, 0), gone=5)
    intent, changes = merged(saved, TTL_MS, intent_of(a=30, b=0))
    assert {name: member.weight for name, member in intent.members.items()} == {"a": 30, "b": 0}
    assert changes[-1] == Change("a", "weight", 0, 30)


def test_a_ramp_goes_on_but_not_for_a_weight_that_was_edited() -> None:
    ramp = Ramp({"a": 30, "b": 70, "gone": 1}, NOW_S, 60)
    saved = intent_of(a=Member("redis://a", 30, 80), b=Member("redis://b", 70, 20), gone=1, ramp=ramp)
    intent, _ = merged(saved, TTL_MS, intent_of(a=30, b=71, new=5))
    assert intent.ramp == replace(ramp, origin={"a": 30, "b": 71, "new": 5})
    assert intent.members["a"].weight == 80
