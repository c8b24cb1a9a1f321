"""Records as text: a table for people, JSON lines or CSV (RFC 4180) for programs."""

import socket
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Literal

import numpy as np

from tapfan.batch import Column, Records, widened
from tapfan.cli.aligned import Aligned
from tapfan.cli.timestamps import local_times, seconds
from tapfan.endpoints import IPV4_MAPPED_PREFIX, address_text
from tapfan.flags import TEXTS as FLAG_TEXTS

Form = Literal["table", "json", "csv"]
FORMS: tuple[Form, ...] = ("table", "json", "csv")
Writer = Callable[[Records], str]  # the text of the next records, with what goes before the first ones

_NS_A_MS = 1_000_000
_WIDTHS = (12, 21, 21, 5, 8)  # of the table's columns for IPv4, so that its first rows have those of all others


def writer(form: Form) -> Writer:
    """What makes text of records in that form; one for each output."""
    if form == "table":
        return _TableWriter()
    return _CsvWriter() if form == "csv" else _json


def socket_text(address: str, port: int) -> str:
    """An address and a port as one."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@lru_cache(maxsize=65_536)
def _address(address: bytes) -> str:
    if address.startswith(IPV4_MAPPED_PREFIX):
        return socket.inet_ntoa(address[12:])
    return address_text(address)


def _addresses(column: Column) -> list[str]:
    whole = np.ascontiguousarray(widened(column))
    return list(map(_address, whole.view("V16").ravel().tolist()))


def _flags(column: Column) -> list[str]:
    return [FLAG_TEXTS[value] for value in column.tolist()]


def _fields(records: Records) -> Iterator[tuple[int, str, int, str, int, str, int]]:
    """Of each record: timestamp, source, its port, destination, its port, flags, segments."""
    return zip(
        records.timestamp.tolist(),
        _addresses(records.source),
        records.source_port.tolist(),
        _addresses(records.destination),
        records.destination_port.tolist(),
        _flags(records.flags),
        records.segments.tolist(),
        strict=True,
    )


def _json(records: Records) -> str:
    """Each record as the line that it is in Redis, in layout "record"."""
    return "".join(
        f'{{"ts":{seconds(ts)},"src":"{src}","sport":{sport},"dst":"{dst}","dport":{dport},"flags":"{flags}",'
        f'"segments":{segments}}}\n'
        for ts, src, sport, dst, dport, flags, segments in _fields(records)
    )


class _CsvWriter:
    def __init__(self) -> None:
        self._head = "ts,src,sport,dst,dport,flags,segments\r\n"

    def __call__(self, records: Records) -> str:
        head, self._head = self._head, ""
        # No value needs quotes: they are numbers, addresses and letters.
        return head + "".join(
            f"{seconds(ts)},{src},{sport},{dst},{dport},{flags},{segments}\r\n"
            for ts, src, sport, dst, dport, flags, segments in _fields(records)
        )


class _TableWriter:
    def __init__(self) -> None:
        self._table = Aligned("time", "source", "destination", "flags", ">segments", widths=_WIDTHS)

    def __call__(self, records: Records) -> str:
        timestamps = records.timestamp.tolist()
        times = zip(local_times(timestamps), timestamps, strict=True)
        lines = self._table.lines(
            [f"{to_the_second}.{timestamp // _NS_A_MS % 1000:03}" for to_the_second, timestamp in times],
            list(map(socket_text, _addresses(records.source), records.source_port.tolist())),
            list(map(socket_text, _addresses(records.destination), records.destination_port.tolist())),
            [flags or "-" for flags in _flags(records.flags)],
            [str(segments) for segments in records.segments.tolist()],
        )
        return "".join(f"{line}\n" for line in lines)
