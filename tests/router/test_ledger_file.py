"""The ledger on disk: a router that starts goes on with what the one before it had counted."""

import json
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from router.house import House
from router.ledger import LedgerFile
from router.status import status
from tapfan.bounds import MAX_COUNT
from tapfan.messages import Gap
from tests.router.damage import FOREIGN, set_aside
from tests.router.housing import TTL_MS, a_house, a_listener_report, ledger_of, stored
from tests.router.sharing import STREAM, a_batch, shares_in

_LATER, _LEFTOVER = "local.00000002", "local.0000000a"
_LONG_S = 100.0


def _save(house: House, path: Path) -> None:
    LedgerFile(path, structlog.get_logger()).save(house)


def _restored(path: Path) -> House:
    """A new router's house with the counts of the file."""
    house = a_house()
    LedgerFile(path, structlog.get_logger()).restore(house)
    return house


def _counts(house: House, now_s: float = 0.0) -> dict[str, Any]:
    """What the status says of listeners, and the ledger, apart from who reports at the moment."""
    told = status(house, now_s)
    listeners = {name: entry | {"health": None} for name, entry in told["listeners"].items()}
    return {"listeners": listeners, "ledger": told["ledger"]}


def _store_all(house: House, expired: int = 0) -> None:
    """Let the writers store what they have been given, apart from so many records of each share."""
    for name, writer in house.writers.items():
        while (message := writer.lane.next_unsent()) is not None:
            writer.lane.mark_sent()
            for _, number, records in shares_in(message):
                gone = min(expired, len(records))
                house.take_stored(stored(name, number, len(records) - gone, gone), 0.0)


def _a_long_history() -> House:
    """A house with everything that can be counted, and at rest."""
    house = a_house()
    house.take_listener_report(a_listener_report(captured=50, kernel_drops=3), b"", 0.0)
    house.take_batch(a_batch(0, 40))
    _store_all(house, expired=1)
    house.take_listener_report(a_listener_report(_LATER), b"", 0.0)
    house.look(_LONG_S)
    house.take_listener_report(
        a_listener_report(_LEFTOVER, live=False, base=100, sent=100, captured=130, spooled=30), b"", _LONG_S
    )
    edge = a_listener_report("edge.00000001", base=7, lost={"dropped_disk": 2}, sent=7, captured=9)
    house.take_listener_report(edge, b"", _LONG_S)
    house.take_batch(a_batch(100, 10, _LEFTOVER))
    house.take_batch(a_batch(0, 20, _LATER))
    house.take_gap(Gap(stream=_LATER, first=20, end=25, reason="dropped_spool_full"))
    _store_all(house, expired=2)
    house.take_listener_report(
        a_listener_report(_LATER, base=25, sent=25, captured=60, spooled=20, kernel_drops=1, leftovers=[_LEFTOVER]),
        b"",
        _LONG_S,
    )
    return house


def test_a_router_that_starts_goes_on_with_what_the_one_before_it_had_counted(path: Path) -> None:
    house = _a_long_history()
    before = _counts(house, _LONG_S)
    assert before["ledger"]["lost"] == {
        "expired_at_writer": 2 + 4 + 4,
        "dropped_listener_killed": 10,
        "dropped_spool_full": 5,
        "dropped_disk": 2,
    }
    assert all(before["ledger"][key] for key in before["ledger"])
    _save(house, path)
    assert _counts(_restored(path)) == before
    _save(_restored(path), path)
    assert _counts(_restored(path)) == before, "also when nobody has reported meanwhile"


def test_nobody_of_whom_only_the_file_tells_counts_as_up(path: Path) -> None:
    _save(_a_long_history(), path)
    told = status(_restored(path), 0.0)
    assert {entry["health"] for entry in told["listeners"].values()} == {"absent"}
    assert {entry["health"] for entry in told["writers"].values()} == {"absent"}


def test_what_was_on_its_way_is_so_again_and_nothing_that_was_captured_is_forgotten(path: Path) -> None:
    """Also what has come in after the listener's last report."""
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(captured=10), b"", 0.0)
    house.take_batch(a_batch(0, 30))
    house.take_batch(a_batch(30, 30))
    house.take_stored(stored("a", 1, 28, 2), 0.0)
    before = ledger_of(house)
    assert (before["captured"], before["stored"], before["expired"], before["in_flight"]) == (60, 28, 2, 30)
    _save(house, path)
    restored = _restored(path)
    told = ledger_of(restored)
    assert (told["captured"], told["in_flight"], told["balanced"]) == (60, 60, True)
    assert (told["stored"], told["lost"]) == (0, {})
    assert restored.listeners[STREAM].stream.acknowledged == 0


