"""`tapfan watch` on a real terminal, with a router, writers and Redis servers that run."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tapfan.keyring import Keyring
from tests.process.running import DEADLINE_S, ROOT, Programs, free_port, wait_for
from tests.process.terminals import CTRL_C, Terminal
from tests.process.traffic import Load

COMMAND = (sys.executable, "-m", "tapfan.cli", "watch")
CTRL_Z = "\x1a"
ENTERS, LEAVES = "\x1b[?1049h", "\x1b[?1049l"
SHELL_READY = "$ ready "

Watch = Callable[..., Terminal]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """With a router that others reach over TCP, too: with `reader.key`, which may read, in the folder `elsewhere`."""
    folder = tmp_path_factory.mktemp("watched")
    endpoints = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("control.endpoint", "control.events")}
    keyring = Keyring(folder / "keys" / "router.key")
    keyring.make_router()
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    keyring.make("reader", "read").file.rename(elsewhere / "reader.key")
    settings = endpoints | {"control.key": "reader.key"}
    lines = (f'{name} = "{value}"\n' for name, value in settings.items())
    (elsewhere / "tapfan.toml").write_text("".join(lines), encoding="utf-8")
    with closing(Programs(folder, top=endpoints | {"router.key": "keys/router.key"})) as started:
        yield started


@pytest.fixture
def programs(running: Programs) -> Programs:
    """Programs that all run, with the configured weights: starting them for each test would take long."""
    if missing := [name for name in running.names if name not in running.processes]:
        running.start(*missing)
        running.wait_ready()
    with running.control() as control:
        control.state({"a": "ready", "b": "ready"})
        control.weights({"a": 30, "b": 70})
    return running


@pytest.fixture
def watch(programs: Programs) -> Iterator[Watch]:
    """Runs the command on terminals, which are closed after the test; without arguments, on one of 80 by 24."""
    with ExitStack() as stack:

        def run(
            *arguments: str, config: Path | None = None, columns: int = 80, lines: int = 24, **environment: str
        ) -> Terminal:
            usual = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
            command = [*COMMAND, "--config", str(config or programs.config), "--by", "anna", *arguments]
            return stack.enter_context(closing(Terminal(command, usual | environment, columns, lines)))

        yield run


def _see(shown: Terminal, *patterns: str) -> list[str]:
    """Wait until the screen has lines with all of these; gives it."""
    shown.show_until(lambda: all(_found(shown, pattern) for pattern in patterns))
    return shown.screen


def _found(shown: Terminal, pattern: str) -> bool:
    return any(re.search(pattern, line) for line in shown.screen)


def _version(programs: Programs) -> int:
    version: int = programs.status()["version"]
    return version


def _writer(programs: Programs, name: str) -> dict[str, Any]:
    writer: dict[str, Any] = programs.status()["writers"][name]
    return writer


def test_it_shows_what_happens_now(programs: Programs, watch: Watch) -> None:
    shown = watch()
    with Load(programs.port):
        screen = _see(shown, r"^> a +ready up +30 +30 +30\.0% +30\.0% +\d\d", r"^  local +accept up +[1-9]")
        assert re.match(rf"tapfan \d\d:\d\d:\d\d  version {_version(programs)}  [\d,.]+ rec/s  ttl 5m", screen[0])
        assert any(
            re.match(r"ledger: balanced, [\d,]+ captured = [\d,]+ stored \+ \d+ in flight", line) for line in screen
        )
        assert re.search(r"[\d.]+M +\d+\.\d\d$", screen[3]), "memory and round trip"
        assert screen[-1].endswith("q quit")
        stored = re.compile(r"captured = ([\d,]+) stored")
        before = next(match[1] for line in screen if (match := stored.search(line)))
        shown.show_until(lambda: not _found(shown, f"captured = {before} stored"))
    shown.type("q")
    assert shown.end() == 0


def test_keys_change_weights_and_states_in_the_router_and_an_undo_takes_it_back(
    programs: Programs, watch: Watch
) -> None:
    version = _version(programs)
    shown = watch()
    _see(shown, "^> a +ready")
    shown.type("++")
    _see(shown, "^> a +ready up +32 ", f"v{version + 1} anna: weight a 30 -> 32", "^done: a")
    shown.type("\x1b[B")
    _see(shown, "^> b ")
    shown.type("w50%\r")
    _see(shown, "^> b +ready up +35 ", "anna: weight b 70 -> 35")
    shown.type("m")
    _see(shown, "^> b +maint up +35 +0 +0.0%", "anna: state b ready -> maint")
    shown.type("ud")
    _see(shown, "^nothing undone", "^> b +maint")
    shown.type("u")
    _see(shown, r"^undo version \d+ of anna \(state b ready -> maint\)\? y/n")
    shown.type("y")
    _see(shown, "^> b +ready up +35 +35 ", "anna: undo state b maint -> ready")
    assert [(_writer(programs, name)["weight"], _writer(programs, name)["state"]) for name in ("a", "b")] == [
        (32, "ready"),
        (35, "ready"),
    ]


def test_a_ramp_is_seen_with_its_time_left_and_can_be_ended(programs: Programs, watch: Watch) -> None:
    shown = watch()
    _see(shown, "^> a +ready")
    shown.type("o5m\r")
    _see(shown, "changes over 5m")
    shown.type("w90\r")
    _see(shown, "^ramp [45]m[0-9]+s left of 5m: a 30 -> 90", "anna: ramp weight a 30 -> 90 over 5m")
    shown.type("c")
    _see(shown, "^done: end the ramp")
    shown.show_until(lambda: not _found(shown, "^ramp "))
    assert programs.status()["ramp"] is None
    assert 30 <= _writer(programs, "a")["weight"] < 40


def test_a_refusal_is_shown_and_changes_nothing_unless_it_is_forced(programs: Programs, watch: Watch) -> None:
    shown = watch()
    _see(shown, "^> a +ready")
    shown.type("d")
    _see(shown, "^> a +drain")
    version = _version(programs)
    shown.type("jw-1000\r")
    _see(shown, "^b -1000: ")
    shown.type("d")
    _see(shown, "^b drain: ", "y/n$")
    assert (_version(programs), _writer(programs, "b")["state"]) == (version, "ready")
    shown.type("y")
    _see(shown, "^> b +drain", "^done: b drain")
    assert (_version(programs), _writer(programs, "b")["state"]) == (version + 1, "drain")


def test_nobody_changes_what_they_have_not_seen(programs: Programs, watch: Watch) -> None:
    shown = watch()
    _see(shown, "^> a +ready")
    process = psutil.Process(shown.pid)
    process.suspend()
    with programs.control() as control:
        version = control.weights({"a": 50}, by="bert")["version"]
    shown.type("+")
    process.resume()
    _see(shown, r"^a \+1: .*bert", "^> a +ready up +50 ", f"v{version} bert: weight a 30 -> 50")
    assert (_writer(programs, "a")["weight"], _version(programs)) == (50, version)
    shown.type("+")
    _see(shown, "^> a +ready up +51 ")


def test_read_only_has_no_keys_that_change_something(programs: Programs, watch: Watch) -> None:
    version = _version(programs)
    shown = watch("--read-only")
    _see(shown, "^> a +ready", "read only")
    shown.type("+dw9\r")
    _see(shown, "^read only: weights and states cannot be changed here")
    assert _version(programs) == version


def test_over_tcp_with_a_key_that_may_read_it_is_live_and_read_only(programs: Programs, watch: Watch) -> None:
    shown = watch(config=programs.folder / "elsewhere" / "tapfan.toml")
    _see(shown, "^> a +ready", "read only")
    with programs.control() as control:
        control.weights({"a": 44}, by="bert")
    _see(shown, "^> a +ready up +44 ", "bert: weight a 30 -> 44")
    shown.type("+")
    _see(shown, "^read only: ")


def test_a_router_that_forbids_changes_makes_it_read_only(programs: Programs, watch: Watch) -> None:
    elsewhere = programs.folder / "elsewhere"
    key = elsewhere / "reader.key"
    before = key.read_text()
    key.write_text(before.replace('role = "read"', 'role = "admin"'))
    try:
        shown = watch(config=elsewhere / "tapfan.toml")
        _see(shown, "^> a +ready", "d drain")
    finally:
        key.write_text(before)
    shown.type("+")
    _see(shown, r"^a \+1: ", "read only", "^j/k choose  [?] help  q quit")
    assert _writer(programs, "a")["weight"] == 30


@pytest.mark.parametrize("end", ["q", CTRL_C, signal.SIGTERM, signal.SIGHUP])
def test_it_leaves_the_terminal_as_it_was(watch: Watch, end: str | signal.Signals) -> None:
    shown = watch()
    before = shown.attributes
    _see(shown, "^> a +ready")
    assert shown.attributes != before
    if isinstance(end, str):
        shown.type(end)
    else:
        shown.signal(end)
    assert shown.end() == 0
    assert shown.attributes == before
    assert shown.output.startswith(ENTERS)
    assert shown.output.endswith(f"\x1b[?25h{LEAVES}")
    assert "Traceback" not in shown.output


def test_after_ctrl_z_and_fg_it_goes_on(programs: Programs) -> None:
    shell = ["bash", "--norc", "--noprofile", "-i"]
    command = " ".join([*COMMAND, "--config", str(programs.config)])
    with closing(Terminal(shell, {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": SHELL_READY}, 80, 24)) as shown:
        _type_until(shown, "", SHELL_READY)
        _type_until(shown, f"{command}\n", ENTERS)
        for _ in range(2):
            _see(shown, "^> a +ready", "q quit$")
            stopped = _type_until(shown, CTRL_Z, SHELL_READY)
            assert LEAVES in stopped
            assert "Stopped" in stopped
            _type_until(shown, "echo lines are $((1 + 1)) again\n", "lines are 2 again")
            _type_until(shown, "fg\n", ENTERS)
        _see(shown, "^> a +ready", "q quit$")
        _type_until(shown, "q", SHELL_READY)
        shown.type("exit\n")
        assert shown.end() == 0


def _type_until(shown: Terminal, text: str, awaited: str) -> str:
    """Type it, and wait until that is shown; gives what was shown meanwhile."""
    told = len(shown.output)
    shown.type(text)
    shown.show_until(lambda: awaited in shown.output[told:])
    return shown.output[told:]


def test_it_follows_the_windows_size(watch: Watch) -> None:
    shown = watch()
    _see(shown, "^> a +ready", "rtt ms$")
    shown.resize(120, 40)
    shown.show_until(lambda: "quit" in shown.screen[39])
    assert _found(shown, "10s +1m +rec/s")
    shown.resize(40, 8)
    shown.show_until(lambda: "quit" in shown.screen[7])
    assert _found(shown, "^> a +ready")
    assert not _found(shown, "rtt ms")


def test_without_a_router_the_last_picture_stays_until_it_is_back(programs: Programs, watch: Watch) -> None:
    shown = watch()
    _see(shown, "^> a +ready up +30 ")
    programs.kill("router")
    _see(shown, r"STALE \ds", "^no reply from ipc://", "^> a +ready up +30 ")
    assert "supervisorctl status" in " ".join(shown.screen)
    shown.type("+")
    _see(shown, "^not asked: nobody knows what is in force")
    programs.start("router")
    programs.wait_ready()
    shown.show_until(lambda: not _found(shown, "STALE"))
    assert not _found(shown, "^no reply")
    shown.type("+")
    _see(shown, "^> a +ready up +31 ")


def test_it_waits_for_a_router_and_can_be_quit_meanwhile(programs: Programs, watch: Watch) -> None:
    programs.stop("router")
    shown = watch()
    _see(shown, "^no reply from ipc://")
    begun = time.monotonic()
    shown.type("q")
    assert shown.end() == 0
    assert time.monotonic() - begun < 2, "it waits for no answer"


def test_without_colour_it_says_the_same(watch: Watch) -> None:
    shown = watch(NO_COLOR="1")
    _see(shown, "^> a +ready up")
    shown.type("d")
    _see(shown, "^> a +drain up")
    assert not any(f"\x1b[{colour}m" in shown.output for colour in (*range(30, 48), *range(90, 108)))
    assert "38;5" not in shown.output


def test_a_terminal_that_can_do_nothing_gets_a_block_each_time(watch: Watch) -> None:
    shown = watch(TERM="dumb")
    shown.show_until(lambda: shown.output.count("ledger: balanced") >= 2)
    shown.type(CTRL_C)
    assert shown.end() == 0
    assert "\x1b" not in shown.output
    assert max(map(len, shown.output.replace("^C", "").splitlines())) <= 80


def test_a_pipe_gets_blocks_until_it_is_closed(programs: Programs) -> None:
    command = " ".join([*COMMAND, "--config", str(programs.config)])
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -40"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 40
    assert result.stdout.count("ledger: balanced") >= 2
    assert "\x1b" not in result.stdout


def test_a_flood_of_changes_is_shown_and_keys_still_work(programs: Programs, watch: Watch) -> None:
    shown = watch()
    _see(shown, "^> a +ready")
    with programs.control() as control:
        for number in range(300):
            control.weights({"b": number % 50 + 1})
        control.weights({"b": 77}, reason="the last one")
    _see(shown, "^  b +ready up +77 ", "the last one")
    shown.type("+")
    _see(shown, "^> a +ready up +31 ")
    wait_for(lambda: _writer(programs, "a")["weight"] == 31, "it is in force")
