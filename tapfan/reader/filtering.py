"""Which of many records a query wants, in bulk."""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

import numpy as np

from tapfan.batch import Column, Records
from tapfan.endpoints import IPV4_MAPPED_PREFIX
from tapfan.reader.query import Query

Network = IPv4Network | IPv6Network

_MAPPED = IPv6Network((IPV4_MAPPED_PREFIX + bytes(4), 96))


class Filter:
    """A query, made ready for many records."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._tests: list[tuple[str, Callable[[Column], Column]]] = []
        for name, networks in (("source", query.sources), ("destination", query.destinations)):
            if networks:
                self._tests.append((name, _membership(networks)))

    @property
    def needs_values(self) -> bool:
        """Whether it looks at more than capture times and addresses."""
        return self._query.port is not None or bool(self._query.flags)

    def overlaps(self, first_ns: int, last_ns: int) -> bool:
        """Whether records captured between these times, both included, can be wanted."""
        query = self._query
        return (query.since_ns is None or last_ns >= query.since_ns) and (
            query.until_ns is None or first_ns < query.until_ns
        )

    def addressed(self, timestamp: Column, source: Column, destination: Column) -> Column:
        """A mask of those records that are wanted by their capture times and addresses of shape (n, 16)."""
        wanted = np.ones(len(timestamp), bool)
        if self._query.since_ns is not None:
            wanted &= timestamp >= self._query.since_ns
        if self._query.until_ns is not None:
            wanted &= timestamp < self._query.until_ns
        columns = {"source": source, "destination": destination}
        for name, test in self._tests:
            wanted &= _by_value(columns[name], test)
        return wanted

    def mask(self, records: Records) -> Column:
        """A mask of those records that are wanted; their addresses have shape (n, 16)."""
        query = self._query
        wanted = self.addressed(records.timestamp, records.source, records.destination)
        if query.port is not None:
            wanted &= (records.source_port == query.port) | (records.destination_port == query.port)
        if query.flags:
            wanted &= (records.flags & np.uint8(query.flags)) == query.flags
        return wanted


def _by_value(column: Column, test: Callable[[Column], Column]) -> Column:
    """The test's result; of a column with one value for all records, that of the first."""
    return test(column[:1]) if column.strides[0] == 0 else test(column)


def _membership(networks: Sequence[Network]) -> Callable[[Column], Column]:
    """Tests whether addresses are in any of the networks."""
    tests = [_in_network(network) for network in networks]

    def test(addresses: Column) -> Column:
        words = np.ascontiguousarray(addresses).view(np.uint64)
        found = tests[0](words)
        for each in tests[1:]:
            found = found | each(words)
        return found

    return test


def _in_network(network: Network) -> Callable[[Column], Column]:
    """Tests addresses as words of shape (n, 2)."""
    if isinstance(network, IPv4Network):
        network = IPv6Network((IPV4_MAPPED_PREFIX + network.network_address.packed, 96 + network.prefixlen))
    value, mask = (np.frombuffer(address.packed, np.uint64) for address in (network.network_address, network.netmask))
    wider = network.prefixlen < _MAPPED.prefixlen and network.supernet_of(_MAPPED)
    mapped = _in_network(_MAPPED) if wider else None

    def test(words: Column) -> Column:
        found: Column = ((words & mask) == value).all(axis=1)
        return found & ~mapped(words) if mapped else found

    return test