@pytest.mark.parametrize("base", [0, 10, 20, 30])
def test_of_a_listener_that_reports_again_the_ledger_is_exact(path: Path, base: int) -> None:
    """Whether the acknowledgement that was saved had not reached it, or it has had more of them since."""
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(captured=40), b"", 0.0)
    house.take_batch(a_batch(0, 10))
    house.take_batch(a_batch(10, 10))
    _store_all(house, expired=1)
    _save(house, path)
    house = _restored(path)
    lost = {"expired_at_writer": base // 10} if base else {}
    report = a_listener_report(base=base, sent=base, lost=lost, captured=40)
    assert house.take_listener_report(report, b"", 0.0).acknowledgement(TTL_MS).expected == base
    assert house.take_batch(a_batch(base, 40 - base))
    _store_all(house)
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (40, 40 - base // 10, lost)
    assert (ledger["in_flight"], ledger["balanced"]) == (0, True)


def test_nothing_is_taken_of_a_stream_of_which_only_the_file_tells(path: Path) -> None:
    """A listener that finds its router again may send a batch before it reports: where it stands is not known."""
    house = a_house()
    house.take_listener_report(a_listener_report(), b"", 0.0)
    house.take_batch(a_batch(0, 10))
    _store_all(house)
    _save(house, path)
    house = _restored(path)
    assert not house.take_batch(a_batch(10, 5))
    assert house.take_gap(Gap(stream=STREAM, first=10, end=15, reason="dropped_disk")) is None
    house.take_listener_report(a_listener_report(base=10, sent=15, captured=15), b"", 0.0)
    assert ledger_of(house)["balanced"]
    assert house.take_batch(a_batch(10, 5))
    _store_all(house)
    assert house.listeners[STREAM].acknowledgement(TTL_MS).acknowledged == 15


def test_of_a_listener_that_never_comes_back_it_is_not_known_what_became_of_the_rest(path: Path) -> None:
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(captured=50, spooled=5), b"", 0.0)
    house.take_batch(a_batch(0, 10))
    house.take_batch(a_batch(10, 20))
    house.take_stored(stored("a", 0, 10), 0.0)
    _save(house, path)
    house = _restored(path)
    house.look(_LONG_S)
    ledger = ledger_of(house, _LONG_S)
    assert (ledger["stored"], ledger["in_flight"], ledger["spooled"], ledger["lost"]) == (10, 35, 5, {})
    house.take_listener_report(a_listener_report(_LATER), b"", _LONG_S)
    for _ in range(2):
        ledger = ledger_of(house, _LONG_S)
        assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (50, 10, {"dropped_untracked": 40})
        house.look(_LONG_S)
    assert list(house.listeners) == [_LATER]


def test_of_what_is_left_over_of_a_listener_that_ended_with_the_router_only_the_gap_is_untracked(path: Path) -> None:
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(captured=50, kernel_drops=3), b"", 0.0)
    house.take_batch(a_batch(0, 10))
    _store_all(house)
    _save(house, path)
    house = _restored(path)
    left_over = a_listener_report(live=False, base=30, sent=30, captured=50, spooled=20)
    house.take_listener_report(left_over, b"another start", 0.0)
    house.take_listener_report(a_listener_report(_LATER, leftovers=[STREAM]), b"another start", 0.0)
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["spooled"]) == (50, 10, 20)
    assert ledger["lost"] == {"dropped_untracked": 20}
    assert house.take_batch(a_batch(30, 20))
    _store_all(house)
    assert (ledger_of(house)["stored"], ledger_of(house)["in_flight"]) == (30, 0)
    assert status(house, 0.0)["listeners"]["local"]["kernel_drops"] == 3


def test_what_an_earlier_router_told_the_listener_that_has_the_rest_is_no_gap(path: Path) -> None:
    """Even if that was after the last saving."""
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(_LEFTOVER, live=False, captured=100), b"same", 0.0)
    _save(house, path)
    house = _restored(path)
    later = a_listener_report(_LEFTOVER, live=False, number=9, base=50, sent=50, captured=100)
    house.take_listener_report(later, b"same", 0.0)
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (100, 50, {})


def test_a_stream_of_which_only_the_rest_was_known_is_still_counted_from_there(path: Path) -> None:
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(_LEFTOVER, live=False, base=100, sent=100, captured=130), b"", 0.0)
    house.take_batch(a_batch(100, 10, _LEFTOVER))
    _store_all(house)
    _save(house, path)
    house = _restored(path)
    house.take_listener_report(a_listener_report(_LEFTOVER, live=False, base=110, sent=110, captured=130), b"", 0.0)
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["in_flight"], ledger["lost"]) == (30, 10, 20, {})


