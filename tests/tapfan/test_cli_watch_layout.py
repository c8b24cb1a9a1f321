"""The screen of a watch, in sizes from a large window to a sliver."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from tapfan.cli.watch import layout
from tapfan.cli.watch.picture import Picture
from tapfan.cli.watch.state import State
from tests.tapfan.statuses import listener, status, writer
from tests.tapfan.views import entry

SIZES = [(80, 24), (80, 10), (120, 40), (40, 12), (20, 4), (2, 2)]
NOW_S = 100.0
LONG = "edge-writer-frankfurt-01-eu-cent"  # as long as a name may be
RAMP = {"from": {"a": 30.0, "b": 70.0}, "to": {"a": 70.0, "b": 70.0}, "over": 60.0, "left": 42.0}
ENTRIES = [
    entry("ramp", ("a", "weight", 30.0, 70.0), version=7, by="anna", over=60.0, reason="a has more memory"),
    entry("health", ("b", "health", "up", "down"), version=6, by="(automatic)"),
    entry("state", ("b", "state", "ready", "drain"), version=6, by="bert", key="ops"),
]


def _picture(entries: Sequence[dict[str, Any]] = ENTRIES, *names: str, **given: Any) -> Picture:
    picture = Picture()
    picture.take_status(status(*names), NOW_S - 2.0)
    picture.take_status(status(*names, **given), NOW_S)
    picture.take_history(entries)
    return picture


def _many() -> Picture:
    return _picture(ENTRIES, *(f"w{number:02}" for number in range(64)))


def _screen(picture: Picture, width: int, height: int, state: State | None = None, now_s: float = NOW_S) -> list[str]:
    state = state or State(by="anna")
    state.settle(picture)
    lines = layout.screen(picture, state, width, height, now_s)
    _check(lines, width, height)
    return [line.plain.rstrip() for line in lines]


def _check(lines: Sequence[Text], width: int, height: int) -> None:
    assert len(lines) == height
    assert max(line.cell_len for line in lines) <= width
    assert all(line.plain.isprintable() for line in lines)


def _row(lines: Sequence[str], name: str) -> str:
    return next(line for line in lines if line[2:].startswith(f"{name} "))


def test_a_screen_of_80_by_24_has_it_all() -> None:
    picture = _picture(ramp=RAMP)
    picture.writers["b"].update(state="drain", health="down", reason="Connection refused", rampup_left=12.0)
    lines = _screen(picture, 80, 24)
    assert lines[0].startswith("tapfan ")
    assert "version 7  14,201 rec/s  ttl 5m" in lines[0]
    assert lines[1] == "ramp 42s left of 1m: a 30 -> 70"
    assert lines[2] == "ramping up: b 12s left"
    titles = ["writer", "state", "health", "set", "eff", "target", "10s", "rec/s", "flight", "memory", "rtt", "ms"]
    assert lines[4].split() == titles
    cells = ["30", "30", "50.0%", "50.0%", "7,101", "8", "54.0M/2.00G", "0.21"]
    assert lines[5].split() == [">", "a", "ready", "up", *cells]
    assert lines[6].split() == ["b", "drain", "down", *cells]
    assert lines[7].startswith("a: redis://127.0.0.1:7101/0, configured 30, 602,050 stored")
    assert lines[8] == "b is down: Connection refused"
    assert lines[10] == "ledger: balanced, 1,204,117 captured = 1,204,100 stored + 17 in flight"
    assert lines[12].split() == ["local", "capture", "up", "0", "0", "17", "0", "1.20M"]
    assert [line[11:] for line in lines[15:18]] == [
        "v7 anna: ramp weight a 30 -> 70 over 1m: a has more memory",
        "v6 (automatic): health b up -> down",
        "v6 bert (ops): state b ready -> drain",
    ]
    assert lines[-1].startswith("j/k choose")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_size_shows_the_chosen_writer(width: int, height: int) -> None:
    for picture in (_picture(ramp=RAMP), _many(), Picture()):
        names: list[str | None] = [*picture.writers]
        for chosen in names[:: max(1, len(names) // 5)] or [None]:
            state = State(by="anna", chosen=chosen)
            state.settle(picture)
            lines = _screen(picture, width, height, state)
            assert height < 3 or chosen is None or any(line.startswith("> ") for line in lines)


@given(st.integers(2, 200), st.integers(2, 100), st.integers(0, 70), st.booleans(), st.sampled_from(["list", "help"]))
def test_any_size_is_filled_exactly(width: int, height: int, writers: int, is_gone: bool, mode: Any) -> None:
    picture = _picture(ENTRIES * 5, *(f"{LONG[:28]}{number:03}" for number in range(writers)), ramp=RAMP)
    picture.problem = "no reply from ipc:///work/run/control.ipc within 3 s" if is_gone else ""
    state = State(by="anna", mode=mode, top=50, message="a +1: refused " * 20)
    _screen(picture, width, height, state)


@pytest.mark.parametrize(("width", "height"), SIZES[:4])
def test_of_many_writers_those_around_the_chosen_one_are_shown(width: int, height: int) -> None:
    picture, state = _many(), State(by="anna")
    names = list(picture.writers)
    for chosen in (*names, *reversed(names)):
        state.chosen = chosen
        lines = _screen(picture, width, height, state)
        shown = [line[2:5] for line in lines if line[2:3] == "w" and line[3:5].isdigit()]
        first = names.index(shown[0])
        assert shown == names[first : first + len(shown)]
        assert f"writers {first + 1}-{first + len(shown)} of 64" in lines[0]
        assert _row(lines, chosen).startswith(">")
    state.press("page down", picture)
    assert state.chosen == names[state.page]


def test_what_gives_way_first_are_events_then_listeners() -> None:
    def sections(height: int) -> list[str]:
        text = "\n".join(_screen(picture, 80, height))
        marks = {"head": "tapfan ", "ramp": "ramp 42s", "notes": "b is down", "ledger": "ledger:", "keys": "? help"}
        marks |= {"listeners": "  local", "events": "v7 anna", "details": "a: redis"}
        return [name for name, mark in marks.items() if mark in text]

    picture = _picture(ramp=RAMP)
    picture.writers["b"].update(health="down", reason="Connection refused")
    assert sections(24) == ["head", "ramp", "notes", "ledger", "keys", "listeners", "events", "details"]
    assert sections(12) == ["head", "ramp", "notes", "ledger", "keys", "listeners", "events"]
    assert sections(10) == ["head", "ramp", "notes", "ledger", "keys", "listeners"]
    assert sections(8) == ["head", "ramp", "notes", "ledger", "keys"]
    assert sections(6) == ["head", "ramp", "keys"]
    assert sections(3) == ["head"]


def test_a_narrow_screen_keeps_the_columns_that_matter_most() -> None:
    titles = _screen(_picture(), 40, 10)[1].split()
    assert titles == ["writer", "state", "health", "set", "target", "10s"]


def test_a_long_name_is_shown_by_both_ends_or_whole_where_there_is_room() -> None:
    picture = _picture(ENTRIES, "a", LONG)
    assert "  edge~cent ready" in "\n".join(_screen(picture, 80, 24))
    assert f"  {LONG} ready" in "\n".join(_screen(picture, 120, 40))


def test_a_weight_of_many_digits_is_told_in_full() -> None:
    picture = _picture()
    picture.writers["a"].update(weight=33.333333333, projection={"needed": 2**20, "available": 2**30})
    lines = _screen(picture, 120, 24)
    assert _row(lines, "a").split()[4] == "33.3333"
    assert any(
        line.endswith("weight 33.333333333, configured 30, 602,050 stored, needs 1.0 MiB of 1.0 GiB") for line in lines
    )


def test_what_is_stale_is_marked_and_says_what_to_check() -> None:
    picture = _picture(ramp=RAMP)
    picture.problem = "no reply from ipc:///run/control.ipc within 3 s: is the router running (supervisorctl status)?"
    lines = _screen(picture, 80, 24, now_s=NOW_S + 12)
    assert "STALE 12s" in lines[0]
    assert " ".join(lines[1:3]) == picture.problem
    assert lines[3] == "ramp 30s left of 1m: a 30 -> 70", "time goes on"
    assert "STALE" not in _screen(picture, 80, 24)[0]


def test_before_the_first_picture_the_problem_is_shown() -> None:
    picture = Picture()
    assert _screen(picture, 80, 24)[0].startswith("tapfan ")
    picture.problem = "no reply from the router"
    assert "no reply from the router" in _screen(picture, 80, 24)


def test_what_is_not_well_is_told_of_the_chosen_writer_first() -> None:
    picture = _picture(listeners={"local": listener(health="spooling"), "second": listener(health="absent")})
    picture.writers["a"].update(health="absent")
    picture.writers["b"].update(health="down", reason="Connection refused", warnings=["its clock is ahead"])
    notes = [line for line in _screen(picture, 80, 40, State(by="anna", chosen="b")) if " is " in line]
    said = ["b is down", "a is absent", "warning", "local is spooling", "second is absent"]
    assert [note.split(":")[0] for note in notes] == said


def test_an_unbalanced_ledger_and_losses_are_said_in_words() -> None:
    ledger = status()["ledger"] | {"balanced": False, "expired": 3, "dropped": 2}
    text = "\n".join(_screen(_picture(ledger=ledger), 120, 40))
    assert "ledger: NOT BALANCED, 1,204,117 captured = 1,204,100 stored + 3 expired + 2 dropped + 17 in flight" in text


def test_kernel_drops_of_the_last_seconds_stand_beside_those_of_all() -> None:
    picture = _picture(listeners={"local": listener(captured=1_205_117, kernel_drops=123)})
    row = _row(_screen(picture, 80, 24), "local")
    assert row.split() == ["local", "capture", "up", "500", "123", "(+123)", "17", "0", "1.21M"]


def test_hostile_text_is_shown_and_does_nothing() -> None:
    bad = writer(health="down", reason="\x1b[2J\x1b]0;owned\x07 ok", warnings=["\x9b31m\r\n> fake ready up"])
    picture = _picture([entry("weights", reason="\x1b[2J" * 100, by="名前" * 30)], writers={"a": bad})
    for width, height in SIZES:
        lines = _screen(picture, width, height)
        assert not any(line.startswith("> fake") for line in lines)
    assert "ok" in "\n".join(_screen(picture, 80, 24))


def test_a_message_stands_at_the_bottom_in_as_many_lines_as_it_takes() -> None:
    state = State(by="anna")
    state.say("a +1: version 8 of bert is in force, not 7; look at `tapfan history`, and ask again with it", "bad")
    lines = _screen(_picture(), 80, 24, state)
    assert " ".join(lines[-3:-1]) == state.message
    assert _screen(_picture(), 200, 24, state)[-2] == state.message


def test_a_question_takes_the_place_of_the_message() -> None:
    state, picture = State(by="anna", message="done"), _picture()
    for key in "w50%":
        state.press(key, picture)
    lines = _screen(picture, 80, 24, state)
    assert lines[-2] == "weight of a (now 30, configured 30; 30, +10, -10, 50%): 50%_"
    assert "done" not in lines


def test_the_help_scrolls_where_it_is_too_long() -> None:
    state, picture = State(by="anna", mode="help"), _picture()
    assert "q, Ctrl-C     quit" not in _screen(picture, 40, 8, state)
    for _ in range(50):
        state.press("down", picture)
        lines = _screen(picture, 40, 8, state)
    assert lines[-1] == "q, Ctrl-C     quit"
    state.press("up", picture)
    assert _screen(picture, 40, 8, state)[-1].startswith("?"), "it has not gone beyond the end"
    assert any("quit" in line for line in _screen(picture, 80, 10, state))
    state.press("x", picture)
    assert state.mode == "list"


def test_who_may_only_read_sees_no_other_keys() -> None:
    state = State(by="anna", read_only=True)
    lines = _screen(_picture(), 80, 24, state)
    assert "read only" in lines[0]
    assert lines[-1] == "j/k choose  ? help  q quit"
    state.press("?", _picture())
    assert not any("drain" in line for line in _screen(_picture(), 80, 24, state))


def test_the_ramp_time_of_the_next_changes_is_shown() -> None:
    assert "changes over 1m" in _screen(_picture(), 80, 24, State(by="anna", over_s=60.0))[0]


def test_a_plain_block_has_all_writers_and_no_keys() -> None:
    lines = [line.plain for line in layout.block(_many(), State(by="anna"), 160, NOW_S)]
    assert sum(line.startswith("  w") and "ready" in line for line in lines) == 64
    assert not any("? help" in line or line.startswith(">") for line in lines)
