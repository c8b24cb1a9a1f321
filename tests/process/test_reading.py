"""Capture files read through the whole pipeline, by real processes."""

import gzip
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, Any

import pytest

from tapfan.program import EXIT_FAILED, EXIT_USAGE
from tests.listener import pcaps
from tests.listener.pcaps import Packet
from tests.process import captures
from tests.process.captures import NANOSECONDS, last_line, packets
from tests.process.conftest import StartPrograms
from tests.process.namespace import Namespace
from tests.process.running import DEADLINE_S, READING, ROOT, Programs, wait_for
from tests.process.stored import keys, left_ms, stored
from tests.process.test_starting import MakePrograms
from tests.process.traffic import connections

_COUNT = 1000
_MANY = 300_000
_BATCH = 65_536  # the largest, and the smallest window
_STILL_S = 4.0

Expected = list[tuple[str, int, int]]


@pytest.fixture
def storing(programs: MakePrograms) -> MakePrograms:
    """Starts everything but the listener, with the given options (of `Programs`)."""

    def start(**options: object) -> Programs:
        made = programs(**options)
        made.start(*(name for name in made.names if name != "listener"))
        made.wait_ready()
        return made

    return start


def _expected(content: list[Packet], unit_ns: int = 1) -> Expected:
    """The source, its port and the timestamp of each packet that `captures.packets` made."""
    return sorted(
        (
            captures.SOURCES[number % len(captures.SOURCES)],
            40_000 + number % 1000,
            packet.timestamp_ns // unit_ns * unit_ns,
        )
        for number, packet in enumerate(content)
    )


def _found(programs: Programs) -> Expected:
    return sorted((record.source, record.value["sport"], record.timestamp_ns) for record in stored(programs))


def _timestamps(programs: Programs) -> list[int]:
    """Of all records in all Redis servers, each identity once."""
    of_each: dict[str, int] = {}
    for writer in programs.redis_ports:
        for key in keys(programs, writer):
            of_each[f"{key['stream']}.{key['sequence']}"] = int(key["timestamp"])
    return sorted(of_each.values())


def _status(programs: Programs) -> dict[str, Any]:
    status: dict[str, Any] = programs.status()["listeners"]["file"]
    return status


def test_files_of_every_kind_are_stored_whole(storing: MakePrograms, tmp_path: Path) -> None:
    programs = storing()
    content = packets(programs.port, _COUNT)
    nanoseconds = pcaps.pcap(content, magic=NANOSECONDS)
    kinds = {
        "pcap": (pcaps.pcap(content), 1000),
        "pcap, big-endian": (pcaps.pcap(content, ">"), 1000),
        "pcap with nanoseconds": (nanoseconds, 1),
        "pcap with nanoseconds, big-endian": (pcaps.pcap(content, ">", NANOSECONDS), 1),
        "pcapng": (captures.pcapng(content), 1),
        "pcapng, big-endian": (captures.pcapng(content, ">"), 1),
        "pcap in gzip": (gzip.compress(nanoseconds), 1),
        "pcapng in gzip": (gzip.compress(captures.pcapng(content)), 1),
    }
    path = tmp_path / "capture"
    for kind, (data, unit_ns) in kinds.items():
        path.write_bytes(data)
        programs.read("--read", str(path))
        assert programs.wait_read() == 0, programs.log(READING)
        assert _found(programs) == _expected(content, unit_ns), kind
        for name in programs.redis_ports:
            programs.redis(name).flushall()
    ledger = programs.status()["ledger"]
    assert (ledger["captured"], ledger["stored"], ledger["balanced"]) == (8 * _COUNT, 8 * _COUNT, True)
    assert "Traceback" not in programs.log(READING)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_comes_through_a_pipe(storing: MakePrograms, tmp_path: Path, packed: bool) -> None:
    programs = storing()
    content = packets(programs.port, _COUNT)
    data = pcaps.pcap(content, magic=NANOSECONDS)
    path = tmp_path / "capture"
    path.write_bytes(gzip.compress(data) if packed else data)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
        assert cat.stdout
        programs.read("--read", "-", stdin=cat.stdout)
        cat.stdout.close()
        assert programs.wait_read() == 0
    assert cat.returncode == 0
    assert _found(programs) == _expected(content)


