"""What operators want, on disk: it comes back as it was, but for what was edited; and nothing else is taken for it."""

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from router.history import MAX_ENTRIES, Change, Entry, History
from router.intent import Came, Intent, Member, Ramp
from router.repeats import MAX_CHARACTERS
from router.saved import ControlFile, merged
from tapfan.control import AUTOMATIC
from tapfan.settings import MAX_WRITERS
from tapfan.values import MAX_TTL_S, MAX_WEIGHT

_NOW_S = 1_800_000_000.0
_TTL_MS = 300_000


def _intent(*, version: int = 1, ttl_ms: int = _TTL_MS, ramp: Ramp | None = None, **members: Member | float) -> Intent:
    """An intent with these members, or weights, that are configured as they are set."""
    made = {
        name: member if isinstance(member, Member) else Member(f"redis://{name}:6379/0", float(member), float(member))
        for name, member in members.items()
    }
    return Intent(version, ttl_ms, made, ramp)


def _file(path: Path, configured: Intent | None = None) -> ControlFile:
    return ControlFile(path, configured or _intent(a=1), structlog.get_logger())


def _loaded(path: Path, configured: Intent) -> tuple[Intent, History]:
    return _file(path, configured).load(_NOW_S)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where the state is kept; nothing else may be left beside it."""
    yield tmp_path / "control.json"
    assert not (tmp_path / "control.new").is_file()


_weights = st.floats(0, MAX_WEIGHT)
_times = st.floats(0, 1e11)
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)
_names = st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True)
_changes = st.builds(
    Change,
    st.none() | _names,
    st.sampled_from(["weight", "state", "ttl", "health", "redis", "configured"]),
    st.none() | _weights | _texts,
    st.none() | _weights | _texts,
)
_entries = st.builds(
    Entry,
    st.integers(1, 2**62),
    _times,
    st.sampled_from(["weights", "ramp", "state", "ttl", "add", "remove", "join", "undo", "health", "configuration"]),
    _texts,
    st.none() | _texts,
    _texts,
    st.none() | _times,
    st.lists(_changes, max_size=3).map(tuple),
    st.none() | _texts,
    st.none() | _texts,
)
_members = st.builds(
    Member,
    _texts,
    _weights,
    _weights,
    st.sampled_from(["ready", "drain", "maint"]),
    st.floats(0, 86_400),
    st.sampled_from(["configured", "added", "joined"]),
)


@st.composite
def _intents(draw: st.DrawFn) -> Intent:
    members = draw(st.dictionaries(_names, _members, min_size=1, max_size=4))
    first = next(iter(members))
    members[first] = replace(members[first], weight=draw(st.floats(0.001, MAX_WEIGHT)))
    origins = st.fixed_dictionaries(dict.fromkeys(members, _weights))
    ramp = draw(st.none() | st.builds(Ramp, origins, _times, st.floats(0.1, 86_400)))
    ttls = st.integers(1000, MAX_TTL_S * 1000)
    return Intent(draw(st.integers(1, 2**62)), draw(ttls), members, ramp)


@given(_intents(), st.lists(_entries, max_size=5))
def test_all_of_it_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, intent: Intent, entries: Any) -> None:
    """Where the configuration is the same."""
    path = tmp_path_factory.mktemp("saved") / "control.json"
    history = History(entries)
    configured = Intent(
        1,
        _TTL_MS,
        {
            name: replace(member, weight=member.configured, state="ready")
            for name, member in intent.members.items()
            if member.came == "configured"
        },
    )
    _file(path, configured).save(intent, history)
    with capture_logs() as lines:
        loaded, loaded_history = _loaded(path, configured)
    assert lines == []
    assert loaded == intent
    assert list(loaded_history) == list(history)
    assert loaded_history.text == history.text
    assert loaded_history.repeats.text == history.repeats.text


def test_what_was_applied_is_known_after_a_restart_though_its_entry_is_gone(path: Path) -> None:
    entries = (_entry_of(number) for number in range(1, 2 * MAX_ENTRIES))
    _file(path).save(_intent(a=1), History(entries))
    _, history = _loaded(path, _intent(a=1))
    assert len(history) == MAX_ENTRIES
    applied = history.find("request 1")
    assert applied is not None
    assert (applied.version, applied.is_same("digest 1"), applied.is_same("digest 2")) == (1, True, False)
    assert history.find("request 0") is None
    assert history.add(_entry_of(0)).find("request 0") is not None


def _entry_of(number: int) -> Entry:
    return Entry(number, _NOW_S, "ttl", "ann", None, "", None, (), f"request {number}", f"digest {number}")


def test_the_file_is_for_nobody_else_and_replaces_the_one_before(path: Path) -> None:
    for version in (1, 2):
        _file(path).save(_intent(version=version, a=1), History())
        assert stat.S_ISREG(path.lstat().st_mode)
    assert json.loads(path.read_bytes())["intent"]["version"] == 2


def test_the_largest_one_can_be_read_back(path: Path) -> None:
    members = {f"{i:032}": Member("redis://" + "é" * 600, 0.1, 1 / 3) for i in range(MAX_WRITERS)}
    changes = tuple(Change(name, "weight", 0.1, 1 / 3) for name in members)
    history = History(Entry(i, _NOW_S, "weights", "x" * 64, None, "y" * 200, None, changes) for i in range(1, 20))
    intent = Intent(1, _TTL_MS, members)
    _file(path).save(intent, history)
    configured = replace(intent, members={name: replace(member, weight=0.1) for name, member in members.items()})
    assert _loaded(path, configured)[0] == intent


def test_without_a_file_the_configuration_holds_and_that_is_nothing_to_tell(path: Path) -> None:
    configured = _intent(a=30, b=70)
    with capture_logs() as lines:
        intent, history = _loaded(path, configured)
    assert (intent, len(history), lines) == (configured, 0, [])
    assert not path.exists()


def test_of_an_edited_weight_the_file_wins_for_that_writer_only(path: Path) -> None:
    saved = _intent(
        version=7, a=Member("redis://a:6379/0", 30, 80), b=Member("redis://b:6379/0", 70, 20, "maint"), c=5.0
    )
    _file(path).save(saved, History())
    with capture_logs() as lines:
        intent, history = _loaded(path, _intent(a=40, b=70, c=5))
    assert {name: member.weight for name, member in intent.members.items()} == {"a": 40, "b": 20, "c": 5}
    assert intent.members["b"].state == "maint"
    assert intent.version == 8
    (line,) = lines
    assert (line["event"], line["log_level"], line["version"]) == ("configuration_edited", "info", 8)
    assert line["changes"] == "a: configured 30.0 -> 40.0; a: weight 80.0 -> 40.0"
    assert history.newest == Entry(
        8,
        _NOW_S,
        "configuration",
        "(automatic)",
        None,
        "the configuration was edited",
        None,
        (Change("a", "configured", 30, 40), Change("a", "weight", 80, 40)),
    )


def test_an_edit_is_told_once(path: Path) -> None:
    _file(path).save(_intent(a=30, b=70), History())
    configured = _intent(a=40, b=70)
    intent, history = _loaded(path, configured)
    _file(path).save(intent, history)
    with capture_logs() as lines:
        again, history_again = _loaded(path, configured)
    assert (again, history_again.text, lines) == (intent, history.text, [])


def test_a_state_holds_though_the_weight_was_edited() -> None:
    saved = _intent(a=Member("redis://a", 30, 30, "drain"), b=70.0)
    assert merged(saved, _TTL_MS, _intent(a=31, b=70))[0].members["a"].state == "drain"


def test_where_a_writer_stores_is_as_configured() -> None:
    saved = _intent(a=Member("redis://old", 30, 50, rampup_s=5), b=70.0)
    configured = _intent(a=Member("redis://new", 30, 30, rampup_s=9), b=70.0)
    intent, changes = merged(saved, _TTL_MS, configured)
    assert intent.members["a"] == Member("redis://new", 30, 50, rampup_s=9)
    assert changes == ()


@pytest.mark.parametrize("came", ["joined", "added"])
def test_a_writer_that_is_new_is_there_and_one_that_is_gone_is_not_but_one_that_was_never_configured(
    came: Came,
) -> None:
    other = Member("redis://j:6379/0", 3, 4, "maint", 5.0, came)
    saved = _intent(version=3, a=30, gone=5, j=other)
    intent, changes = merged(saved, _TTL_MS, _intent(a=30, new=9))
    assert list(intent.members) == ["a", "new", "j"]
    assert intent.members["j"] == other
    assert intent.version == 4
    assert changes == (
        Change("new", "redis", None, "redis://new:6379/0"),
        Change("new", "weight", None, 9),
        Change("gone", "redis", "redis://gone:6379/0", None),
        Change("gone", "weight", 5, None),
    )


@pytest.mark.parametrize("came", ["joined", "added"])
def test_one_that_is_configured_now_is_as_any_other_and_goes_with_the_configuration(came: Came) -> None:
    saved = _intent(a=1, j=Member("redis://j:6379/0", 3, 4, came=came))
    intent, changes = merged(saved, _TTL_MS, _intent(a=1, j=3))
    assert intent.members["j"] == Member("redis://j:6379/0", 3, 4)
    assert changes == ()
    assert list(merged(intent, _TTL_MS, _intent(a=1))[0].members) == ["a"]


def test_an_edited_time_to_live_wins_and_one_that_was_not_edited_does_not() -> None:
    saved = _intent(ttl_ms=600_000, a=1)
    assert merged(saved, _TTL_MS, _intent(a=1)) == (saved, ())
    edited = Intent(1, 60_000, saved.members)
    intent, changes = merged(saved, _TTL_MS, edited)
    assert (intent.ttl_ms, changes) == (60_000, (Change(None, "ttl", 600, 60),))


def test_where_no_weight_would_be_left_all_are_as_configured() -> None:
    saved = _intent(a=Member("redis://a:6379/0", 30, 0), b=Member("redis://b:6379/0", 0, 0), gone=5)
    intent, changes = merged(saved, _TTL_MS, _intent(a=30, b=0))
    assert {name: member.weight for name, member in intent.members.items()} == {"a": 30, "b": 0}
    assert changes[-1] == Change("a", "weight", 0, 30)


def test_a_ramp_goes_on_but_not_for_a_weight_that_was_edited() -> None:
    ramp = Ramp({"a": 30, "b": 70, "gone": 1}, _NOW_S, 60)
    saved = _intent(a=Member("redis://a", 30, 80), b=Member("redis://b", 70, 20), gone=1, ramp=ramp)
    intent, _ = merged(saved, _TTL_MS, _intent(a=30, b=71, new=5))
    assert intent.ramp == replace(ramp, origin={"a": 30, "b": 71, "new": 5})
    assert intent.members["a"].weight == 80


def _valid() -> dict[str, Any]:
    member = {"redis": "redis://a", "configured": 1.0, "weight": 2.0, "state": "ready", "rampup_s": 0, "came": "added"}
    intent = {"version": 3, "ttl_ms": 1000, "members": {"a": member}, "ramp": None}
    return {
        "kind": "tapfan-control",
        "format": 1,
        "configured_ttl_ms": _TTL_MS,
        "intent": intent,
        "history": [],
        "repeats": "AB/+" * 10,
    }


def _changed(value: Any, *place: str) -> bytes:
    content = _valid()
    inside = content
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return json.dumps(content).encode()


def test_the_valid_file_of_these_tests_is_valid(path: Path) -> None:
    path.write_text(json.dumps(_valid()))
    assert _loaded(path, _intent(a=1))[0].version == 3


_ENTRY = {"version": 1, "at_s": 1, "kind": "weights", "by": "x", "key": None, "reason": "", "over_s": None}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4096,
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"name": "of something else"}',
        b"[" * 100_000,
        json.dumps(_valid()).encode()[:-1],
        _changed("tapfan-ledger", "kind"),
        _changed(2, "format"),
        _changed(1, "another"),
        _changed(0, "configured_ttl_ms"),
        _changed({}, "intent", "members"),
        _changed(0, "intent", "version"),
        _changed(2**63, "intent", "version"),
        _changed(True, "intent", "ttl_ms"),
        _changed(999, "intent", "ttl_ms"),
        _changed(-1, "intent", "members", "a", "weight"),
        _changed(0, "intent", "members", "a", "weight"),
        _changed(1e300, "intent", "members", "a", "weight"),
        _changed("many", "intent", "members", "a", "weight"),
        _changed(float("nan"), "intent", "members", "a", "weight"),
        _changed(float("inf"), "intent", "members", "a", "configured"),
        _changed("asleep", "intent", "members", "a", "state"),
        _changed("x" * 65_537, "intent", "members", "a", "redis"),
        _changed(_valid()["intent"]["members"]["a"], "intent", "members", "a name with spaces"),
        _changed({"origin": {"a": 1}, "begun_s": 1, "over_s": 0}, "intent", "ramp"),
        _changed({"origin": {"a": -1}, "begun_s": 1, "over_s": 1}, "intent", "ramp"),
        _changed([_ENTRY], "history"),
        _changed([_ENTRY | {"changes": [], "kind": "magic"}], "history"),
        _changed([_ENTRY | {"changes": []}] * 501, "history"),
        _changed("weird", "intent", "members", "a", "came"),
        _changed("A" * 19, "repeats"),
        _changed("A" * 19 + "=", "repeats"),
        _changed("A" * 20 + "\n", "repeats"),
        _changed("A" * (MAX_CHARACTERS + 20), "repeats"),
        _changed(None, "repeats"),
    ],
)
def test_a_file_that_is_damaged_or_foreign_is_set_aside_and_the_configuration_holds(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    earlier, aside = path.with_suffix(".damaged"), path.with_suffix(".damaged.1")
    earlier.write_text("an earlier one")
    configured = _intent(a=30, b=70)
    with capture_logs() as lines:
        intent, history = _loaded(path, configured)
    (line,) = lines
    assert (line["event"], line["log_level"], line["moved_to"]) == ("control_damaged", "error", str(aside))
    assert 0 < len(line["problem"]) < 300
    assert (earlier.read_text(), aside.read_bytes(), path.exists()) == ("an earlier one", content, False)
    (entry,) = history
    assert (intent, entry.kind, entry.by) == (configured, "configuration", AUTOMATIC)
    assert "damaged" in entry.reason


@given(st.binary(max_size=200), st.integers(0, 400))
@example(b"", 0)
def test_a_file_with_other_bytes_in_it_is_read_or_set_aside(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes, at: int
) -> None:
    """And what is read is in bounds."""
    path = tmp_path_factory.mktemp("damaged") / "control.json"
    content = json.dumps(_valid()).encode()
    path.write_bytes(content[:at] + damage + content[at + len(damage) :])
    with capture_logs():
        intent, _ = _loaded(path, _intent(a=1))
    assert any(member.weight > 0 for member in intent.members.values())
    assert all(0 <= member.weight <= MAX_WEIGHT for member in intent.members.values())
    assert 1000 <= intent.ttl_ms <= MAX_TTL_S * 1000


def test_a_folder_in_its_place_is_set_aside(path: Path) -> None:
    (path / "something").mkdir(parents=True)
    with capture_logs() as lines:
        assert _loaded(path, _intent(a=1))[0] == _intent(a=1)
    assert [line["event"] for line in lines] == ["control_damaged"]
    assert path.with_suffix(".damaged").is_dir()


def test_what_a_killed_router_had_half_written_is_not_looked_at(path: Path) -> None:
    saved = _intent(version=5, a=Member("redis://a:6379/0", 1, 2))
    _file(path).save(saved, History())
    path.with_suffix(".new").write_text('{"kind": "tapfan-con')
    assert _loaded(path, _intent(a=1))[0] == saved
    _file(path).save(saved, History())


def test_a_saving_that_fails_raises_and_leaves_the_last_one(path: Path) -> None:
    _file(path).save(_intent(version=5, a=1), History())
    before = path.read_bytes()
    path.with_suffix(".new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        _file(path).save(_intent(version=6, a=1), History())
    assert path.read_bytes() == before


def test_where_the_disk_is_full_nothing_is_left_of_it(path: Path) -> None:
    path.with_suffix(".new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        _file(path).save(_intent(a=1), History())
    assert not path.exists()
    assert not path.with_suffix(".new").is_symlink()
