"""The history: bounded in entries and in bytes, encoded once, and what cannot be taken back does not crowd it."""

import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from router.history import MAX_BYTES, MAX_ENTRIES, Change, Entry, History, Kind

_MAX_NOTES = 100
_texts = st.text(max_size=30)
_values = st.none() | st.floats(0, 1e9) | _texts
_kinds: st.SearchStrategy[Kind] = st.sampled_from(
    ["weights", "ramp", "state", "ttl", "add", "remove", "join", "health"]
)


@st.composite
def _entries(draw: st.DrawFn, version: int = 1) -> Entry:
    changes = tuple(
        Change(draw(st.none() | _texts), draw(_texts), draw(_values), draw(_values))
        for _ in range(draw(st.integers(0, 3)))
    )
    by = draw(st.sampled_from(["(automatic)", "ada"]))
    over_s = draw(st.none() | st.floats(0.1, 100))
    return Entry(
        version, draw(st.floats(0, 2e9)), draw(_kinds), by, draw(st.none() | _texts), draw(_texts), over_s, changes
    )


def _entry(version: int, reason: str = "", request: str | None = None) -> Entry:
    return Entry(version, 0.0, "weights", "ada", None, reason, None, (), request, None)


def _note(version: int = 1) -> Entry:
    return Entry(version, 0.0, "health", "(automatic)", None, "", None, (Change("a", "health", "up", "down"),))


@given(st.lists(_entries(), max_size=8))
def test_entries_come_back_as_they_were_added(entries: list[Entry]) -> None:
    history = History()
    for entry in entries:
        before = list(history)
        longer = history.add(entry)
        assert list(history) == before, "the history that it was added to is as it was"
        history = longer
    assert list(history) == list(History(entries)) == entries
    assert list(reversed(history)) == history.entries() == entries[::-1]
    assert history.entries(2) == entries[::-1][:2]
    assert history.newest == (entries[-1] if entries else None)
    assert len(history) == len(entries)


@given(st.lists(_entries(), max_size=8))
def test_its_text_is_all_that_is_kept_on_disk(entries: list[Entry]) -> None:
    """Numbers come back as the same ones."""
    read = json.loads(History(entries).text)
    told = [
        {key: value for key, value in asdict(entry).items() if key not in ("request", "digest")} for entry in entries
    ]
    assert read == json.loads(json.dumps(told))


def test_the_oldest_are_dropped_beyond_so_many() -> None:
    history = History(_entry(version) for version in range(MAX_ENTRIES + 7))
    assert [entry.version for entry in history] == list(range(7, MAX_ENTRIES + 7))


def test_the_oldest_are_dropped_beyond_so_many_bytes() -> None:
    history = History(_entry(version, "x" * 10_000) for version in range(40))
    assert len(history.text) <= MAX_BYTES
    assert len(history.text) > MAX_BYTES - 12_000
    assert history.entries(1)[0].version == 39
    assert [entry.version for entry in history] == list(range(40 - len(history), 40))


def test_the_newest_is_kept_whatever_its_size() -> None:
    history = History([_entry(1), _entry(2, "x" * 2 * MAX_BYTES)])
    assert [entry.version for entry in history] == [2]
    assert [entry.version for entry in history.add(_entry(3))] == [3]


def test_a_writer_that_comes_and_goes_does_not_push_out_what_operators_did() -> None:
    history = History([_entry(2)])
    for _ in range(MAX_ENTRIES):
        history = history.add(_note(2))
    assert len(history) == 1 + _MAX_NOTES
    assert history.entries()[-1] == _entry(2)


def test_a_request_is_found_by_its_id_long_after_its_entry_is_gone() -> None:
    """However large the entries are: those of many writers push each other out soon."""
    history = History(_entry(version, "x" * 50_000, f"id of {version}") for version in range(100))
    assert len(history) < 10
    found = history.find("id of 7")
    assert found is not None
    assert found.version == 7
    assert history.find("id of 100") is None
    assert history.find("") is None


def test_clients_are_told_neither_ids_nor_digests() -> None:
    entry = Entry(2, 1.5, "ramp", "ada", "laptop", "why", 60.0, (Change("a", "weight", 1.0, 2.0),), "id", "digest")
    assert entry.text
    assert entry.told() == {
        "version": 2,
        "at": 1.5,
        "kind": "ramp",
        "by": "ada",
        "key": "laptop",
        "reason": "why",
        "over": 60.0,
        "changes": [{"writer": "a", "what": "weight", "before": 1.0, "after": 2.0}],
    }
