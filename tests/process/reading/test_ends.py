"""Files that end too early or are none, and a stop before the end."""

import gzip
import os
import signal
from pathlib import Path

import pytest

from tapfan.program import EXIT_FAILED, EXIT_USAGE
from tests.listener import pcaps
from tests.process.captures import NANOSECONDS, last_line, packets
from tests.process.conftest import MakePrograms
from tests.process.reading.outcomes import COUNT, expected, found_in, status_of, through_a_pipe
from tests.process.running import READING, Programs, wait_for
from tests.process.stored import stored


@pytest.mark.parametrize("packed", [False, True])
def test_of_a_file_that_is_cut_within_a_packet_all_before_is_stored(
    storing: MakePrograms, tmp_path: Path, packed: bool
) -> None:
    programs = storing()
    content = packets(programs.port, COUNT)
    data = pcaps.pcap(content, magic=NANOSECONDS)[:-5]
    path = tmp_path / "capture"
    path.write_bytes(gzip.compress(data) if packed else data)
    programs.read("--read", str(path))
    assert programs.wait_read() == EXIT_FAILED
    assert found_in(programs) == expected(content[:-1])
    errors = [line for line in programs.log(READING).splitlines() if "level=error" in line]
    assert len(errors) == 1
    assert f"{path}: is cut short at byte" in errors[0] or "the capture file is cut short at byte" in errors[0]
    assert last_line(programs)["records"] == str(COUNT - 1)


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
    content = packets(programs.port, COUNT)
    data = pcaps.pcap(content[: COUNT // 2], magic=NANOSECONDS)
    with through_a_pipe(programs) as pipe:
        pipe.write(data + b"the beginning")
        pipe.flush()
        wait_for(lambda: len(stored(programs)) == COUNT // 2, "what has come is stored while the pipe is open")
        assert programs.stop(READING) == 0
    line = last_line(programs, "stopped_before_the_end_of_the_file")
    assert (line["packets"], line["records"]) == ("500", "500")
    assert found_in(programs) == expected(content[: COUNT // 2])
    wait_for(lambda: status_of(programs)["health"] == "done", "it is seen as done")


def test_a_stop_before_anything_has_come_through_a_pipe(programs: MakePrograms) -> None:
    """Also of the file's header: a shell that ends `tcpdump | listener` asks both at once."""
    made = programs()
    with through_a_pipe(made) as pipe:
        wait_for(lambda: _is_waiting(made), "it waits for the header")
        made.signal(READING, signal.SIGTERM)
        assert made.wait_read() in (0, -signal.SIGTERM)
        assert not pipe.closed
    assert "Traceback" not in made.log(READING)


def _is_waiting(programs: Programs) -> bool:
    """Whether the process sleeps in poll()."""
    path = Path(f"/proc/{programs.processes[READING].pid}/wchan")
    return "poll" in path.read_text(encoding="ascii")
