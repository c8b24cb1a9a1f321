"""Which records a query wants, beside a look at each by itself."""

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.batch import Records
from tapfan.reader.filtering import Filter
from tapfan.reader.query import Query
from tests.tapfan.reader.storing import addresses
from tests.tapfan.strategies import records

Network = IPv4Network | IPv6Network


def _is_in(address: bytes, networks: tuple[Network, ...]) -> bool:
    parsed = IPv6Address(address)
    return not networks or any((parsed.ipv4_mapped or parsed) in network for network in networks)


def _is_wanted(some: Records, row: int, query: Query) -> bool:
    timestamp = int(some.timestamp[row])
    ports = int(some.source_port[row]), int(some.destination_port[row])
    return (
        (query.since_ns is None or timestamp >= query.since_ns)
        and (query.until_ns is None or timestamp < query.until_ns)
        and _is_in(some.source[row].tobytes(), query.sources)
        and _is_in(some.destination[row].tobytes(), query.destinations)
        and (query.port is None or query.port in ports)
        and int(some.flags[row]) & query.flags == query.flags
    )


@st.composite
def _networks_of(draw: st.DrawFn, column: "np.ndarray[tuple[int, int], np.dtype[np.uint8]]") -> tuple[Network, ...]:
    """Networks of some of the addresses, and sometimes others."""
    found: list[Network] = []
    for row in draw(st.lists(st.integers(0, len(column) - 1), max_size=2)):
        parsed = IPv6Address(column[row].tobytes())
        address = parsed.ipv4_mapped or parsed
        found.append(ip_network((address, draw(st.integers(0, address.max_prefixlen))), strict=False))
    return tuple(found)


@given(records(), st.data())
def test_the_mask_is_that_of_each_record_by_itself(some: Records, data: st.DataObject) -> None:
    times = st.one_of(st.none(), st.sampled_from(some.timestamp.tolist()), st.integers(-(2**65), 2**65))
    query = Query(
        since_ns=data.draw(times),
        until_ns=data.draw(times),
        sources=data.draw(_networks_of(some.source)),
        destinations=data.draw(_networks_of(some.destination)),
        port=data.draw(
            st.one_of(st.none(), st.sampled_from(some.source_port.tolist() + some.destination_port.tolist()))
        ),
        flags=data.draw(st.sampled_from([0, 2, 16, int(some.flags[0])])),
    )
    assert Filter(query).mask(some).tolist() == [_is_wanted(some, row, query) for row in range(len(some))]


@pytest.mark.parametrize(
    ("network", "wanted"),
    [
        ("0.0.0.0/0", [True, True, False]),
        ("::/0", [False, False, True]),
        ("127.0.0.0/8", [True, False, False]),
        ("10.1.2.3/32", [False, True, False]),
        ("2001:db8::/33", [False, False, True]),
        ("::ffff:0:0/96", [True, True, False]),
    ],
)
def test_a_network_has_the_addresses_of_its_own_version(network: str, wanted: list[bool]) -> None:
    some = Records.empty(3)
    some.source[:] = addresses("127.0.0.1", "10.1.2.3", "2001:db8::1")
    assert Filter(Query(sources=(ip_network(network),))).mask(some).tolist() == wanted


def test_overlapping_times() -> None:
    wanted = Filter(Query(since_ns=10, until_ns=20))
    assert [wanted.overlaps(*times) for times in ((0, 9), (0, 10), (19, 30), (20, 30))] == [False, True, True, False]
    assert Filter(Query()).overlaps(0, 0)
