"""pcapng files that are cut or damaged: what is before is read, and what is wrong is told."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.files.buffer import CHUNK_BYTES
from tests.listener.pcaps import (
    ENHANCED,
    IF_TSOFFSET,
    IF_TSRESOL,
    INTERFACE,
    NAMES,
    SECTION,
    block,
    damaged,
    enhanced,
    interface,
    obsolete,
    option,
    section,
    simple,
)
from tests.listener.plain_pcapng import ORDERS, SLL2, USB, read_as_plainly


def test_cut_anywhere(tmp_path: Path) -> None:
    data = section() + interface() + enhanced(b"one") + block(NAMES, b"") + simple(b"two") + section(">")
    data += interface(">") + obsolete(b"three", 1, ">")
    for size in range(1, len(data) + 1):
        result = read_as_plainly(tmp_path, data[:size])
        assert (result.error is None) == (size >= len(section()))
    assert len(result.packets) == 3


WHOLE = section() + interface() + enhanced(b"fine") * 40


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (struct.pack("<III", NAMES, 8, 8), "a block of 8 bytes"),
        (struct.pack("<III", NAMES, 0, 0), "a block of 0 bytes"),
        (struct.pack("<III", NAMES, 13, 13) + b"1", "a block of 13 bytes"),
        (block(NAMES, b"") + struct.pack("<IIHI", NAMES, 14, 0, 14), "a block of 14 bytes, which is no multiple of 4,"),
        (struct.pack("<III", NAMES, 12, 16), "ends with 16 as its length"),
        (struct.pack("<II", ENHANCED, 1 << 31), "a block of 2147483648 bytes"),
        (struct.pack("<III", ENHANCED, 12, 12), "in a block of 12"),
        (block(ENHANCED, struct.pack("<IIIII", 1, 0, 0, 0, 0)), "a packet of interface 1, while 1 are described,"),
        (block(ENHANCED, struct.pack("<IIIII", 0, 0, 0, 5, 5) + b"four"), "a packet of 5 bytes in a block of 36"),
        (simple(b"four", length=5), "a packet of 5 bytes in a block of 20"),
        (section() + simple(b"four"), "interface 0, while 0 are described,"),
        (block(SECTION, bytes(16)), "no byte order"),
        (section(version=(2, 0)), "version 2.0"),
        (block(INTERFACE, b"four"), "a block of 16 bytes, where its type has at least 20,"),
        (block(INTERFACE, struct.pack("<HHIHH", 1, 0, 0, 2, 100)), "option 2 of 100 bytes"),
        (block(INTERFACE, struct.pack("<HHI", 1, 0, 0) + option(IF_TSRESOL, b"12")), "of 2 bytes instead of 1"),
        (block(INTERFACE, struct.pack("<HHI", 1, 0, 0) + option(IF_TSOFFSET, b"12")), "of 2 bytes instead of 8"),
    ],
)
@pytest.mark.parametrize("after", [b"", enhanced(b"after")])
def test_damage(tmp_path: Path, bad: bytes, problem: str, after: bytes) -> None:
    """What is before it is given, and then it is told what is wrong, and where."""
    data = WHOLE + bad + after + bytes(40)
    error = str(read_as_plainly(tmp_path, data).error)
    assert problem in error
    assert " at byte " in error


@st.composite
def _files(draw: st.DrawFn) -> bytes:
    data = b""
    for _ in range(draw(st.integers(1, 2))):
        order = draw(st.sampled_from(ORDERS))
        data += section(order) + interface(order, snap_length=draw(st.sampled_from((0, 4))))
        blocks = (
            enhanced(b"first", 1, order),
            enhanced(b"second", 2**60 + 1, order, 1),
            obsolete(b"old", 3, order, 1),
            simple(b"simple", order),
            block(NAMES, b"names", order),
            interface(order, draw(st.sampled_from((1, SLL2, USB))), resolution=draw(st.sampled_from((0, 9, 0x90)))),
            enhanced(b"run", 4, order) * 40,
        )
        data += b"".join(draw(st.lists(st.sampled_from(blocks), max_size=12)))
    return data


@given(data=damaged(_files()), chunk_bytes=st.sampled_from((64, 1000, CHUNK_BYTES)))
def test_damaged_as_read_plainly(tmp_path_factory: pytest.TempPathFactory, data: bytes, chunk_bytes: int) -> None:
    if data.startswith(struct.pack("<I", SECTION)):
        read_as_plainly(tmp_path_factory.getbasetemp(), data, chunk_bytes)
