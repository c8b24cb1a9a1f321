"""What operators want, on disk, in a file that is damaged, or that could not be written."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from router.history import History
from router.intent import Member
from router.remembered import MAX_REMOVED, Remembered
from router.repeats import MAX_CHARACTERS
from tapfan.control import AUTOMATIC
from tapfan.values import MAX_TTL_S, MAX_WEIGHT
from tests.router.damage import FOREIGN, set_aside
from tests.router.saving import NOTHING, NOW_S, control_file, intent_of, load
from tests.router.wanting import TTL_MS


def _valid() -> dict[str, Any]:
    member = {"redis": "redis://a", "configured": 1.0, "weight": 2.0, "state": "ready", "rampup_s": 0, "came": "added"}
    intent = {"version": 3, "ttl_ms": 1000, "members": {"a": member}, "ramp": None}
    return {
        "kind": "tapfan-control",
        "format": 1,
        "configured_ttl_ms": TTL_MS,
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
    """It is one of a router that remembered nothing else yet."""
    path.write_text(json.dumps(_valid()))
    assert load(path, intent_of(a=1))[0].version == 3
    path.write_bytes(_changed(_REMEMBERED, "remembered"))
    assert control_file(path, intent_of(a=1)).load(NOW_S)[2] == Remembered({"a": 7.5}, {"a": b"ab"}, {b"\xff": "c"})


_REMEMBERED = {"rampups": {"a": 7.5}, "processes": {"a": "6162"}, "removed": {"ff": "c"}}
_ENTRY = {"version": 1, "at_s": 1, "kind": "weights", "by": "x", "key": None, "reason": "", "over_s": None}


@pytest.mark.parametrize(
    "content",
    [
        *FOREIGN,
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
        _changed(None, "remembered"),
        _changed(_REMEMBERED | {"another": {}}, "remembered"),
        _changed(_REMEMBERED | {"rampups": {"a": -1}}, "remembered"),
        _changed(_REMEMBERED | {"rampups": {"a name with spaces": 1}}, "remembered"),
        _changed(_REMEMBERED | {"processes": {"a": ""}}, "remembered"),
        _changed(_REMEMBERED | {"processes": {"a": "616"}}, "remembered"),
        _changed(_REMEMBERED | {"processes": {"a": "6162\n"}}, "remembered"),
        _changed(_REMEMBERED | {"processes": {"a": "61" * 256}}, "remembered"),
        _changed(_REMEMBERED | {"away": ["a name with spaces"]}, "remembered"),
        _changed(_REMEMBERED | {"away": "a"}, "remembered"),
        _changed(_REMEMBERED | {"removed": {"xy": "c"}}, "remembered"),
        _changed(_REMEMBERED | {"removed": {f"{i:08x}": "c" for i in range(MAX_REMOVED + 1)}}, "remembered"),
    ],
)
def test_a_file_that_is_damaged_or_foreign_is_set_aside_and_the_configuration_holds(path: Path, content: bytes) -> None:
    configured = intent_of(a=30, b=70)
    with set_aside(path, content, "control_damaged"):
        intent, history = load(path, configured)
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
        intent, _ = load(path, intent_of(a=1))
    assert any(member.weight > 0 for member in intent.members.values())
    assert all(0 <= member.weight <= MAX_WEIGHT for member in intent.members.values())
    assert 1000 <= intent.ttl_ms <= MAX_TTL_S * 1000


def test_a_folder_in_its_place_is_set_aside(path: Path) -> None:
    (path / "something").mkdir(parents=True)
    with capture_logs() as lines:
        assert load(path, intent_of(a=1))[0] == intent_of(a=1)
    assert [line["event"] for line in lines] == ["control_damaged"]
    assert path.with_suffix(".damaged").is_dir()


def test_what_a_killed_router_had_half_written_is_not_looked_at(path: Path) -> None:
    saved = intent_of(version=5, a=Member("redis://a:6379/0", 1, 2))
    control_file(path).save(saved, History(), NOTHING)
    path.with_suffix(".new").write_text('{"kind": "tapfan-con')
    assert load(path, intent_of(a=1))[0] == saved
    control_file(path).save(saved, History(), NOTHING)


def test_a_saving_that_fails_raises_and_leaves_the_last_one(path: Path) -> None:
    control_file(path).save(intent_of(version=5, a=1), History(), NOTHING)
    before = path.read_bytes()
    path.with_suffix(".new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        control_file(path).save(intent_of(version=6, a=1), History(), NOTHING)
    assert path.read_bytes() == before


def test_where_the_disk_is_full_nothing_is_left_of_it(path: Path) -> None:
    path.with_suffix(".new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        control_file(path).save(intent_of(a=1), History(), NOTHING)
    assert not path.exists()
    assert not path.with_suffix(".new").is_symlink()
