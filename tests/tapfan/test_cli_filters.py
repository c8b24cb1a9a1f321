"""What chooses records, as it is typed."""

import re
from ipaddress import ip_network

import pytest

from tapfan.cli import filters

NETWORK = 'must be an address or a network such as "203.0.113.7", "10.0.0.0/8" or "2001:db8::/32"'


@pytest.mark.parametrize(
    ("typed", "network"),
    [
        ("203.0.113.7", "203.0.113.7/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:DB8:0::1", "2001:db8::1/128"),
        ("::/0", "::/0"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.7", "10.0.0.7/32"),
    ],
)
def test_a_network_is_read(typed: str, network: str) -> None:
    assert filters.networks("--source", [typed, "::1"]) == (ip_network(network), ip_network("::1"))


def test_without_any_there_is_none() -> None:
    assert (filters.networks("--source", None), filters.port_number(None), filters.flag_bits(None)) == ((), None, 0)
    assert filters.count("--limit", None) is None


@pytest.mark.parametrize("typed", ["", "10.0.0.0/33", "10.0.0/8", "::/129", "010.0.0.1", "example.org", "10.0.0.1:80"])
def test_what_is_no_network_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"--source {typed!r}: {NETWORK}")):
        filters.networks("--source", ["10.0.0.0/8", typed])


def test_an_interface_in_an_address_is_refused_as_records_have_none() -> None:
    with pytest.raises(ValueError, match=r"^--source 'fe80::1%eth0': must be without the interface, 'fe80::1'$"):
        filters.networks("--source", ["fe80::1%eth0"])


@pytest.mark.parametrize(("typed", "port"), [("1", 1), ("443", 443), ("0080", 80), ("65535", 65_535)])
def test_a_port_is_read(typed: str, port: int) -> None:
    assert filters.port_number(typed) == port


@pytest.mark.parametrize("typed", ["", "0", "65536", "-1", "http", "8_0", "٨٠", "1.0", "9" * 5000])
def test_what_is_no_port_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"--port {typed!r}: must be a whole number from 1 to 65535")):
        filters.port_number(typed)


@pytest.mark.parametrize("typed", ["0", "-1", "many", "", "1" + "0" * 18, "9" * 5000])
def test_what_is_no_count_is_refused(typed: str) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"--limit {typed!r}: must be a whole number from 1 to 999999999999999999")
    ):
        filters.count("--limit", typed)


def test_a_count_may_be_large() -> None:
    assert filters.count("--limit", "1000000000000") == 10**12


@pytest.mark.parametrize(("typed", "bits"), [("S", 0x02), ("SA", 0x12), ("as", 0x12), ("SS", 0x02), ("FSRPAUEC", 0xFF)])
def test_flags_are_read_in_any_order(typed: str, bits: int) -> None:
    assert filters.flag_bits(typed) == bits


@pytest.mark.parametrize("typed", ["", "XY", "S,A", "SYN", "\u017f"])
def test_what_are_no_flags_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=r"^--flags '.*': must be letters of F\(IN\), S\(YN\), .* such as SA$"):
        filters.flag_bits(typed)


def test_a_word_is_one_of_those_that_there_are() -> None:
    assert filters.choice("--format", "csv", ("table", "json", "csv")) == "csv"
    with pytest.raises(ValueError, match=r"^--format 'CSV': must be table, json or csv$"):
        filters.choice("--format", "CSV", ("table", "json", "csv"))
