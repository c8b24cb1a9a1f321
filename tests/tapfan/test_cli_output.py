"""Records as text: whole, in every form, and nothing that a terminal obeys."""

import csv
import json
import re
import time
from io import StringIO
from typing import Any

import numpy as np
from hypothesis import given

from tapfan.batch import COLUMNS, Batch, Records
from tapfan.cli import output
from tapfan.endpoints import IPV4_MAPPED_PREFIX, address_text, packed
from tests.tapfan.strategies import batches, records
from writers.commands import pack

EARLIER_NS = 1_764_162_185_123_456_789
WIDTH = 80


def _records(*rows: tuple[int, str, int, str, int, int, int]) -> Records:
    """Records of timestamp, source, port, destination, port, flags, segments."""
    timestamp, source, sport, destination, dport, flags, segments = zip(*rows, strict=True)
    columns: dict[str, Any] = {"timestamp": timestamp, "source_port": sport, "destination_port": dport}
    columns |= {"flags": flags, "segments": segments}
    columns["source"] = [list(packed(address)) for address in source]
    columns["destination"] = [list(packed(address)) for address in destination]
    return Records(*(np.array(columns[name], dtype) for name, (dtype, _) in COLUMNS.items()))


LONGEST = (EARLIER_NS, "203.113.213.117", 49_614, "198.151.100.201", 65_535, 0xFF, 65_535)
IPV6 = (
    EARLIER_NS,
    "2001:db8:1111:2222:3333:4444:5555:6666",
    49_614,
    "2001:db8:1111:2222:3333:4444:5555:7777",
    443,
    2,
    1,
)


def _whole(some: Records) -> list[tuple[Any, ...]]:
    """The records in Python's own values, with exact seconds and letters."""
    letters = "FSRPAUEC"
    return [
        (
            f"{timestamp // 10**9}.{timestamp % 10**9:09}",
            _address(source),
            sport,
            _address(destination),
            dport,
            "".join(letter for bit, letter in enumerate(letters) if flags >> bit & 1),
            segments,
        )
        for timestamp, source, sport, destination, dport, flags, segments in zip(
            *(getattr(some, name).tolist() for name in ("timestamp", "source", "source_port", "destination")),
            *(getattr(some, name).tolist() for name in ("destination_port", "flags", "segments")),
            strict=True,
        )
    ]


def _address(octets: list[int]) -> str:
    return address_text(bytes(octets) if len(octets) == 16 else IPV4_MAPPED_PREFIX + bytes(octets))


@given(records())
def test_json_lines_hold_each_record_whole(some: Records) -> None:
    lines = output.writer("json")(some).splitlines()
    read = [json.loads(line, parse_float=str) for line in lines]
    names = ("ts", "src", "sport", "dst", "dport", "flags", "segments")
    assert [tuple(line[name] for name in names) for line in read] == _whole(some)


@given(batches())
def test_a_json_line_is_what_the_record_layout_holds(batch: Batch) -> None:
    stored = re.findall(rb"\{[^}]*\}", bytes(pack(batch, 2**40, 0).data))
    assert output.writer("json")(batch.records).encode().splitlines() == stored


@given(records(min_count=2))
def test_csv_has_one_header_and_each_record_whole(some: Records) -> None:
    write = output.writer("csv")
    text = write(some[:1]) + write(some[1:])
    assert text.count("\r\n") == text.count("\n") == len(some) + 1
    header, *rows = csv.reader(StringIO(text, newline=""))
    assert header == ["ts", "src", "sport", "dst", "dport", "flags", "segments"]
    assert [tuple(row) for row in rows] == [tuple(map(str, record)) for record in _whole(some)]


@given(records(min_count=2))
def test_the_table_has_titles_once_and_a_line_for_each_record_with_nothing_cut(some: Records) -> None:
    write = output.writer("table")
    titles, *lines = (write(some[:1]) + write(some[1:])).splitlines()
    assert titles.split() == ["time", "source", "destination", "flags", "segments"]
    shown = []
    for line in lines:
        *_, source, destination, flags, segments = line.split()
        shown.append((source, destination, "" if flags == "-" else flags, segments))
        assert line.isprintable()
    assert shown == [
        (_socket(source, sport), _socket(destination, dport), flags, str(segments))
        for _, source, sport, destination, dport, flags, segments in _whole(some)
    ]


def _socket(address: str, port: int) -> str:
    return f"{address}:{port}" if ":" not in address else f"[{address}]:{port}"


def test_the_longest_ipv4_fits_into_80_columns_even_with_its_day() -> None:
    titles, line = output.writer("table")(_records(LONGEST)).splitlines()
    assert len(line) <= WIDTH
    assert re.match(r"\d\d-\d\d \d\d:\d\d:05\.123 203\.113\.213\.117:49614 ", line)
    assert titles.index("source") == line.index("203.")


def test_rows_of_ipv4_are_aligned_from_the_first_one_on() -> None:
    write = output.writer("table")
    short = (time.time_ns(), "10.0.0.1", 80, "10.0.0.2", 9_000, 0x02, 1)
    long = (time.time_ns(), *LONGEST[1:5], 0x10, 65_535)
    titles, *lines = (write(_records(short)) + write(_records(long))).splitlines()
    assert {line.index(address) for line, address in zip(lines, ("10.0.0.2", "198."), strict=True)} == {
        titles.index("destination")
    }
    assert {len(line) for line in lines} == {len(titles)}


def test_ipv6_is_whole() -> None:
    line = output.writer("table")(_records(IPV6)).splitlines()[1]
    assert f"[{IPV6[1]}]:49614 [{IPV6[3]}]:443 S " in line


def test_without_records_there_is_still_the_header() -> None:
    none = Records.empty()
    assert output.writer("table")(none).split() == ["time", "source", "destination", "flags", "segments"]
    assert output.writer("csv")(none) == "ts,src,sport,dst,dport,flags,segments\r\n"
    assert output.writer("json")(none) == ""
