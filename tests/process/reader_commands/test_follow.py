"""`tapfan follow`."""

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import pytest
import redis

from tests.process.reader_commands.commands import COMMAND, FEW, IPV6, SYN, TITLES, Live, OpenTerminal, made
from tests.process.running import DEADLINE_S, ROOT
from tests.process.terminals import CTRL_C
from tests.tapfan.reader.storing import put_block, put_records


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
    put_block(live.server, made(100, 0, FEW, 1.0).batch)
    process = follow("--flags", "S", "--format", "csv")
    assert process.stdout is not None
    assert process.stdout.readline() == "ts,src,sport,dst,dport,flags,segments\n", "it has begun"
    put_records(live.server, made(2, 100, FEW, 0.0, SYN).batch)
    lines = [process.stdout.readline() for _ in range(2)]
    put_block(live.server, made(3, 102, IPV6, 0.0, SYN).batch, made(10, 200, IPV6, 0.0).batch)
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
    put_block(live.server, made(3, 0, FEW, 0.0).batch)
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
    put_block(live.server, made(3, 0, FEW, 0.0).batch)
    shown.show_until(lambda: "10002" in shown.output)
    shown.type(CTRL_C)
    assert shown.end() == 0
    assert shown.output.count("warning: the Redis of writer a") == 1
    assert "partial" not in shown.output
    assert "; it is tried again every second" in shown.output.replace("\r\n", "")
