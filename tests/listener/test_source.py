"""Reading from several rings, which are given here as the blocks that they have."""

import errno
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from listener.capture import source
from listener.capture.filter import Instruction
from listener.capture.ring import Blocks, Statistics
from listener.capture.source import CaptureSource
from tapfan.endpoints import Endpoint
from tapfan.messages import PacketCounts
from tapfan.program import CannotRunError
from tapfan.sections import ListenerSettings
from tests.listener import frames
from tests.listener.frames import Frame, ethernet, ipv4, ipv6, laid_out, tcp
from tests.listener.reading import reference

_INTERFACES = ["eth0", "lo"]


class _Ring:
    """A ring with blocks to be taken, each of the frames given."""

    def __init__(
        self,
        interface: str,
        _program: Sequence[Instruction],
        ring_bytes: int,
        retire_ms: int,
        fanout: int | None,
    ) -> None:
        self.interface = interface
        self.fanout = fanout
        self.ring_bytes = ring_bytes
        self.retire_ms = retire_ms
        self.blocks: deque[list[Frame]] = deque()
        self.taken: Blocks | None = None
        self.counted = Statistics()
        self.error = 0
        self.lost = False

    def fileno(self) -> int:
        return _INTERFACES.index(self.interface)

    @property
    def is_drained(self) -> bool:
        return not self.blocks

    def take(self, _most: int) -> Blocks | None:
        assert self.taken is None, "the last ones were given back"
        if self.blocks:
            self.taken = laid_out(self.blocks.popleft(), noise=0xEE)
        return self.taken

    def give_back(self, count: int) -> None:
        assert self.taken is not None
        assert count == len(self.taken)
        self.taken[:] = 0xA5
        self.taken = None

    def take_error(self) -> int:
        error, self.error = self.error, 0
        return error

    def is_lost(self) -> bool:
        return self.lost

    def statistics(self) -> Statistics:
        return self.counted


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[_Ring]:
    """The rings that were opened."""
    opened: list[_Ring] = []

    def open_ring(*arguments: Any) -> _Ring:
        opened.append(_Ring(*arguments))
        return opened[-1]

    monkeypatch.setattr(source, "Ring", open_ring)
    monkeypatch.setattr(source, "choose", lambda _listen, _named: _INTERFACES)
    return opened


def _capturing(**values: Any) -> CaptureSource:
    return CaptureSource(ListenerSettings(listen=(Endpoint.parse("[::]:9000"),), **values), structlog.get_logger())


def _all_records(capturing: CaptureSource) -> list[frames.Record]:
    parts = []
    while (part := capturing.read()) is not None:
        parts.append(part)
    return [record for part in parts for record in frames.rows(part)]


@pytest.mark.parametrize("packet", [ipv4, ipv6])
def test_blocks_of_all_rings_are_read_until_there_are_none(rings: list[_Ring], packet: Any) -> None:
    """Their records stay as they were when the next block is read."""
    capturing = _capturing()
    blocks = [[ethernet(packet(tcp(port, flags=port)))] * 3 for port in range(6)]
    for number, block in enumerate(blocks):
        rings[number % 2].blocks.append(block)
    expected = [reference(frame) for block in (*blocks[0::2], *blocks[1::2]) for frame in block]
    assert sorted(map(repr, _all_records(capturing))) == sorted(map(repr, expected))
    assert capturing.read() is None


def test_no_ring_waits_until_another_is_empty(rings: list[_Ring]) -> None:
    capturing = _capturing()
    for ring, port in zip(rings, (1, 2), strict=True):
        ring.blocks += [[ethernet(ipv4(tcp(port)))]] * 3
    assert [record.source_port for record in _all_records(capturing)] == [1, 2, 1, 2, 1, 2]


def test_a_block_of_malformed_packets_is_counted_and_not_the_end(rings: list[_Ring]) -> None:
    capturing = _capturing()
    cut, whole = replace(ethernet(ipv4(tcp())), kept=40), ethernet(ipv4(tcp()))
    rings[0].blocks += [[cut, cut], [whole]]
    rings[1].blocks += [[cut, whole, cut]]
    assert len(_all_records(capturing)) == 2
    assert capturing.counts().skipped == {"truncated": 4}


def test_all_rings_of_an_ip_version_join_the_same_fanout(rings: list[_Ring]) -> None:
    _capturing(fanout=7)
    assert [ring.fanout for ring in rings] == [7 << 2 | 2] * 2


def test_what_is_there_is_read_once_in_a_look(rings: list[_Ring]) -> None:
    """What comes meanwhile belongs to the next one."""
    capturing = _capturing()
    rings[0].blocks.append([ethernet(ipv6(tcp(1)))])
    assert capturing.read() is not None
    rings[0].blocks.append([ethernet(ipv6(tcp(2)))])
    assert capturing.read() is None
    assert [record.source_port for record in _all_records(capturing)] == [2]


def test_an_interface_that_is_down_is_told_once_and_waited_for(rings: list[_Ring]) -> None:
    capturing = _capturing()
    rings[1].error = errno.ENETDOWN
    with capture_logs() as lines:
        capturing.check()
        capturing.check()
    assert [(line["event"], line["interface"], line["problem"]) for line in lines] == [
        ("interface_error", rings[1].interface, "Network is down")
    ]


@pytest.mark.parametrize("error", [errno.ENETDOWN, 0])
def test_an_interface_that_is_gone_is_an_error_and_what_was_captured_can_still_be_read(
    rings: list[_Ring], error: int
) -> None:
    capturing = _capturing()
    rings[0].blocks.append([ethernet(ipv4(tcp()))])
    rings[1].error, rings[1].lost = error, True
    with pytest.raises(CannotRunError, match=f"the interface {rings[1].interface}, on which .* is gone"):
        capturing.check()
    assert len(_all_records(capturing)) == 1


def test_drops_and_descriptors_are_of_all_rings(rings: list[_Ring]) -> None:
    capturing = _capturing()
    rings[0].counted, rings[1].counted = Statistics(9, 3, 1), Statistics(5, 4, 1)
    assert capturing.counts() == PacketCounts(seen=14, kernel_drops=7, ring_freezes=2)
    assert capturing.descriptors() == [0, 1]
    assert capturing.interfaces == _INTERFACES


@pytest.mark.parametrize(("linger", "retire_ms"), [(0.001, 1), (0.02, 10), (0.5, 10)])
def test_a_block_is_handed_over_in_a_linger_at_most(rings: list[_Ring], linger: float, retire_ms: int) -> None:
    _capturing(linger=linger, ring_bytes=4 * 2**20)
    assert [(ring.retire_ms, ring.ring_bytes) for ring in rings] == [(retire_ms, 4 * 2**20)] * 2
