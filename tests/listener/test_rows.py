"""Records of accepted connections on their way into the pipe."""

import asyncio
import select
import socket
from collections.abc import Iterator

import pytest

from listener.accepting import AcceptSource
from listener.serving.rows import ACK, FORM, PSH, SYN, Rows
from tapfan.endpoints import packed
from tests.listener import frames

_ADDRESSES = (packed("192.0.2.1"), packed("198.51.100.2"), 40_000, 9000)


class _Pipe:
    """Rows, and a reading end that tells one write from the next, as a pipe does not."""

    def __init__(self) -> None:
        self._reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._reading.setblocking(False)
        self.rows = Rows(writing.detach())

    def writes(self) -> list[bytes]:
        """What was written since the last call."""
        found = []
        while select.select([self._reading], [], [], 0)[0]:
            found.append(self._reading.recv(2**20))
        return found

    def close(self) -> None:
        self.rows._file.close()
        self._reading.close()


@pytest.fixture
def pipe() -> Iterator[_Pipe]:
    made = _Pipe()
    yield made
    made.close()


@pytest.mark.parametrize("count", [1, 2, 87, 88, 174, 175, 1000])
def test_rows_arrive_in_order_and_no_write_tears_one(pipe: _Pipe, count: int) -> None:
    """What a pipe takes whole or not at all is PIPE_BUF bytes."""

    async def add() -> None:
        for number in range(count):
            pipe.rows.add(number, _ADDRESSES, SYN)

    asyncio.run(add())
    writes = pipe.writes()
    assert all(0 < len(write) <= select.PIPE_BUF and len(write) % FORM.size == 0 for write in writes)
    assert [row[0] for row in FORM.iter_unpack(b"".join(writes))] == list(range(count))


def test_rows_of_one_turn_are_written_together_at_its_end(pipe: _Pipe) -> None:
    async def add() -> list[int]:
        counts = []
        for _ in range(2):
            for _ in range(3):
                pipe.rows.add(1, _ADDRESSES, SYN)
            counts.append(len(pipe.writes()))
            await asyncio.sleep(0)
            counts.append(len(pipe.writes()))
        return counts

    assert asyncio.run(add()) == [0, 1, 0, 1]


def test_what_waits_at_the_end_is_written_by_a_flush(pipe: _Pipe) -> None:
    async def add() -> None:
        pipe.rows.add(1, _ADDRESSES, SYN)
        pipe.rows.flush()
        assert len(pipe.writes()) == 1

    asyncio.run(add())
    assert pipe.writes() == []


@pytest.mark.parametrize(
    ("peer", "local", "addresses"),
    [
        (("192.0.2.1", 40_000), ("198.51.100.2", 9000), _ADDRESSES),
        (("2001:db8::1", 1, 0, 0), ("::1", 2, 0, 0), (packed("2001:db8::1"), packed("::1"), 1, 2)),
        (("fe80::1%lo", 1, 0, 1), ("fe80::2%lo", 2, 0, 1), (packed("fe80::1"), packed("fe80::2"), 1, 2)),
    ],
)
def test_addresses_are_of_the_form_that_records_have(
    peer: tuple[str, int], local: tuple[str, int], addresses: tuple[bytes, bytes, int, int]
) -> None:
    assert Rows.addresses(peer, local) == addresses


def test_a_row_is_read_as_the_record_that_it_is(pipe: _Pipe) -> None:
    async def add() -> None:
        pipe.rows.add(2**63, _ADDRESSES, PSH | ACK)

    source = AcceptSource(pipe._reading.fileno())
    asyncio.run(add())
    found = source.read()
    assert found
    assert frames.rows(found) == [frames.Record(2**63, *_ADDRESSES, PSH | ACK, 1)]
