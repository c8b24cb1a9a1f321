"""A capture file as a source of records: what is counted, and how it ends."""

import select
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from structlog.typing import EventDict

from listener import reading
from listener.files.opening import open_capture
from listener.reading import FileSource
from tapfan.endpoints import Endpoint
from tapfan.logs import Logger
from tapfan.sections import ListenerSettings, WriterSettings
from tapfan.settings import Settings
from tests.listener import frames, pcaps
from tests.listener.frames import ethernet, ipv4, tcp
from tests.listener.pcaps import Packet

_DEADLINE_S = 10.0
_UNKNOWN_LINK = 127
_ENDPOINT = Endpoint.parse("198.51.100.2:9000")

Opening = Callable[..., FileSource]


@pytest.fixture
def opening(tmp_path: Path, log: Logger) -> Opening:
    """Opens what is in a file."""

    def open_source(content: bytes, rebase: bool = False) -> FileSource:
        path = tmp_path / "capture"
        path.write_bytes(content)
        writer = WriterSettings(name="a", redis="redis://127.0.0.1:6379/0", weight=1)
        settings = Settings(listener=ListenerSettings(listen=(_ENDPOINT,)), writers=(writer,))
        return FileSource(open_capture(str(path)), settings, rebase, log, lambda _: None)

    return open_source


def _all(source: FileSource) -> list[frames.Record]:
    found: list[frames.Record] = []
    while not source.has_ended:
        records = source.read()
        if records is None and not source.has_ended:
            assert select.select(source.descriptors(), [], [], _DEADLINE_S)[0], "something comes, or the end"
        elif records is not None:
            found += frames.rows(records)
    return found


def _packet(port: int = 9000, at_ns: int = pcaps.NOW_NS) -> Packet:
    return Packet(ethernet(ipv4(tcp(destination_port=port))).data, at_ns)


def test_records_are_those_to_the_endpoints_and_the_others_are_counted(opening: Opening) -> None:
    source = opening(pcaps.pcap([_packet(), _packet(80), _packet()]))
    assert len(_all(source)) == 2
    counts = source.counts()
    assert (counts.seen, counts.skipped["other_endpoint"]) == (3, 1)


def test_packets_of_an_unknown_link_type_are_counted_also_where_there_are_no_others_behind(opening: Opening) -> None:
    unknown = pcaps.section() + pcaps.interface(link=_UNKNOWN_LINK) + pcaps.enhanced(b"x" * 60) * 5
    source = opening(unknown)
    assert _all(source) == []
    assert (source.counts().seen, source.counts().skipped) == (5, {"link_type": 5})


def test_whatever_goes_wrong_while_the_file_is_read_ends_the_reader_with_it(
    opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise MemoryError("no room")

    monkeypatch.setattr(reading, "decode", fail)
    source = opening(pcaps.pcap([_packet()]))
    with pytest.raises(MemoryError, match="no room"):
        _all(source)
    assert not source.has_ended


def test_a_cut_file_is_named_with_the_place(opening: Opening, tmp_path: Path) -> None:
    source = opening(pcaps.pcap([_packet(), _packet()])[:-1])
    assert len(_all(source)) == 1
    assert source.problem.startswith(f"{tmp_path / 'capture'}: is cut short at byte ")


def test_a_file_that_is_too_old_is_told_at_once_and_rebased_on_request(
    opening: Opening, events: list[EventDict]
) -> None:
    made = pcaps.pcap([_packet(at_ns=pcaps.NOW_NS), _packet(at_ns=pcaps.NOW_NS + 5_000)])
    assert [record.timestamp for record in _all(opening(made))] == [pcaps.NOW_NS, pcaps.NOW_NS + 5_000]
    assert [event["event"] for event in events] == ["older_than_the_ttl"]
    first, second = (record.timestamp for record in _all(opening(made, rebase=True)))
    assert second - first == 5_000
    assert first > pcaps.NOW_NS
    assert len(events) == 1
