"""`tapfan query`, and what it has in common with the others: output, warnings, exit codes."""

import csv
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.process.reader_commands.commands import (
    COMMAND,
    FEW,
    IPV6,
    IPV6_SERVER,
    MANY,
    TITLES,
    WIDTH,
    Live,
    OpenTerminal,
    Stored,
    made,
    parsed,
    run,
)
from tests.process.running import DEADLINE_S, ROOT, wait_for
from tests.process.terminals import CTRL_C
from tests.tapfan.reader.storing import put_records


def test_a_pipe_gets_each_record_once_as_a_json_line_in_time_order(stored: Stored) -> None:
    result = run("query", "--config", stored.whole)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = parsed(result.stdout)
    assert [line["sport"] for line in lines] == list(range(10_000, 13_000))
    assert sorted(str(line["ts"]) for line in lines) == [line["ts"] for line in lines]
    assert {str(line["src"]) for line in lines} == {FEW, MANY, IPV6}
    assert lines[0] | {"ts": ""} == {
        "ts": "",
        "src": FEW,
        "sport": 10_000,
        "dst": "198.51.100.200",
        "dport": 443,
        "flags": "S",
        "segments": 1,
    }


@pytest.mark.parametrize(
    ("filters", "ports"),
    [
        (["--source", "203.0.113.0/28"], range(10_000, 11_000)),
        (["--source", "203.0.113.0/28", "--source", "2001:db8::/32"], [*range(10_000, 11_000), *range(12_900, 13_000)]),
        (["--destination", IPV6_SERVER], range(12_900, 13_000)),
        (["--flags", "S"], range(10_000, 11_000)),
        (["--port", "11000"], [11_000]),
        (["--port", "443", "--limit", "3"], range(12_997, 13_000)),
        (["--limit", "1000000"], range(10_000, 13_000)),
        (["--last", "1s"], []),
        (["--until", "30s ago", "--flags", "A", "--limit", "1"], [12_999]),
    ],
)
def test_options_choose_among_the_records(stored: Stored, filters: list[str], ports: Sequence[int]) -> None:
    result = run("query", *filters, "--config", stored.whole)
    assert (result.exit_code, [line["sport"] for line in parsed(result.stdout)]) == (0, list(ports))


def test_what_a_query_printed_names_the_same_records_again(stored: Stored) -> None:
    first, *_, last = parsed(run("query", "--flags", "S", "--config", stored.whole).stdout)
    again = run("query", "--since", str(first["ts"]), "--until", str(last["ts"]), "--config", stored.whole)
    assert [line["sport"] for line in parsed(again.stdout)] == list(range(10_000, 10_999))


def test_csv_holds_the_same(stored: Stored) -> None:
    result = run("query", "--source", "2001:db8::/32", "--format", "csv", "--config", stored.whole)
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert (result.exit_code, [int(row["sport"]) for row in rows]) == (0, list(range(12_900, 13_000)))
    assert {row["src"] for row in rows} == {IPV6}


def test_a_terminal_gets_a_table_that_fits(stored: Stored, terminal: OpenTerminal) -> None:
    shown = terminal("query", "--source", "203.0.113.0/24", "--config", stored.whole)
    assert shown.end() == 0
    titles, *lines = shown.output.splitlines()
    assert titles.split() == TITLES
    assert len(lines) == 2900
    assert max(map(len, lines)) <= WIDTH
    assert {line.index("198.51.100.200:443") for line in lines} == {titles.index("destination")}
    assert all(line.isprintable() for line in lines)


def test_a_terminal_gets_ipv6_whole(stored: Stored, terminal: OpenTerminal) -> None:
    shown = terminal("query", "--port", "12900", "--config", stored.whole)
    assert shown.end() == 0
    assert f" [{IPV6}]:12900 [{IPV6_SERVER}]:443 A " in shown.output


@pytest.mark.parametrize("form", ["json", "table"])
def test_a_pipe_that_closes_early_ends_it_quietly(stored: Stored, form: str) -> None:
    command = shlex.join([*COMMAND, "query", "--config", str(stored.whole), "--format", form])
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (result.returncode, result.stderr, result.stdout.count("\n")) == (0, "", 1)


def test_an_output_that_is_full_is_told(stored: Stored) -> None:
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [*COMMAND, "query", "--config", str(stored.whole)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert (result.returncode, result.stderr) == (1, "tapfan: cannot write the output: No space left on device\n")


def test_a_process_of_its_own_does_the_same(stored: Stored) -> None:
    started = subprocess.run(
        [*COMMAND, "query", "--config", str(stored.partial)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    result = run("query", "--config", stored.partial)
    assert (started.returncode, started.stdout, started.stderr) == (3, result.stdout, result.stderr)


@pytest.mark.parametrize("command", ["query", "top"])
def test_without_one_redis_the_rest_is_shown_with_a_warning_and_a_code_of_its_own(stored: Stored, command: str) -> None:
    whole, partial = (run(command, "--config", file) for file in (stored.whole, stored.partial))
    assert (whole.exit_code, partial.exit_code) == (0, 3)
    assert partial.stdout == whole.stdout
    assert partial.stderr.startswith("tapfan: warning: the Redis of writer c (unix://")
    assert partial.stderr.endswith("; the answer is partial\n")
    assert partial.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["query", "top", "follow"])
def test_without_any_redis_it_ends_with_1(stored: Stored, command: str) -> None:
    result = run(command, "--config", stored.absent)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("tapfan: no Redis can be read: the Redis of writer a (unix://")


def test_what_is_not_ours_is_counted_and_never_shown(live: Live) -> None:
    put_records(live.server, made(3, 0, FEW, 1.0).batch)
    for key in ("tcp:\x1b[2J", "tcpb:\x1b]0;title\x07", "tcp:1>2:3-4"):
        live.server.client.set(key, "\x1b[2J")
    result = run("query", "--config", live.config)
    assert (result.exit_code, len(parsed(result.stdout))) == (0, 3)
    assert result.stderr == "tapfan: warning: skipped 3 keys that are not ours: foreign key 3\n"


@pytest.mark.parametrize("command", ["query", "follow"])
def test_ctrl_c_ends_what_waits_for_redis(live: Live, terminal: OpenTerminal, command: str) -> None:
    def press_until_it_ends() -> bool:
        shown.type(CTRL_C)
        return shown.has_ended

    live.server.hold_up()
    try:
        shown = terminal(command, "--config", live.config)
        wait_for(lambda: psutil.Process(shown.pid).net_connections("unix"), "it has asked Redis")
        wait_for(press_until_it_ends, "Ctrl-C, pressed again and again, ends it")
        assert shown.end() == -signal.SIGINT
    finally:
        live.server.let_go_on()
    assert "Traceback" not in shown.output
