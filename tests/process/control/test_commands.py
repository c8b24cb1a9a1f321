"""Every command, and the events that tell of it."""

import time

from tests.process.control import document
from tests.process.control.asked import CONFIGURED, READY, refusal
from tests.process.control.plain_client import Control, Events
from tests.process.running import Programs, wait_for


def test_weights_are_one_atomic_change_with_a_version(control: Control) -> None:
    before = control.do("weights")
    after = control.do("weights", weights={"a": "+10", "b": "50%"}, by="anna", reason="more memory")
    assert (after["version"], after["weights"]) == (before["version"] + 1, {"a": 40, "b": 35})
    assert after["configured"] == CONFIGURED
    assert after["shares"] == {"a": 40 / 75, "b": 35 / 75}
    assert control.do("weights") == after
    assert control.do("weights", weights={"a": 40})["version"] == after["version"], "nothing changed"
    assert refusal(control, "weights", weights={"a": 1, "c": 1}) == "unknown_writer"
    assert control.do("weights") == after


def test_a_ramp_goes_on_by_itself_is_told_and_ends(control: Control) -> None:
    begun = control.do("weights", weights={"a": 70, "b": 30}, over="300ms")
    assert begun["weights"] == begun["ramp"]["to"] == {"a": 70, "b": 30}
    assert begun["ramp"]["from"] == CONFIGURED
    assert begun["ramp"]["over"] == 0.3
    wait_for(lambda: control.do("weights")["ramp"] is None, "it has ended")
    ended = control.do("weights")
    assert (ended["shares"], ended["version"]) == ({"a": 0.7, "b": 0.3}, begun["version"])
    end, start = control.do("history", limit=2)["entries"]
    assert (start["kind"], start["by"], start["over"]) == ("ramp", "local", 0.3)
    assert (end["kind"], end["by"], end["version"]) == ("ramp", "(automatic)", begun["version"])


def test_a_ramp_is_cancelled_where_it_is(control: Control) -> None:
    control.do("weights", weights={"a": 70, "b": 30}, over=86_400)
    ended = control.do("weights", cancel=True)
    assert (ended["ramp"], ended["weights"]) == (None, CONFIGURED)


def test_states_take_writers_out_and_back_in(control: Control) -> None:
    out = control.do("state", states={"b": "drain"})
    assert (out["states"], out["shares"]) == ({"a": "ready", "b": "drain"}, {"a": 1, "b": 0})
    assert out["weights"] == CONFIGURED
    assert control.do("state", states={"b": "maint"})["states"]["b"] == "maint"
    assert refusal(control, "state", states={"a": "drain"}) == "nobody_left"
    assert control.do("state", states={"a": "drain"}, force=True)["shares"] == {"a": 0, "b": 0}
    assert control.do("state", states=READY)["shares"] == {"a": 0.3, "b": 0.7}
    assert control.do("state")["states"] == READY


def test_the_ttl_is_read_and_set(control: Control) -> None:
    assert control.do("ttl", ttl="1h30m")["ttl"] == 5400
    assert control.do("ttl", ttl=600)["ttl"] == 600
    assert (control.do("ttl")["ttl"], control.do("ttl")["configured_ttl"]) == (600, 300)


def test_undo_goes_back_and_forth_and_to_any_version(control: Control) -> None:
    first = control.do("weights")
    control.do("weights", weights={"a": 1})
    control.do("ttl", ttl=600)
    undone = control.do("undo")
    assert (undone["ttl"], undone["weights"], undone["version"]) == (300, {"a": 1, "b": 70}, first["version"] + 3)
    assert control.do("undo")["ttl"] == 600
    back = control.do("undo", version=first["version"])
    assert (back["ttl"], back["weights"], back["version"]) == (300, CONFIGURED, first["version"] + 5)
    assert [entry["kind"] for entry in control.do("history", limit=5)["entries"]] == ["undo"] * 3 + ["ttl", "weights"]


def test_a_writer_is_added_and_removed(control: Control) -> None:
    added = control.do("add", name="c", redis="redis://127.0.0.1:1/0", weight=20, rampup="30s")
    assert (added["weights"]["c"], added["states"]["c"], added["shares"]["c"]) == (20, "ready", 0)
    assert control.do("status")["writers"]["c"]["redis"] == "redis://127.0.0.1:1/0"
    assert refusal(control, "add", name="c", redis="redis://127.0.0.1:1/0", weight=20) == "writer_exists"
    assert refusal(control, "undo") == "bad_request"
    removed = control.do("remove", name="c")
    assert removed["weights"] == CONFIGURED
    assert [entry["kind"] for entry in control.do("history", limit=2)["entries"]] == ["remove", "add"]


def test_the_history_says_who_when_why_and_from_what_to_what(control: Control) -> None:
    before_s = time.time()
    changed = control.do("weights", weights={"a": 40}, by="anna", reason="more memory")
    (entry,) = control.do("history", limit=1)["entries"]
    assert before_s - 1 <= entry.pop("at") <= time.time() + 1
    assert entry == {
        "version": changed["version"],
        "kind": "weights",
        "by": "anna",
        "key": None,
        "reason": "more memory",
        "over": None,
        "changes": [{"writer": "a", "what": "weight", "before": 30, "after": 40}],
    }
    assert sorted(document.names("history")) == sorted([*entry, "at"])


def test_events_tell_of_each_change_and_once_a_second_of_everything(running: Programs, control: Control) -> None:
    endpoint = running.endpoint("events")
    with Events(endpoint) as everything, Events(endpoint, "change") as changes:
        topic, status = everything.next()
        assert topic == "snapshot"
        assert status.keys() == control.do("status").keys()
        version = control.do("weights", weights={"a": 40}, by="anna")["version"]
        topic, entry = changes.next()
        assert (topic, entry["version"], entry["by"]) == ("change", version, "anna")
        assert control.do("history", limit=1)["entries"] == [entry]
        while (told := everything.next())[0] != "change":
            pass
        assert told[1] == entry
        topic, status = everything.next()
        assert (topic, status["version"], status["changed"]) == ("snapshot", version, entry)
        begun_s = time.monotonic()
        assert everything.next()[0] == everything.next()[0] == "snapshot"
        assert time.monotonic() - begun_s < 10
