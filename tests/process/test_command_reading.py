"""`tapfan query`, `top` and `follow` as people and scripts run them, on real Redis servers in both layouts."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import redis
from typer.testing import CliRunner, Result

from tapfan.cli.__main__ import app
from tests.process.running import DEADLINE_S, ROOT, wait_for
from tests.process.terminals import CTRL_C, Terminal
from tests.tapfan.reader.storing import Made, put_block, put_records
from tests.writers.servers import Server

COMMAND = (sys.executable, "-m", "tapfan.cli")
SYN, ACK = 0x02, 0x10
FEW, MANY = "203.0.113.7", "203.0.113.117"
IPV6, IPV6_SERVER = "2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:7777"
WIDTH = 80
TITLES = ["time", "source", "destination", "flags", "segments"]

OpenTerminal = Callable[..., Terminal]


def _made(count: int, first: int, source: str, age_s: float, flags: int = ACK, destination: str = "::1") -> Made:
    """Records of consecutive identities and source ports, the first one captured so long ago."""
    return Made(
        time.time_ns() - int(age_s * 1e9),
        count,
        first,
        sources=(source,),
        destinations=(destination,),
        source_ports=range(10_000 + first, 10_000 + first + count),
        destination_ports=(443,),
        flags=(flags,),
    )


def _configuration(folder: Path, *sockets: Path) -> Path:
    """Of one writer to each of them, named a, b and so on."""
    folder.mkdir(exist_ok=True)
    file = folder / "tapfan.toml"
    writers = (
        f'[[writers]]\nname = "{chr(ord("a") + number)}"\nredis = "unix://{path}?db=0"\nweight = 1\n'
        for number, path in enumerate(sockets)
    )
    file.write_text("".join(writers), encoding="utf-8")
    return file


@dataclass(frozen=True)
class Stored:
    """Configurations of two Redis servers, of those and one that is not there, and of none that is."""

    whole: Path
    partial: Path
    absent: Path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """3,000 records: the first 1,000 with a key each, 1,900 in a block, and the IPv6 ones in both databases."""
    folder = tmp_path_factory.mktemp("stored")
    with closing(Server(folder / "a")) as a, closing(Server(folder / "b")) as b:
        put_records(a, _made(1000, 0, FEW, 60.0, SYN, "198.51.100.200").batch)
        put_block(b, _made(1900, 1000, MANY, 59.0, destination="198.51.100.200").batch)
        last = _made(100, 2900, IPV6, 58.0, destination=IPV6_SERVER).batch
        put_block(a, last)
        put_block(b, last)
        absent = folder / "absent.sock"
        yield Stored(
            _configuration(folder / "whole", a.path, b.path),
            _configuration(folder / "partial", a.path, b.path, absent),
            _configuration(folder / "nothing", absent),
        )


@dataclass(frozen=True)
class Live:
    """A Redis server of a test's own, and the configuration that names it."""

    server: Server
    config: Path


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with closing(Server(tmp_path / "redis")) as server:
        yield Live(server, _configuration(tmp_path, server.path))


@pytest.fixture
def terminal() -> Iterator[OpenTerminal]:
    """Runs the command on terminals of 80 columns, which are closed after the test."""
    with ExitStack() as stack:

        def run(*arguments: str | Path, **environment: str) -> Terminal:
            opened = Terminal([*COMMAND, *map(str, arguments)], {"TERM": "xterm-256color"} | environment, WIDTH)
            return stack.enter_context(closing(opened))

        yield run


