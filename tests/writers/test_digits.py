"""Numbers and addresses as text: what Python itself says of each of them."""

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapfan.batch import Column
from tests.tapfan.strategies import addresses as any_address
from tests.writers.fields import texts
from writers import digits

_MAPPED = bytes(10) + b"\xff\xff"
_FLAG_LETTERS = "FSRPAUEC"
_octets = st.one_of(st.sampled_from([0, 9, 10, 99, 100, 255]), st.integers(0, 255))
_ipv4 = st.tuples(_octets, _octets, _octets, _octets).map(lambda octets: _MAPPED + bytes(octets))
_groups = st.one_of(st.just(0), st.sampled_from([1, 0xFFFF, 0xFF, 0x1000]), st.integers(0, 0xFFFF))
_ipv6 = st.lists(_groups, min_size=8, max_size=8).map(
    lambda groups: b"".join(group.to_bytes(2, "big") for group in groups)
)
_forms: dict[str, Callable[[Column], Column]] = {
    "array": lambda column: column,
    "every other": lambda column: np.repeat(column, 2, axis=0)[::2],
    "reversed": lambda column: column[::-1],
}


def _as_array(values: Sequence[Any], dtype: str) -> Column:
    return np.array(values, dtype)


def _address_text(address: bytes) -> bytes:
    packed = address[12:] if address[:12] == _MAPPED else address
    return str(ipaddress.ip_address(packed)).encode()


def _flags_text(flags: int) -> bytes:
    return "".join(letter for bit, letter in enumerate(_FLAG_LETTERS) if flags & 2**bit).encode()


@pytest.mark.parametrize("form", _forms)
@given(values=st.lists(st.one_of(st.integers(0, 65_535), st.sampled_from([0, 9, 10, 99, 100, 65_535])), min_size=1))
def test_numbers_are_in_decimal(form: str, values: list[int]) -> None:
    column = _forms[form](_as_array(values, "<u2"))
    assert texts(digits.decimal(column), len(values)) == [str(value).encode() for value in column.tolist()]


@pytest.mark.parametrize("form", _forms)
@given(values=st.lists(st.integers(0, 255), min_size=1))
def test_flags_are_scapys_letters(form: str, values: list[int]) -> None:
    column = _forms[form](_as_array(values, "u1"))
    assert texts(digits.flags(column), len(values)) == [_flags_text(value) for value in column.tolist()]


@pytest.mark.parametrize(("value", "text"), [(0, b""), (2, b"S"), (18, b"SA"), (17, b"FA"), (255, b"FSRPAUEC")])
def test_flags_by_name(value: int, text: bytes) -> None:
    assert texts(digits.flags(np.full(3, value, np.uint8)), 3) == [text] * 3


@given(st.integers(1, 19).flatmap(lambda width: st.tuples(st.just(width), st.lists(st.integers(0, 10**width - 1)))))
@example((19, [10**19 - 1, 0, 10**18]))
def test_fixed_decimals_have_leading_zeros(case: tuple[int, list[int]]) -> None:
    width, values = case
    field = digits.fixed_decimal(_as_array(values, "<u8"), width)
    assert texts(field, len(values)) == [f"{value:0{width}}".encode() for value in values]


@given(st.integers(1, 16).flatmap(lambda width: st.tuples(st.just(width), st.lists(st.integers(0, 16**width - 1)))))
@example((12, [2**48 - 1, 0, 0xA]))
def test_fixed_hexadecimals_have_leading_zeros(case: tuple[int, list[int]]) -> None:
    width, values = case
    field = digits.fixed_hex(_as_array(values, "<u8"), width)
    assert texts(field, len(values)) == [f"{value:0{width}x}".encode() for value in values]


@pytest.mark.parametrize("form", _forms)
@pytest.mark.parametrize("kind", [_ipv4, _ipv6, any_address], ids=["IPv4", "IPv6", "mixed"])
@given(data=st.data())
def test_addresses_are_in_their_usual_text(kind: st.SearchStrategy[bytes], form: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(kind, min_size=1, max_size=8))
    column = _forms[form](np.frombuffer(b"".join(values), np.uint8).reshape(-1, 16))
    expected = [_address_text(row.tobytes()) for row in column]
    assert texts(digits.addresses(column), len(values)) == expected


@given(st.one_of(_ipv4, _ipv6), st.integers(1, 5))
def test_one_address_for_all_is_one_constant(address: bytes, count: int) -> None:
    column = np.broadcast_to(np.frombuffer(address, np.uint8), (count, 16))
    assert digits.addresses(column) == _address_text(address)


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        (b"0.0.0.0", _MAPPED + bytes(4)),
        (b"255.255.255.255", _MAPPED + b"\xff" * 4),
        (b"1.22.133.4", _MAPPED + bytes([1, 22, 133, 4])),
        (b"::", bytes(16)),
        (b"::1", bytes(15) + b"\1"),
        (b"::1:0:ffff:102:304", bytes(7) + b"\1\0\0\xff\xff" + bytes([1, 2, 3, 4])),
        (b"1::ffff:102:304", b"\0\1" + bytes(8) + b"\xff\xff" + bytes([1, 2, 3, 4])),
        (b"::102:304", bytes(12) + bytes([1, 2, 3, 4])),
        (b"2001:db8::1", b"\x20\x01\x0d\xb8" + bytes(11) + b"\1"),
        (b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", b"\xff" * 16),
    ],
)
def test_addresses_by_name(text: bytes, packed: bytes) -> None:
    """Alone, and among others."""
    others = np.frombuffer(packed + bytes(15) + b"\2" + packed, np.uint8).reshape(-1, 16)
    assert texts(digits.addresses(others[:1]), 1) == [text]
    assert texts(digits.addresses(others), 3) == [text, b"::2", text]
    neighbours = np.frombuffer(packed + packed[:15] + b"\7", np.uint8).reshape(-1, 16)
    assert texts(digits.addresses(neighbours), 2)[0] == text


def test_every_octet_stands_at_every_place() -> None:
    values = [
        _MAPPED + bytes([*[7] * place, octet, *[123] * (3 - place)]) for place in range(4) for octet in range(256)
    ]
    column = np.frombuffer(b"".join(values), np.uint8).reshape(-1, 16)
    assert texts(digits.addresses(column), len(values)) == [_address_text(value) for value in values]
