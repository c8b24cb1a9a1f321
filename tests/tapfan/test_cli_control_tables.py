"""What the commands that steer show."""

from collections.abc import Callable, Mapping
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tapfan.cli import control_tables
from tests.tapfan.views import entry, view

Render = Callable[[Mapping[str, Any], Console], None]


def _lines(render: Render, result: dict[str, Any], *, terminal: bool = False) -> list[str]:
    output = StringIO()
    console = Console(file=output, width=80, markup=False, force_terminal=terminal, color_system=None)
    render(result, console)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_weights_and_states_are_shown_beside_the_configured_weights() -> None:
    told = view(weights={"a": 50.0, "b": 0.5}, shares={"a": 1.0, "b": 0.0}, states={"a": "ready", "b": "drain"})
    assert [line.split() for line in _lines(control_tables.view, told)] == [
        ["writer", "weight", "share", "configured", "state"],
        ["a", "50", "100.0%", "30", "ready"],
        ["b", "0.5", "0.0%", "70", "drain"],
        ["version", "2"],
    ]


def test_a_ramp_is_shown_with_what_it_moves_and_how_long_it_takes() -> None:
    ramp = {
        "from": {"a": 30.0, "b": 70.0, "c": 1.0},
        "to": {"a": 50.0, "b": 50.0, "c": 1.0},
        "over": 60.0,
        "left": 47.6,
    }
    assert "ramp: a 30 -> 50, b 70 -> 50: 48s of 1m left" in _lines(control_tables.view, view(ramp=ramp))


@pytest.mark.parametrize(
    ("left", "text"), [(0.02, "1s"), (59.7, "1m"), (3599.0, "59m59s"), (7200.2, "2h"), (90_061.0, "25h1m1s")]
)
def test_the_time_left_is_told_to_the_second_and_never_as_none(left: float, text: str) -> None:
    assert control_tables.left(left) == text


def test_the_ttl_is_shown_beside_the_configured_one_and_an_undo_shows_all() -> None:
    told = view(ttl=600.0)
    assert _lines(control_tables.ttl, told) == ["records live 10m; configured: 5m"]
    assert _lines(control_tables.undo, told | {"undone": []}) == [
        "records live 10m; configured: 5m",
        *_lines(control_tables.view, told),
    ]


def test_an_undo_says_whose_changes_it_took_back_the_newest_first() -> None:
    made = [
        entry("state", ("b", "state", "ready", "drain"), version=3, by="ben", reason="\x1b[2J"),
        entry("weights", ("a", "weight", 30.0, 70.0), version=2),
    ]
    first, second, third, *_ = _lines(control_tables.undo, view() | {"undone": made})
    assert first.startswith("took back version 3, ")
    assert first.endswith(", by ben: state b ready -> drain: \ufffd[2J")
    assert second.startswith("took back version 2, ")
    assert second.endswith(", by anna: weight a 30 -> 70")
    assert third == "records live 5m; configured: 5m"
    lines = _lines(control_tables.undo, view() | {"undone": made * 6})
    assert sum(line.startswith("took back") for line in lines) == 10
    assert lines[10] == "and 2 more: see `tapfan history`"


def test_the_history_is_a_line_each_for_programs_and_folded_under_its_column_on_a_terminal() -> None:
    reason = "the disk of the old host is nearly full, and the new one has three times as much room " * 2
    long = entry("weights", ("a", "weight", 30.0, 70.0), reason=reason.strip(), version=12)
    told = {"version": 12, "entries": [long, entry("health", ("b", "health", "up", "down"), by="(automatic)")]}
    title, first, second = _lines(control_tables.history, told)
    assert title.split() == ["version", "when", "by", "what"]
    assert first.endswith(f"anna        weight a 30 -> 70: {reason.strip()}")
    assert second.split()[-6:] == ["(automatic)", "health", "b", "up", "->", "down"]
    folded = _lines(control_tables.history, told, terminal=True)
    assert len(folded) > 3
    assert max(map(len, folded)) <= 80
    assert all(line.startswith(" " * title.index("what")) for line in folded[2:-1])


def test_what_an_operator_said_cannot_steer_the_terminal() -> None:
    told = {"version": 1, "entries": [entry("ttl", by="\x1b[2J", reason="\x9b[red]")]}
    lines = _lines(control_tables.history, told)
    assert all(line.isprintable() for line in lines)
    assert "\ufffd[2J" in lines[1]
    assert "[red]" in lines[1]
