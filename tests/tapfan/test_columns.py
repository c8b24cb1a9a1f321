"""Packed columns: as narrow as their values allow, and checked before they are unpacked."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import Column
from tapfan.columns import (
    PackedColumn,
    check_addresses,
    check_numbers,
    pack_addresses,
    pack_numbers,
    unpack_addresses,
    unpack_numbers,
)
from tapfan.endpoints import IPV4_MAPPED_PREFIX
from tests.tapfan.strategies import addresses

U16, U64 = np.dtype("<u2"), np.dtype("<u8")
NETWORK = b"\x20\x01\x0d\xb8\0\0\0\x01"


def _addresses(*some: bytes) -> Column:
    return np.frombuffer(b"".join(some), np.uint8).reshape(-1, 16)


@pytest.mark.parametrize(
    ("values", "dtype", "base", "width"),
    [
        ([7], U16, 7, 0),
        ([7, 7, 7], U16, 7, 0),
        ([1000, 1255], U16, 1000, 1),
        ([1000, 1256], U16, 0, 2),
        ([10**18, 10**18 + 255], U64, 10**18, 1),
        ([10**18, 10**18 + 256], U64, 10**18, 2),
        ([10**18 + 65_536, 10**18], U64, 10**18, 4),
        ([10**18 + 2**32 - 1, 10**18], U64, 10**18, 4),
        ([10**18, 10**18 + 2**32], U64, 0, 8),
        ([0, 2**64 - 1], U64, 0, 8),
    ],
)
def test_numbers_take_the_width_that_their_span_needs(
    values: list[int], dtype: np.dtype[Any], base: int, width: int
) -> None:
    packed = pack_numbers(np.array(values, dtype))
    assert (packed.base, packed.width, len(packed.data)) == (base, width, width * len(values))
    assert unpack_numbers(packed, dtype, len(values)).tolist() == values


@pytest.mark.parametrize(
    ("some", "width"),
    [
        ([b"a" * 16], 0),
        ([b"a" * 16] * 3, 0),
        ([IPV4_MAPPED_PREFIX + b"\1\2\3\4", IPV4_MAPPED_PREFIX + b"\1\2\3\5"], 4),
        ([NETWORK + b"aaaabbbb", NETWORK + b"aaaacccc"], 4),
        ([NETWORK + b"aaaabbbb", NETWORK + b"cccccccc"], 8),
        ([NETWORK + b"aaaabbbb", NETWORK + b"ccccbbbb"], 8),
        ([NETWORK + b"aaaabbbb", IPV4_MAPPED_PREFIX + b"\1\2\3\4"], 16),
        ([b"a" * 16, b"aaaa" + b"baaa" + b"a" * 8], 16),
        ([b"a" * 16, b"b" + b"a" * 15], 16),
    ],
)
def test_addresses_take_the_width_after_what_they_share(some: list[bytes], width: int) -> None:
    packed = pack_addresses(_addresses(*some))
    assert (packed.base, packed.width) == (some[0][: 16 - width], width)
    assert bytes(packed.data) == b"".join(address[16 - width :] for address in some)
    assert unpack_addresses(packed, len(some)).tobytes() == b"".join(some)


@given(st.lists(addresses, min_size=1, max_size=6))
def test_any_addresses_are_unpacked_as_they_were(some: list[bytes]) -> None:
    packed = pack_addresses(_addresses(*some))
    check_addresses(packed, len(some))
    assert unpack_addresses(packed, len(some)).tobytes() == b"".join(some)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6), st.sampled_from([U16, U64]))
def test_any_numbers_are_unpacked_as_they_were(values: list[int], dtype: np.dtype[Any]) -> None:
    column = np.array(values, U64).astype(dtype)
    packed = pack_numbers(column)
    check_numbers(packed, 256**dtype.itemsize, len(values))
    assert unpack_numbers(packed, dtype, len(values)).tolist() == column.tolist()


def test_one_value_stays_one_value_in_memory() -> None:
    ports = unpack_numbers(pack_numbers(np.broadcast_to(np.uint16(80), (1000,))), U16, 1000)
    hosts = unpack_addresses(pack_addresses(np.broadcast_to(np.zeros(16, np.uint8), (1000, 16))), 1000)
    assert (ports.strides, hosts.strides) == ((0,), (0, 1))


def test_a_slice_of_a_packed_column_copies_nothing() -> None:
    packed = pack_numbers(np.arange(100, dtype=U16) * 600)
    part = packed[10:20]
    assert np.shares_memory(np.frombuffer(packed.data, np.uint8), np.frombuffer(part.data, np.uint8))
    assert unpack_numbers(part, U16, 10).tolist() == [at * 600 for at in range(10, 20)]


@pytest.mark.parametrize(
    ("base", "width", "data", "limit"),
    [
        (65_535, 0, b"", 65_536),
        (0, 2, b"\xff\xff", 65_536),
        (200, 1, b"\x37", 256),
        (65_535, 8, bytes(8), 65_536),
        (0, 8, b"\xff\xff" + bytes(6), 65_536),
        (10**19 - 1, 0, b"", 10**19),
    ],
)
def test_numbers_up_to_the_limit_pass(base: int, width: int, data: bytes, limit: int) -> None:
    packed = PackedColumn(base, width, data)
    check_numbers(packed, limit, 1)
    unpacked = unpack_numbers(packed, U16 if limit == 65_536 else U64, 1)
    assert unpacked.tolist() == [base + int.from_bytes(data, "little")]


@pytest.mark.parametrize(
    ("base", "width", "data", "limit"),
    [
        (65_536, 0, b"", 65_536),
        (200, 1, b"\x38", 256),
        (1, 2, b"\xff\xff", 65_536),
        (0, 4, b"\x00\x00\x01\x00", 65_536),
        (0, 8, b"\xff" * 8, 65_536),
        (2**64 - 1, 8, b"\xff" * 8, 65_536),
        (10**19 - 1, 1, b"\x01", 10**19),
    ],
)
def test_numbers_past_the_limit_are_refused(base: int, width: int, data: bytes, limit: int) -> None:
    with pytest.raises(ValueError, match=f"a number of {limit} or more"):
        check_numbers(PackedColumn(base, width, data), limit, 1)


@pytest.mark.parametrize("base", [-1, True, 1.0, "1", b"1", None, [1]])
def test_a_base_that_is_no_number_is_refused(base: Any) -> None:
    with pytest.raises(ValueError, match="are not those of numbers"):
        check_numbers(PackedColumn(base, 1, b"\0"), 65_536, 1)


@pytest.mark.parametrize("width", [-1, 3, 5, 16, True, 1.0, "1", None])
def test_a_width_that_is_none_of_numbers_is_refused(width: Any) -> None:
    with pytest.raises(ValueError, match="are not those of numbers"):
        check_numbers(PackedColumn(0, width, b"\0"), 65_536, 1)


@pytest.mark.parametrize(
    ("base", "width"),
    [
        (bytes(15), 0),
        (bytes(17), 0),
        (bytes(12), 8),
        (b"", 4),
        ("a" * 12, 4),
        (12, 4),
        (bytes(14), 2),
        (b"", True),
        (bytes(15), True),
        (bytes(12), 4.0),
        (bytes(12), [4]),
        (None, 16),
    ],
)
def test_a_base_and_a_width_that_are_no_address_are_refused(base: Any, width: Any) -> None:
    with pytest.raises(ValueError, match="are not those of addresses"):
        check_addresses(PackedColumn(base, width, bytes(16)), 1)


@pytest.mark.parametrize("length", [0, 7, 9, 16])
def test_data_of_another_length_than_the_count_needs_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} bytes for 2 records of 4 each"):
        check_addresses(PackedColumn(bytes(12), 4, bytes(length)), 2)
    with pytest.raises(ValueError, match=f"{length} bytes for 2 records of 4 each"):
        check_numbers(PackedColumn(0, 4, bytes(length)), 2**32, 2)


def test_a_single_value_with_data_is_refused() -> None:
    with pytest.raises(ValueError, match="1 bytes for 2 records of 0 each"):
        check_numbers(PackedColumn(0, 0, b"\0"), 256, 2)