def _run(*arguments: str | Path) -> Result:
    """Run the command in this process, as if into a pipe: many starts would take long."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line, parse_float=str) for line in text.splitlines()]


def test_a_pipe_gets_each_record_once_as_a_json_line_in_time_order(stored: Stored) -> None:
    result = _run("query", "--config", stored.whole)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = _lines(result.stdout)
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
        (["--port", "443", "--limit", "3"], range(10_000, 10_003)),
        (["--limit", "1000000"], range(10_000, 13_000)),
        (["--last", "1s"], []),
        (["--until", "30s ago", "--flags", "A", "--limit", "1"], [11_000]),
    ],
)
def test_options_choose_among_the_records(stored: Stored, filters: list[str], ports: Sequence[int]) -> None:
    result = _run("query", *filters, "--config", stored.whole)
    assert (result.exit_code, [line["sport"] for line in _lines(result.stdout)]) == (0, list(ports))


def test_what_a_query_printed_names_the_same_records_again(stored: Stored) -> None:
    first, *_, last = _lines(_run("query", "--flags", "S", "--config", stored.whole).stdout)
    again = _run("query", "--since", str(first["ts"]), "--until", str(last["ts"]), "--config", stored.whole)
    assert [line["sport"] for line in _lines(again.stdout)] == list(range(10_000, 10_999))


def test_csv_holds_the_same(stored: Stored) -> None:
    result = _run("query", "--source", "2001:db8::/32", "--format", "csv", "--config", stored.whole)
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
    result = _run("query", "--config", stored.partial)
    assert (started.returncode, started.stdout, started.stderr) == (3, result.stdout, result.stderr)


@pytest.mark.parametrize("command", ["query", "top"])
def test_without_one_redis_the_rest_is_shown_with_a_warning_and_a_code_of_its_own(stored: Stored, command: str) -> None:
    whole, partial = (_run(command, "--config", file) for file in (stored.whole, stored.partial))
    assert (whole.exit_code, partial.exit_code) == (0, 3)
    assert partial.stdout == whole.stdout
    assert partial.stderr.startswith("tapfan: warning: the Redis of writer c (unix://")
    assert partial.stderr.endswith("; the answer is partial\n")
    assert partial.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["query", "top", "follow"])
def test_without_any_redis_it_ends_with_1(stored: Stored, command: str) -> None:
    result = _run(command, "--config", stored.absent)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("tapfan: no Redis can be read: the Redis of writer a (unix://")


def test_what_is_not_ours_is_counted_and_never_shown(live: Live) -> None:
    put_records(live.server, _made(3, 0, FEW, 1.0).batch)
    for key in ("tcp:\x1b[2J", "tcpb:\x1b]0;title\x07", "tcp:1>2:3-4"):
        live.server.client.set(key, "\x1b[2J")
    result = _run("query", "--config", live.config)
    assert (result.exit_code, len(_lines(result.stdout))) == (0, 3)
    assert result.stderr == "tapfan: warning: skipped 3 keys that are not ours: foreign key 3\n"


def test_top_ranks_talkers(stored: Stored) -> None:
    result = _run("top", "--config", stored.whole)
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
        json.loads(_run("top", "--by", by, "-n", "1", "--json", *more, "--config", stored.whole).stdout)
        for by, more in (("pair", ["--source", "::/0"]), ("destination", []), ("port", ["--flags", "S"]))
    ]
    (pair,), (destination,), (port,) = (each["talkers"] for each in shown)
    assert (pair["source"], pair["destination"], pair["packets"]) == (IPV6, IPV6_SERVER, 100)
    assert (destination["destination"], destination["packets"]) == ("198.51.100.200", 2900)
    assert (port["port"], port["packets"], port["share"]) == (443, 1000, 1.0)
    assert [each["keys"] for each in shown] == [1, 2, 1]
    assert (shown[0]["problems"], shown[0]["skipped"]) == ([], {})


def test_a_watch_is_refreshed_and_leaves_the_terminal_as_it_was(live: Live, terminal: OpenTerminal) -> None:
    put_block(live.server, _made(100, 0, FEW, 1.0).batch)
    shown = terminal("top", "--watch", "--config", live.config)
    shown.show_until(lambda: "100 packets of 1 source that are kept" in shown.output)
    put_block(live.server, _made(200, 100, IPV6, 1.0).batch)
    shown.show_until(lambda: "300 packets of 2 sources that are kept" in shown.output)
    shown.type(CTRL_C)
    assert shown.end() == 0
    after = _after_screen(shown.output)
    assert IPV6 in after, "what was seen last is left there"
    assert "\x1b" not in after


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_watch_needs_no_colour(live: Live, terminal: OpenTerminal, environment: dict[str, str]) -> None:
    put_block(live.server, _made(100, 0, FEW, 1.0).batch)
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
    put_block(live.server, _made(100, 0, FEW, 0.0).batch)
    bounds = ("--since", "4s", "--until", f"{time.time():.3f}")
    shown = terminal("top", "--watch", *bounds, "--config", live.config, TERM="dumb")
    shown.show_until(lambda: "100 packets of 1 source" in shown.output)
    shown.show_until(lambda: "0 packets of 0 sources" in shown.output)
    shown.type(CTRL_C)
    assert shown.end() == 0


def test_a_watch_outlives_an_outage(live: Live, terminal: OpenTerminal) -> None:
    put_block(live.server, _made(100, 0, FEW, 1.0).batch)
    shown = terminal("top", "--watch", "--config", live.config)
    shown.show_until(lambda: "100 packets of 1 source" in shown.output)
    moved = live.server.path.rename(live.server.path.with_suffix(".away"))
    shown.show_until(lambda: "no Redis can be read" in shown.output)
    moved.rename(live.server.path)
    told = len(shown.output)
    shown.show_until(lambda: "100 packets of 1 source" in shown.output[told:])
    shown.type(CTRL_C)
    assert shown.end() == 0


@pytest.fixture
def follow(live: Live) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `tapfan follow`, or a pipeline that it is the first of; what still runs is ended after the test."""
    with ExitStack() as stack:

        def run(*arguments: str, into: str = "") -> "subprocess.Popen[str]":
            command = shlex.join([*COMMAND, "follow", "--config", str(live.config), *arguments])
            process = stack.enter_context(
                subprocess.Popen(
                    ["bash", "-c", f"set -o pipefail; {command} | {into}" if into else f"exec {command}"],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
            )
            stack.callback(_end_group, process)
            return process

        yield run


def _end_group(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_follow_prints_what_is_stored_from_its_start_on_until_it_is_asked_to_end(
    live: Live, follow: Callable[..., "subprocess.Popen[str]"], number: signal.Signals
) -> None:
    put_block(live.server, _made(100, 0, FEW, 1.0).batch)
    process = follow("--flags", "S", "--format", "csv")
    assert process.stdout is not None
    assert process.stdout.readline() == "ts,src,sport,dst,dport,flags,segments\n", "it has begun"
    put_records(live.server, _made(2, 100, FEW, 0.0, SYN).batch)
    lines = [process.stdout.readline() for _ in range(2)]
    put_block(live.server, _made(3, 102, IPV6, 0.0, SYN).batch, _made(10, 200, IPV6, 0.0).batch)
    lines += [process.stdout.readline() for _ in range(3)]
    assert [line.split(",")[2] for line in lines] == [str(port) for port in range(10_100, 10_105)]
    process.send_signal(number)
    rest, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_follow_ends_when_nobody_reads_it_any_more(follow: Callable[..., "subprocess.Popen[str]"]) -> None:
    process = follow("--format", "csv", into="head -1")
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, output, errors) == (0, "ts,src,sport,dst,dport,flags,segments\n", "")


def test_follow_on_a_terminal_is_a_table_until_ctrl_c(live: Live, terminal: OpenTerminal) -> None:
    shown = terminal("follow", "--config", live.config)
    shown.show_until(lambda: "segments" in shown.output)
    put_block(live.server, _made(3, 0, FEW, 0.0).batch)
    shown.show_until(lambda: "10002" in shown.output)
    shown.type(CTRL_C)
    assert shown.end() == 0
    titles, *lines = shown.output.replace("^C", "").splitlines()
    assert titles.split() == TITLES
    assert [line.split()[1] for line in lines if line] == [f"{FEW}:{port}" for port in range(10_000, 10_003)]


def test_follow_tells_of_a_redis_that_goes_and_comes(live: Live, terminal: OpenTerminal) -> None:
    shown = terminal("follow", "--config", live.config)
    shown.show_until(lambda: "segments" in shown.output)
    away = live.server.path.rename(live.server.path.with_suffix(".away"))
    live.server.client.connection_pool.disconnect()
    with closing(redis.Redis(unix_socket_path=str(away))) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        shown.show_until(lambda: "warning: the Redis of writer a" in shown.output)
        time.sleep(1.5)  # it is tried again in vain, for another reason
        away.rename(live.server.path)
        shown.show_until(lambda: "tapfan: every Redis answers again" in shown.output)
    put_block(live.server, _made(3, 0, FEW, 0.0).batch)
    shown.show_until(lambda: "10002" in shown.output)
    shown.type(CTRL_C)
    assert shown.end() == 0
    assert shown.output.count("warning: the Redis of writer a") == 1
    assert "partial" not in shown.output
    assert "; it is tried again every second" in shown.output.replace("\r\n", "")


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