def _valid(**changes: Any) -> bytes:
    return json.dumps({"version": 1, "earlier": {}, "streams": []} | changes).encode()


@pytest.mark.parametrize(
    "content",
    [
        *FOREIGN,
        _valid(version=2),
        _valid(another=1),
        _valid(streams=[{}]),
        _valid(earlier={"local": {"stored": 1, "lost": {"dropped_by_nobody": 1}, "kernel_drops": 0}}),
        _valid(earlier={"local": {"stored": "many", "lost": {}, "kernel_drops": 0}}),
        _valid()[:-1],
    ],
)
def test_a_file_that_is_damaged_or_foreign_is_set_aside_and_counting_begins_at_zero(path: Path, content: bytes) -> None:
    with set_aside(path, content, "ledger_damaged"):
        house = _restored(path)
    assert (house.listeners, house.earlier) == ({}, {})
    _assert_usable(house, path)


def test_a_file_that_cannot_be_read_is_set_aside(path: Path) -> None:
    (path / "something").mkdir(parents=True)
    with capture_logs() as lines:
        house = _restored(path)
    (line,) = lines
    assert (line["event"], line["problem"]) == ("ledger_damaged", f"[Errno 21] Is a directory: '{path}'")
    assert path.with_suffix(".damaged").is_dir()
    _assert_usable(house, path)


def _assert_usable(house: House, path: Path) -> None:
    house.take_listener_report(a_listener_report(captured=7), b"", 0.0)
    _save(house, path)
    with capture_logs() as lines:
        assert ledger_of(_restored(path))["captured"] == 7
    assert lines == []


def test_a_valid_file_with_nothing_in_it_and_none_at_all_are_nothing_to_tell(path: Path) -> None:
    with capture_logs() as lines:
        assert _restored(path).listeners == {}
        path.write_bytes(_valid())
        assert _restored(path).listeners == {}
    assert lines == []


def test_where_it_cannot_be_written_that_is_told_and_tried_again(path: Path) -> None:
    path = path.parent / "run" / path.name
    file, house = LedgerFile(path, structlog.get_logger()), _a_long_history()
    with capture_logs() as lines:
        for _ in range(5):
            file.save(house)
    (line,) = lines
    assert (line["event"], line["log_level"], line["count"]) == ("ledger_not_saved", "warning", 1)
    assert "No such file or directory" in line["problem"]
    path.parent.mkdir()
    file.save(house)
    assert _counts(_restored(path)) == _counts(house, _LONG_S)


def test_a_writing_that_failed_leaves_the_last_one_as_it_was(path: Path) -> None:
    file, house = LedgerFile(path, structlog.get_logger()), a_house()
    file.save(house)
    before = path.read_bytes()
    path.with_suffix(".new").mkdir()
    house.take_listener_report(a_listener_report(captured=7), b"", 0.0)
    with capture_logs() as lines:
        file.save(house)
    assert [line["event"] for line in lines] == ["ledger_not_saved"]
    assert path.read_bytes() == before


def test_a_file_half_written_by_a_router_that_was_killed_is_not_looked_at(path: Path) -> None:
    _save(_a_long_history(), path)
    path.with_suffix(".new").write_text('{"version": 1, "earl')
    house = _restored(path)
    assert _counts(house) == _counts(_a_long_history(), _LONG_S)
    _save(house, path)
    assert not path.with_suffix(".new").exists()


def test_it_is_written_when_something_has_changed_and_not_otherwise(path: Path) -> None:
    file, house = LedgerFile(path, structlog.get_logger()), _a_long_history()
    file.save(house)
    path.unlink()
    for _ in range(3):
        file.save(house)
        house.look(_LONG_S)
    assert not path.exists()
    house.take_listener_report(a_listener_report(_LATER, base=25, sent=25, captured=60, number=2), b"", _LONG_S)
    file.save(house)
    assert path.exists()


def test_sums_of_ever_so_many_streams_are_saved_and_read(path: Path) -> None:
    house = a_house()
    for number in range(100):
        report = a_listener_report(f"local.{number:08x}", captured=MAX_COUNT, kernel_drops=MAX_COUNT)
        house.take_listener_report(report, b"", number * _LONG_S)
        house.look(number * _LONG_S)
    _save(house, path)
    assert _counts(_restored(path)) == _counts(house)
    assert house.earlier["local"].kernel_drops > 30 * MAX_COUNT
