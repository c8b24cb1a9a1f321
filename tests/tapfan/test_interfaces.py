"""Interfaces to capture on: those that see what is sent to the endpoints."""

import psutil
import pytest

from tapfan.endpoints import Endpoint
from tapfan.interfaces import choose
from tapfan.program import CannotRunError
from tapfan.values import ALL_INTERFACES


def _choose(*endpoints: str, named: tuple[str, ...] | None = None) -> list[str]:
    return choose([Endpoint.parse(endpoint) for endpoint in endpoints], named)


@pytest.mark.parametrize("endpoints", [["127.0.0.1:9000"], ["127.9.9.9:1"], ["[::1]:9000"], ["127.0.0.1:1", "[::1]:2"]])
def test_loopback_addresses_are_seen_on_lo(endpoints: list[str]) -> None:
    assert _choose(*endpoints) == ["lo"]


@pytest.mark.parametrize("endpoint", ["0.0.0.0:9000", "[::]:9000"])
def test_every_address_is_every_interface_also_those_that_come_later(endpoint: str) -> None:
    assert choose([Endpoint.parse("127.0.0.1:1"), Endpoint.parse(endpoint)], None) == [ALL_INTERFACES]


def test_an_address_is_seen_on_its_interface_and_from_this_host_on_lo() -> None:
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family.name == "AF_INET" and name != "lo":
                assert _choose(f"{entry.address}:9000") == sorted(["lo", name])


@pytest.mark.parametrize(
    "endpoints", [["192.0.2.1:9000"], ["127.0.0.1:9000", "192.0.2.1:9000"], ["[2001:db8::1]:9000"]]
)
def test_an_address_that_no_interface_has_is_named_with_what_to_do(endpoints: list[str]) -> None:
    with pytest.raises(CannotRunError) as caught:
        _choose(*endpoints)
    assert f"no interface has the address of {endpoints[-1]}; see `ip address`" in str(caught.value)


def test_a_named_interface_is_taken_whatever_its_addresses() -> None:
    assert _choose("192.0.2.1:9000", named=("lo",)) == ["lo"]


def test_all_that_are_named_are_taken_in_their_order() -> None:
    names = tuple(sorted(psutil.net_if_addrs(), reverse=True))
    assert _choose("192.0.2.1:9000", named=names) == list(names)


def test_every_interface_can_be_asked_for_whatever_the_addresses() -> None:
    assert _choose("127.0.0.1:9000", named=(ALL_INTERFACES,)) == [ALL_INTERFACES]


def test_a_named_interface_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(CannotRunError) as caught:
        _choose("127.0.0.1:9000", named=("lo", "eth99"))
    known = ", ".join(sorted(psutil.net_if_addrs()))
    assert str(caught.value) == f"there is no interface 'eth99'; there are: {known}"
