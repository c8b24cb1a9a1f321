"""`tapfan top`, once and refreshed."""

import json
import signal
import time

import pytest

from tests.process.reader_commands.commands import (
    FEW,
    IPV6,
    IPV6_SERVER,
    MANY,
    WIDTH,
    Live,
    OpenTerminal,
    Stored,
    made,
    run,
)
from tests.process.terminals import CTRL_C
from tests.tapfan.reader.storing import put_block


def test_top_ranks_talkers(stored: Stored) -> None:
    result = run("top", "--config", stored.whole)
    assert (result.exit_code, result.stderr) == (0, "")
    titles, *lines, summary = result.stdout.splitlines()
    assert titles.split() == ["packets", "share", "first", "seen", "last", "seen", "source"]
    assert [[*line.split()[:2], line.split()[-1]] for line in lines] == [
        ["1,900", "63.3%", MANY],
        ["1,000", "33.3%", FEW],
        ["100", "3.3%", IPV6],
    ]
    assert summary == "3,000 packets of 3 sources that are kept"
    assert max(map(len, result.stdout.splitlines())) <= WIDTH


def test_top_counts_by_what_it_is_told(stored: Stored) -> None:
    shown = [
        json.loads(run("top", "--by", by, "-n", "1", "--json", *more, "--config", stored.whole).stdout)
        for by, more in (("pair", ["--source", "::/0"]), ("destination", []), ("port", ["--flags", "S"]))
    ]
    (pair,), (destination,), (port,) = (each["talkers"] for each in shown)
    assert (pair["source"], pair["destination"], pair["packets"]) == (IPV6, IPV6_SERVER, 100)
    assert (destination["destination"], destination["packets"]) == ("198.51.100.200", 2900)
    assert (port["port"], port["packets"], port["share"]) == (443, 1000, 1.0)
    assert [each["keys"] for each in shown] == [1, 2, 1]
    assert (shown[0]["problems"], shown[0]["skipped"]) == ([], {})


def test_a_watch_is_refreshed_and_leaves_the_terminal_as_it_was(live: Live, terminal: OpenTerminal) -> None:
    put_block(live.server, made(100, 0, FEW, 1.0).batch)
    shown = terminal("top", "--watch", "--config", live.config)
    shown.show_until(lambda: "100 packets of 1 source that are kept" in shown.output)
    put_block(live.server, made(200, 100, IPV6, 1.0).batch)
    shown.show_until(lambda: "300 packets of 2 sources that are kept" in shown.output)
    shown.type(CTRL_C)
    assert shown.end() == 0
    after = _after_screen(shown.output)
    assert IPV6 in after, "what was seen last is left there"
    assert "\x1b" not in after


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_watch_needs_no_colour(live: Live, terminal: OpenTerminal, environment: dict[str, str]) -> None:
    put_block(live.server, made(100, 0, FEW, 1.0).batch)
    shown = terminal("top", "--watch", "--config", live.config, **environment)
    shown.show_until(lambda: shown.output.count("100 packets of 1 source that are kept") >= 2)
    shown.signal(signal.SIGTERM)
    assert shown.end() == 0
    assert not any(f"\x1b[{colour}m" in shown.output for colour in range(1, 108))
    if "TERM" in environment:
        assert "\x1b" not in shown.output
        assert max(map(len, shown.output.splitlines())) <= WIDTH
    else:
        _after_screen(shown.output)


def _after_screen(output: str) -> str:
    """What is shown after the command has left a screen of its own, and shown the cursor again."""
    screen, left, after = output.rpartition("\x1b[?1049l")
    assert left
    assert screen.startswith("\x1b[?1049h")
    assert "\x1b[?25h" in screen
    assert "Traceback" not in output
    return after


def test_a_watch_goes_on_when_its_window_has_passed(live: Live, terminal: OpenTerminal) -> None:
    put_block(live.server, made(100, 0, FEW, 0.0).batch)
    bounds = ("--since", "4s", "--until", f"{time.time():.3f}")
    shown = terminal("top", "--watch", *bounds, "--config", live.config, TERM="dumb")
    shown.show_until(lambda: "100 packets of 1 source" in shown.output)
    shown.show_until(lambda: "0 packets of 0 sources" in shown.output)
    shown.type(CTRL_C)
    assert shown.end() == 0


def test_a_watch_outlives_an_outage(live: Live, terminal: OpenTerminal) -> None:
    put_block(live.server, made(100, 0, FEW, 1.0).batch)
    shown = terminal("top", "--watch", "--config", live.config)
    shown.show_until(lambda: "100 packets of 1 source" in shown.output)
    moved = live.server.path.rename(live.server.path.with_suffix(".away"))
    shown.show_until(lambda: "no Redis can be read" in shown.output)
    moved.rename(live.server.path)
    told = len(shown.output)
    shown.show_until(lambda: "100 packets of 1 source" in shown.output[told:])
    shown.type(CTRL_C)
    assert shown.end() == 0
