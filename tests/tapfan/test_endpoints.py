"""Endpoints: text and 16 bytes, there and back."""

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.endpoints import EVERY_PORT, Endpoint, address_text, packed

ports = st.integers(0, 65_535)  # 0: every port
ip_addresses = st.ip_addresses()


@given(ip_addresses, ports)
def test_an_endpoint_is_read_back_from_its_text(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    endpoint = Endpoint(address, port)
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("127.0.0.1:9000", "127.0.0.1", 9000),
        ("0.0.0.0:1", "0.0.0.0", 1),
        ("[::1]:65535", "::1", 65_535),
        ("[2001:DB8:0:0::1]:80", "2001:db8::1", 80),
        ("192.0.2.1:*", "192.0.2.1", EVERY_PORT),
        ("0.0.0.0:*", "0.0.0.0", EVERY_PORT),
        ("[::]:*", "::", EVERY_PORT),
    ],
)
def test_an_endpoint_has_an_address_and_a_port(text: str, address: str, port: int) -> None:
    assert Endpoint.parse(text) == Endpoint(ipaddress.ip_address(address), port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9000",
        ":9000",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:100000",
        "127.0.0.1:-1",
        "127.0.0.1:**",
        "127.0.0.1:*0",
        "*:9000",
        "*:*",
        "*",
        "127.0.0.1:http",
        "127.0.0.1:9000 ",
        "127.0.0.1:9000\n",
        "127.0.0.256:9000",
        "127.0.1:9000",
        "::1:9000",
        "[::1]9000",
        "[::1:9000",
        "[]:9000",
        "[127.0.0.1]:9000",
        "[::g]:9000",
        "localhost:9000",
        "tcp://127.0.0.1:9000",
    ],
)
def test_what_is_no_endpoint_is_refused_with_examples(text: str) -> None:
    examples = r'such as "127\.0\.0\.1:9000" or "\[::1\]:9000", or \* for every port, such as "127\.0\.0\.1:\*"'
    with pytest.raises(ValueError, match=examples):
        Endpoint.parse(text)


@pytest.mark.parametrize("text", ["192.0.2.1:*", "0.0.0.0:*", "[::]:*", "[2001:db8::1]:*"])
def test_every_port_is_written_as_it_is_read(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


@given(st.one_of(st.text(), st.text("0123456789abcdef:.[]%* ")))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        endpoint = Endpoint.parse(text)
        assert 1 <= endpoint.port <= 65_535 or (endpoint.port == EVERY_PORT and text.endswith(":*"))


@given(ip_addresses)
def test_an_address_is_16_bytes_and_read_back(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = address.version == 6 and address.ipv4_mapped
    assert len(packed(str(address))) == 16
    assert address_text(packed(str(address))) == str(mapped or address)


@given(st.binary(min_size=16, max_size=16))
def test_any_16_bytes_have_a_text_that_packs_to_them(address: bytes) -> None:
    assert packed(address_text(address)) == address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.7", bytes(10) + b"\xff\xff\xcb\x00\x71\x07"),
        ("::1", bytes(15) + b"\x01"),
        ("fe80::1%eth0", b"\xfe\x80" + bytes(13) + b"\x01"),
    ],
)
def test_ipv4_is_mapped_and_a_scope_dropped(address: str, expected: bytes) -> None:
    assert packed(address) == expected


def test_an_endpoint_gives_its_address_as_records_carry_it() -> None:
    assert Endpoint.parse("127.0.0.1:9000").packed == packed("127.0.0.1")
    assert Endpoint.parse("[::1]:9000").packed == packed("::1")
