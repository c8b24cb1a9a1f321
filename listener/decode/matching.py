"""Which records were sent to an endpoint: as the kernel's filter has it, for records that did not pass it."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tapfan.batch import Column, Records, is_constant, widened
from tapfan.endpoints import EVERY_PORT, IPV4_MAPPED_PREFIX, Endpoint, Only

ATTEMPT_FLAGS, ATTEMPT = 0x12, 0x02  # of the TCP flags SYN and ACK: only SYN, as the first packet of a connection

_PORTS = 65_536
_MAPPED = int.from_bytes(IPV4_MAPPED_PREFIX[8:], "little")


class Matching:
    """Endpoints, and which of the TCP packets to them are wanted."""

    def __init__(self, endpoints: Iterable[Endpoint], only: Only = "all") -> None:
        self._only = only
        chosen = set(endpoints)
        self._ports = {
            version: _ports(
                endpoint.port
                for endpoint in chosen
                if endpoint.address.is_unspecified and endpoint.address.version == version
            )
            for version in (4, 6)
        }
        addresses = [(endpoint, *_halves(endpoint)) for endpoint in chosen if not endpoint.address.is_unspecified]
        self._upper = _sorted(upper for _, upper, _ in addresses)
        self._lower = _sorted(lower for _, _, lower in addresses)
        numbered = [
            (endpoint.port, self._numbers(np.array([upper], np.uint64), np.array([lower], np.uint64)).item())
            for endpoint, upper, lower in addresses
        ]
        self._whole = np.unique(np.array([number for port, number in numbered if port == EVERY_PORT], np.int64))
        self._pairs = np.unique(
            np.array([number * _PORTS + port for port, number in numbered if port != EVERY_PORT], np.int64)
        )

    def wanted(self, records: Records) -> NDArray[np.bool_]:
        """Which of the records were sent to an endpoint, and ask for a connection where only those are wanted."""
        if not len(records):
            return np.zeros(0, bool)
        # What all records have in common is looked at once.
        destination, port, flags = (
            column[:1] if is_constant(column) else column
            for column in (records.destination, records.destination_port, records.flags)
        )
        wanted = self._sent(np.ascontiguousarray(widened(destination)).view("<u8"), port)
        if self._only == "syn":
            wanted = wanted & (flags & ATTEMPT_FLAGS == ATTEMPT)
        return np.broadcast_to(wanted, (len(records),))

    def _sent(self, halves: Column, ports: Column) -> NDArray[np.bool_]:
        """For addresses and ports, of which either may be one for all."""
        upper, lower = halves[:, 0], halves[:, 1]
        mapped = (upper == 0) & (lower & 0xFFFFFFFF == _MAPPED)
        sent: NDArray[np.bool_] = np.where(mapped, self._ports[4][ports], self._ports[6][ports])
        if len(self._upper):
            numbers = self._numbers(upper, lower)
            sent = sent | (_places(self._whole, numbers) >= 0) | (_places(self._pairs, numbers * _PORTS + ports) >= 0)
        return sent

    def _numbers(self, upper: Column, lower: Column) -> Column:
        """A number for each address; negative for those whose halves are of no endpoint."""
        uppers, lowers = _places(self._upper, upper), _places(self._lower, lower)
        return np.where((uppers < 0) | (lowers < 0), -1, uppers * len(self._lower) + lowers)


def _halves(endpoint: Endpoint) -> tuple[int, int]:
    packed = endpoint.packed
    return int.from_bytes(packed[:8], "little"), int.from_bytes(packed[8:], "little")


def _ports(ports: Iterable[int]) -> NDArray[np.bool_]:
    """For each port, whether it is one of these."""
    chosen = list(ports)
    table = np.full(_PORTS, EVERY_PORT in chosen)
    table[chosen] = True
    return table


def _sorted(values: Iterable[int]) -> NDArray[np.uint64]:
    return np.unique(np.array(list(values), np.uint64))


def _places(known: Column, values: Column) -> Column:
    """Where in `known`, which is sorted, each value is; -1 where it is not."""
    if not len(known):
        return np.full(len(values), -1)
    places = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return np.where(known[places] == values, places, -1)
