"""What operators want, on disk: it comes back as it was."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from router.history import MAX_ENTRIES, Change, Entry, History
from router.intent import Intent, Member, Ramp
from router.remembered import Remembered
from tapfan.settings import MAX_WRITERS
from tapfan.values import MAX_TTL_S, MAX_WEIGHT
from tests.router.saving import NOTHING, NOW_S, control_file, intent_of, load
from tests.router.wanting import TTL_MS

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


@st.composite
def _remembered(draw: st.DrawFn, names: list[str]) -> Remembered:
    processes = draw(st.lists(st.binary(min_size=1, max_size=255), unique=True, max_size=6))
    known = dict(zip(names, processes, strict=False))
    return Remembered(
        draw(st.dictionaries(st.sampled_from(names), _times)),
        known,
        dict.fromkeys(processes[len(known) :], "gone"),
        draw(st.sets(st.sampled_from(list(known)))) if known else frozenset(),
    )


@given(st.data(), _intents(), st.lists(_entries, max_size=5))
def test_all_of_it_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, intent: Intent, entries: Any
) -> None:
    """Where the configuration is the same."""
    path = tmp_path_factory.mktemp("saved") / "control.json"
    history = History(entries)
    configured = Intent(
        1,
        TTL_MS,
        {
            name: replace(member, weight=member.configured, state="ready")
            for name, member in intent.members.items()
            if member.came == "configured"
        },
    )
    remembered = data.draw(_remembered(list(intent.members)))
    control_file(path, configured).save(intent, history, remembered)
    with capture_logs() as lines:
        loaded, loaded_history, loaded_remembered = control_file(path, configured).load(NOW_S)
    assert lines == []
    assert loaded == intent
    assert loaded_remembered == remembered
    assert list(loaded_history) == list(history)
    assert loaded_history.text == history.text
    assert loaded_history.repeats.text == history.repeats.text


def test_what_was_applied_is_known_after_a_restart_though_its_entry_is_gone(path: Path) -> None:
    entries = (_entry_of(number) for number in range(1, 2 * MAX_ENTRIES))
    control_file(path).save(intent_of(a=1), History(entries), NOTHING)
    _, history = load(path, intent_of(a=1))
    assert len(history) == MAX_ENTRIES
    applied = history.find("request 1")
    assert applied is not None
    assert (applied.version, applied.is_same("digest 1"), applied.is_same("digest 2")) == (1, True, False)
    assert history.find("request 0") is None
    assert history.add(_entry_of(0)).find("request 0") is not None


def _entry_of(number: int) -> Entry:
    return Entry(number, NOW_S, "ttl", "ann", None, "", None, (), f"request {number}", f"digest {number}")


def test_the_file_is_for_nobody_else_and_replaces_the_one_before(path: Path) -> None:
    for version in (1, 2):
        control_file(path).save(intent_of(version=version, a=1), History(), NOTHING)
        assert stat.S_ISREG(path.lstat().st_mode)
    assert json.loads(path.read_bytes())["intent"]["version"] == 2


def test_the_largest_one_can_be_read_back(path: Path) -> None:
    members = {f"{i:032}": Member("redis://" + "é" * 600, 0.1, 1 / 3) for i in range(MAX_WRITERS)}
    changes = tuple(Change(name, "weight", 0.1, 1 / 3) for name in members)
    history = History(Entry(i, NOW_S, "weights", "x" * 64, None, "y" * 200, None, changes) for i in range(1, 20))
    intent = Intent(1, TTL_MS, members)
    control_file(path).save(intent, history, NOTHING)
    configured = replace(intent, members={name: replace(member, weight=0.1) for name, member in members.items()})
    assert load(path, configured)[0] == intent


def test_without_a_file_the_configuration_holds_and_that_is_nothing_to_tell(path: Path) -> None:
    configured = intent_of(a=30, b=70)
    with capture_logs() as lines:
        intent, history = load(path, configured)
    assert (intent, len(history), lines) == (configured, 0, [])
    assert not path.exists()