def test_what_tcpdump_captures_beside_the_listener_is_the_same(start: StartPrograms, space: Namespace) -> None:
    tcpdump = shutil.which("tcpdump")
    if tcpdump is None:
        pytest.skip("needs the command `tcpdump`")
    programs = start(listener={"listen": [f"{space.address}:9000"], "source": "capture"}, netns=space.name)
    # -s: in as many bytes as whole packets may have, tcpdump's ring holds few of them.
    command = [tcpdump, "-U", "-w", "-", "-s", "128", "-i", space.inside, "--time-stamp-precision=nano", "tcp"]
    with subprocess.Popen(
        ["ip", "netns", "exec", space.name, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as dump:
        assert dump.stdout
        assert dump.stderr
        programs.read("--read", "-", stdin=dump.stdout)
        dump.stdout.close()
        try:
            assert b"listening on" in dump.stderr.readline()
            connections(50, 9000, space.address)
            found = wait_for(lambda: _by_both(programs), "both have recorded the same")
        finally:
            dump.terminate()
        assert programs.wait_read() == 0
    assert found.total() >= 50 * 4
    assert int(last_line(programs)["skipped_other_endpoint"]) > 50, "the answers"
    assert wait_for(lambda: _status(programs)["health"] == "done", "it is seen as done")
    assert programs.status()["listeners"]["local"]["health"] == "up"


def _by_both(programs: Programs) -> Counter[tuple[int, str]] | None:
    """What the listener that captures and the one that reads have recorded, once that is complete and the same."""
    of: dict[str, Counter[tuple[int, str]]] = {"local": Counter(), "file": Counter()}
    for record in stored(programs):
        of[record.stream.partition(".")[0]][record.value["sport"], record.value["flags"]] += 1
    finished = sum(count for (_, flags), count in of["local"].items() if "F" in flags)
    return of["local"] if finished == 50 and of["local"] == of["file"] else None


def test_the_last_line_says_what_became_of_every_packet(storing: MakePrograms, tmp_path: Path) -> None:
    programs = storing()
    content = packets(programs.port, _COUNT)
    left_out = captures.others(programs.port, content[-1].timestamp_ns)
    path = tmp_path / "capture"
    path.write_bytes(pcaps.pcap([*content, *chain.from_iterable(left_out.values())], magic=NANOSECONDS))
    programs.read("--read", str(path))
    assert programs.wait_read() == 0
    line = last_line(programs)
    skipped = {field: int(value) for field, value in line.items() if field.startswith("skipped_")}
    assert skipped == {f"skipped_{reason}": len(some) for reason, some in left_out.items()}
    assert int(line["records"]) == _COUNT
    assert int(line["packets"]) == _COUNT + sum(skipped.values())
    assert _found(programs) == _expected(content)
    assert _status(programs)["packets"] == {
        "seen": int(line["packets"]),
        "records": _COUNT,
        "kernel_drops": 0,
        "skipped": {reason: len(some) for reason, some in left_out.items()},
        "malformed": 2,
        "unread": 0,
        "ring_freezes": 0,
    }
    wait_for(lambda: _status(programs)["health"] == "done", "it is seen as done")
    shown = programs.command("status").stdout
    assert re.search(rf"^file +file +{_COUNT:,} +{_COUNT:,} +0 +0 +0 +0 +done *$", shown, re.MULTILINE), shown
    assert "file saw 1,011 packets, and skipped 11 of them" in shown


def test_rebase_moves_an_old_file_to_now(storing: MakePrograms, tmp_path: Path) -> None:
    programs = storing()
    content = packets(programs.port, _COUNT, first_ns=1_500_000_000 * 10**9)
    path = tmp_path / "capture"
    path.write_bytes(pcaps.pcap(content, magic=NANOSECONDS))
    before_ns = time.time_ns()
    programs.read("--read", str(path), "--rebase")
    assert programs.wait_read() == 0
    after_ns = time.time_ns()
    found = stored(programs)
    first_ns = min(record.timestamp_ns for record in found)
    assert before_ns < first_ns < after_ns
    moved = [Packet(packet.data, packet.timestamp_ns - content[0].timestamp_ns + first_ns) for packet in content]
    assert _found(programs) == _expected(moved)
    left = left_ms(programs)
    assert len(left) == len(found)
    assert all(0 < each <= 300_000 for each in left)
    assert "older_than_the_ttl" not in programs.log(READING)


def test_of_an_old_file_that_is_not_moved_all_expires_which_is_told_at_once(storing: MakePrograms) -> None:
    programs = storing()
    data = pcaps.pcap(packets(programs.port, _COUNT, first_ns=1_500_000_000 * 10**9))
    with _through_a_pipe(programs) as pipe:
        pipe.write(data[: len(data) // 2])
        pipe.flush()
        wait_for(lambda: "event=older_than_the_ttl" in programs.log(READING), "it is told before all is read")
        assert "--rebase" in programs.log(READING)
        pipe.write(data[len(data) // 2 :])
    assert programs.wait_read() == 0
    assert stored(programs) == []
    ledger = programs.status()["ledger"]
    assert (ledger["captured"], ledger["expired"], ledger["dropped"]) == (_COUNT, _COUNT, 0)
    assert programs.log(READING).count("event=older_than_the_ttl") == 1


@pytest.mark.parametrize("packed", [False, True])
def test_of_a_file_that_is_cut_within_a_packet_all_before_is_stored(
    storing: MakePrograms, tmp_path: Path, packed: bool
) -> None:
    programs = storing()
    content = packets(programs.port, _COUNT)
    data = pcaps.pcap(content, magic=NANOSECONDS)[:-5]
    path = tmp_path / "capture"
    path.write_bytes(gzip.compress(data) if packed else data)
    programs.read("--read", str(path))
    assert programs.wait_read() == EXIT_FAILED
    assert _found(programs) == _expected(content[:-1])
    errors = [line for line in programs.log(READING).splitlines() if "level=error" in line]
    assert len(errors) == 1
    assert f"{path}: is cut short at byte" in errors[0] or "the capture file is cut short at byte" in errors[0]
    assert last_line(programs)["records"] == str(_COUNT - 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "begins with the bytes 47 45 54 20, which is no capture file"),
        (b"", "is empty, instead of a pcap or pcapng file"),
        (b"\xd4\xc3\xb2\xa1\x02", "ends within the pcap file header"),
        (b"\x28\xb5\x2f\xfdxxxx", "unpack it with `zstd -dc`"),
        (None, "No such file or directory"),
    ],
)
@pytest.mark.parametrize("piped", [False, True])
def test_what_is_no_capture_file_starts_nothing(
    programs: MakePrograms, tmp_path: Path, content: bytes | None, told: str, piped: bool
) -> None:
    made = programs()
    path = tmp_path / "capture"
    if content is not None:
        path.write_bytes(content)
    if piped:
        with (path if path.exists() else Path(os.devnull)).open("rb") as file:
            made.read("--read", "-", stdin=file)
        told = told if content is not None else "is empty"
    else:
        made.read("--read", str(path))
    assert made.wait_read() == EXIT_USAGE
    lines = made.log(READING).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"listener: {'standard input' if piped else path}: ")
    assert told in lines[0]
    assert [file.name for file in made.run_dir.iterdir()] == [f"{READING}.log"]


def test_a_stop_in_the_middle_of_a_slow_pipe_stores_what_was_read(storing: MakePrograms) -> None:
    programs = storing()
    content = packets(programs.port, _COUNT)
    data = pcaps.pcap(content[: _COUNT // 2], magic=NANOSECONDS)
    with _through_a_pipe(programs) as pipe:
        pipe.write(data + b"the beginning")
        pipe.flush()
        wait_for(lambda: len(stored(programs)) == _COUNT // 2, "what has come is stored while the pipe is open")
        assert programs.stop(READING) == 0
    line = last_line(programs, "stopped_before_the_end_of_the_file")
    assert (line["packets"], line["records"]) == ("500", "500")
    assert _found(programs) == _expected(content[: _COUNT // 2])
    wait_for(lambda: _status(programs)["health"] == "done", "it is seen as done")


def test_a_stop_before_anything_has_come_through_a_pipe(programs: MakePrograms) -> None:
    """Also of the file's header: a shell that ends `tcpdump | listener` asks both at once."""
    made = programs()
    with _through_a_pipe(made) as pipe:
        wait_for(lambda: _is_waiting(made), "it waits for the header")
        made.signal(READING, signal.SIGTERM)
        assert made.wait_read() in (0, -signal.SIGTERM)
        assert not pipe.closed
    assert "Traceback" not in made.log(READING)


def _is_waiting(programs: Programs) -> bool:
    """Whether the process sleeps in poll()."""
    path = Path(f"/proc/{programs.processes[READING].pid}/wchan")
    return "poll" in path.read_text(encoding="ascii")


@contextmanager
def _through_a_pipe(programs: Programs, *options: str) -> Iterator[IO[bytes]]:
    """A listener that reads its standard input, of which this is the other end."""
    stdin = programs.read("--read", "-", *options, stdin=subprocess.PIPE).stdin
    assert stdin
    try:
        yield stdin
    finally:
        stdin.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["router", "writer-a"])
def test_a_process_that_is_killed_in_the_middle_of_a_large_file_loses_and_doubles_nothing(
    storing: MakePrograms, tmp_path: Path, name: str
) -> None:
    programs = storing(listener={"window_records": _BATCH})
    data = captures.large(tmp_path / "capture", programs.port, _MANY).read_bytes()
    with _through_a_pipe(programs) as pipe:
        pipe.write(data[: len(data) // 2])
        wait_for(lambda: programs.status()["ledger"]["stored"] > 0, "it is in the middle")
        programs.kill(name)
        programs.start(name)
        pipe.write(data[len(data) // 2 :])
        pipe.close()
        assert programs.wait_read(60.0) == 0
    ledger = programs.wait_settled(_MANY)["ledger"]
    assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (_MANY, _MANY, {})
    _assert_all_stored_once(programs)


@pytest.mark.timeout(120)
def test_a_reading_listener_that_is_killed_is_started_again_for_the_whole_file(
    storing: MakePrograms, tmp_path: Path
) -> None:
    programs = storing(listener={"window_records": _BATCH})
    path = captures.large(tmp_path / "capture", programs.port, _MANY)
    data = path.read_bytes()
    with pytest.raises(BrokenPipeError), _through_a_pipe(programs) as pipe:  # noqa: PT012
        pipe.write(data[: len(data) // 2])
        wait_for(lambda: programs.status()["ledger"]["stored"] > 0, "it is in the middle")
        programs.kill(READING)
        pipe.write(data[len(data) // 2 :])
    programs.read("--read", str(path))
    assert programs.wait_read(60.0) == 0
    status = wait_for(lambda: _at_rest(programs), "all is settled")
    assert status["captured"] == status["stored"] + status["dropped"]
    assert set(status["lost"]) <= {"dropped_listener_killed"}
    streams: Counter[str] = Counter(key["stream"] for name in programs.redis_ports for key in keys(programs, name))
    assert streams.total() == status["stored"]
    assert sorted(streams.values())[-1] == _MANY, "the second time, all"


def _at_rest(programs: Programs) -> dict[str, Any] | None:
    ledger: dict[str, Any] = programs.status()["ledger"]
    return ledger if ledger["balanced"] and not ledger["in_flight"] and not ledger["spooled"] else None


def _assert_all_stored_once(programs: Programs) -> None:
    """Of the large file, each packet has one record: each is of another time."""
    found = _timestamps(programs)
    assert len(found) == _MANY
    assert {later - earlier for earlier, later in pairwise(found)} == {1000}


@pytest.mark.timeout(120)
def test_reading_waits_for_slow_writers_and_nothing_is_spooled(storing: MakePrograms, tmp_path: Path) -> None:
    programs = storing(listener={"window_records": _BATCH})
    path = captures.large(tmp_path / "capture", programs.port, _MANY)
    for name in ("writer-a", "writer-b"):
        programs.signal(name, signal.SIGSTOP)
    programs.read("--read", str(path))
    wait_for(lambda: programs.status()["ledger"]["captured"] >= _BATCH, "the window is full")
    with pytest.raises(AssertionError, match="it is spooled"):
        wait_for(lambda: programs.status()["ledger"]["spooled"], "it is spooled", _STILL_S)
    assert programs.status()["ledger"]["captured"] < 2 * _BATCH
    for name in ("writer-a", "writer-b"):
        programs.signal(name, signal.SIGCONT)
    with pytest.raises(AssertionError, match="it is spooled"):
        wait_for(lambda: _is_spooled_or_has_ended(programs), "it is spooled", 60.0)
    ledger = programs.wait_settled(_MANY)["ledger"]
    assert (ledger["captured"], ledger["stored"], ledger["lost"]) == (_MANY, _MANY, {})
    _assert_all_stored_once(programs)


def _is_spooled_or_has_ended(programs: Programs) -> bool:
    assert programs.processes[READING].poll() is None, "it is spooled never: it has ended before"
    return bool(programs.status()["ledger"]["spooled"])


def test_beside_a_listener_that_runs_and_not_twice_at_once(start: StartPrograms, tmp_path: Path) -> None:
    programs = start()
    content = packets(programs.port, _COUNT)
    path = tmp_path / "capture"
    path.write_bytes(pcaps.pcap(content, magic=NANOSECONDS))
    with _through_a_pipe(programs) as pipe:
        pipe.write(path.read_bytes())
        pipe.flush()
        first = programs.processes[READING]
        wait_for(lambda: "file" in programs.status()["listeners"], "it is known")
        connections(100, programs.port)
        programs.read("--read", str(path))
        assert programs.wait_read() == EXIT_FAILED
        assert f"listener-file (process {first.pid}) runs in " in programs.log(READING)
    assert first.wait(DEADLINE_S) == 0
    programs.wait_settled(_COUNT + 200)
    status = programs.status()["listeners"]
    assert {name: entry["stored"] for name, entry in status.items()} == {"local": 200, "file": _COUNT}
    assert _found(programs)[-_COUNT:] == _expected(content)
    assert status["local"]["health"] == "up"


def test_on_a_terminal_a_bar_is_drawn_and_gone_at_the_end(storing: MakePrograms, tmp_path: Path) -> None:
    programs = storing()
    data = captures.large(tmp_path / "capture", programs.port, 100_000).read_bytes()
    shown = bytearray()
    ours, terminal = pty.openpty()
    with _through_a_pipe(programs) as pipe:  # to see that a file is needed for a size, and a terminal for a bar
        pipe.write(data)
    assert programs.wait_read() == 0
    assert "━" not in programs.log(READING)
    command = [sys.executable, "-m", "listener", "--config", str(programs.config), "--read", str(tmp_path / "capture")]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"TERM": "xterm", "COLUMNS": "100"}, stderr=terminal, stdout=terminal
    ) as process:
        programs.processes[READING] = process
        os.close(terminal)
        collecting = threading.Thread(target=_collect, args=(ours, shown))
        collecting.start()
        assert programs.wait_read() == 0
        collecting.join(DEADLINE_S)
    os.close(ours)
    text = shown.decode()
    bar, _, after = text.rpartition("\x1b[1A\x1b[2K")  # to the line before, and erased
    assert "━" in bar
    assert "━" not in after
    assert "file_read" in after
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", re.sub(r"\r\x1b\[2K", "\n", text)).splitlines()
    assert not [line for line in lines if "━" in line and "info" in line], "no log line behind the bar"


def _collect(descriptor: int, into: bytearray) -> None:
    """All that is written to a terminal, until nobody has it open."""
    while True:
        try:
            into += os.read(descriptor, 65_536)
        except OSError:
            return
