"""Files of every kind are stored, and it is told what became of each packet."""

import gzip
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from tapfan.program import EXIT_FAILED
from tests.listener import pcaps
from tests.listener.pcaps import Packet
from tests.process import captures
from tests.process.captures import NANOSECONDS, last_line, packets
from tests.process.conftest import MakePrograms, StartPrograms
from tests.process.namespace import Namespace
from tests.process.reading.outcomes import COUNT, expected, found_in, status_of, through_a_pipe
from tests.process.running import DEADLINE_S, READING, ROOT, Programs, wait_for
from tests.process.stored import left_ms, stored
from tests.process.traffic import connections


def test_files_of_every_kind_are_stored_whole(storing: MakePrograms, tmp_path: Path) -> None:
    programs = storing()
    content = packets(programs.port, COUNT)
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
        assert found_in(programs) == expected(content, unit_ns), kind
        for name in programs.redis_ports:
            programs.redis(name).flushall()
    ledger = programs.status()["ledger"]
    assert (ledger["captured"], ledger["stored"], ledger["balanced"]) == (8 * COUNT, 8 * COUNT, True)
    assert "Traceback" not in programs.log(READING)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_comes_through_a_pipe(storing: MakePrograms, tmp_path: Path, packed: bool) -> None:
    programs = storing()
    content = packets(programs.port, COUNT)
    data = pcaps.pcap(content, magic=NANOSECONDS)
    path = tmp_path / "capture"
    path.write_bytes(gzip.compress(data) if packed else data)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as cat:
        assert cat.stdout
        programs.read("--read", "-", stdin=cat.stdout)
        cat.stdout.close()
        assert programs.wait_read() == 0
    assert cat.returncode == 0
    assert found_in(programs) == expected(content)


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
    assert wait_for(lambda: status_of(programs)["health"] == "done", "it is seen as done")
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
    content = packets(programs.port, COUNT)
    left_out = captures.others(programs.port, content[-1].timestamp_ns)
    path = tmp_path / "capture"
    path.write_bytes(pcaps.pcap([*content, *chain.from_iterable(left_out.values())], magic=NANOSECONDS))
    programs.read("--read", str(path))
    assert programs.wait_read() == 0
    line = last_line(programs)
    skipped = {field: int(value) for field, value in line.items() if field.startswith("skipped_")}
    assert skipped == {f"skipped_{reason}": len(some) for reason, some in left_out.items()}
    assert int(line["records"]) == COUNT
    assert int(line["packets"]) == COUNT + sum(skipped.values())
    assert found_in(programs) == expected(content)
    assert status_of(programs)["packets"] == {
        "seen": int(line["packets"]),
        "records": COUNT,
        "kernel_drops": 0,
        "skipped": {reason: len(some) for reason, some in left_out.items()},
        "malformed": 2,
        "unread": 0,
        "ring_freezes": 0,
    }
    wait_for(lambda: status_of(programs)["health"] == "done", "it is seen as done")
    shown = programs.command("status").stdout
    assert re.search(rf"^file +file +{COUNT:,} +{COUNT:,} +0 +0 +0 +0 +done *$", shown, re.MULTILINE), shown
    assert "file saw 1,011 packets, and skipped 11 of them" in shown


def test_rebase_moves_an_old_file_to_now(storing: MakePrograms, tmp_path: Path) -> None:
    programs = storing()
    content = packets(programs.port, COUNT, first_ns=1_500_000_000 * 10**9)
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
    assert found_in(programs) == expected(moved)
    left = left_ms(programs)
    assert len(left) == len(found)
    assert all(0 < each <= 300_000 for each in left)
    assert "older_than_the_ttl" not in programs.log(READING)


def test_of_an_old_file_that_is_not_moved_all_expires_which_is_told_at_once(storing: MakePrograms) -> None:
    programs = storing()
    data = pcaps.pcap(packets(programs.port, COUNT, first_ns=1_500_000_000 * 10**9))
    with through_a_pipe(programs) as pipe:
        pipe.write(data[: len(data) // 2])
        pipe.flush()
        wait_for(lambda: "event=older_than_the_ttl" in programs.log(READING), "it is told before all is read")
        assert "--rebase" in programs.log(READING)
        pipe.write(data[len(data) // 2 :])
    assert programs.wait_read() == 0
    assert stored(programs) == []
    ledger = programs.status()["ledger"]
    assert (ledger["captured"], ledger["expired"], ledger["dropped"]) == (COUNT, COUNT, 0)
    assert programs.log(READING).count("event=older_than_the_ttl") == 1


def test_beside_a_listener_that_runs_and_not_twice_at_once(start: StartPrograms, tmp_path: Path) -> None:
    programs = start()
    content = packets(programs.port, COUNT)
    path = tmp_path / "capture"
    path.write_bytes(pcaps.pcap(content, magic=NANOSECONDS))
    with through_a_pipe(programs) as pipe:
        pipe.write(path.read_bytes())
        pipe.flush()
        first = programs.processes[READING]
        wait_for(lambda: "file" in programs.status()["listeners"], "it is known")
        connections(100, programs.port)
        programs.read("--read", str(path))
        assert programs.wait_read() == EXIT_FAILED
        assert f"listener-file (process {first.pid}) runs in " in programs.log(READING)
    assert first.wait(DEADLINE_S) == 0
    programs.wait_settled(COUNT + 200)
    status = programs.status()["listeners"]
    assert {name: entry["stored"] for name, entry in status.items()} == {"local": 200, "file": COUNT}
    assert found_in(programs)[-COUNT:] == expected(content)
    assert status["local"]["health"] == "up"


def test_on_a_terminal_a_bar_is_drawn_and_gone_at_the_end(storing: MakePrograms, tmp_path: Path) -> None:
    programs = storing()
    data = captures.large(tmp_path / "capture", programs.port, 100_000).read_bytes()
    shown = bytearray()
    ours, terminal = pty.openpty()
    with through_a_pipe(programs) as pipe:  # to see that a file is needed for a size, and a terminal for a bar
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
