"""Which interfaces see the packets that are sent to the endpoints."""

from collections.abc import Sequence

import psutil

from tapfan.endpoints import Endpoint
from tapfan.program import CannotRunError
from tapfan.values import ALL_INTERFACES

LOOPBACK = "lo"


def choose(endpoints: Sequence[Endpoint], named: Sequence[str] | None) -> list[str]:
    """The named interfaces, else those with the endpoints' addresses, or all of them for a wildcard address.

    Raises CannotRunError.

    Loopback is always among them: what this host sends to an address of its own goes there.
    """
    addresses = {
        interface: {entry.address.partition("%")[0] for entry in entries}
        for interface, entries in psutil.net_if_addrs().items()
    }
    if named is not None:
        unknown = next((name for name in named if name not in (*addresses, ALL_INTERFACES)), None)
        if unknown is not None:
            raise CannotRunError(f"there is no interface {unknown!r}; there are: {', '.join(sorted(addresses))}")
        return list(named)
    if any(endpoint.address.is_unspecified for endpoint in endpoints):
        return [ALL_INTERFACES]
    up = {interface for interface, state in psutil.net_if_stats().items() if state.isup}
    chosen = {LOOPBACK} & up
    for endpoint in endpoints:
        if endpoint.address.is_loopback:
            found = {LOOPBACK} & up
        else:
            found = {interface for interface, own in addresses.items() if str(endpoint.address) in own}
        if not found:
            raise CannotRunError(
                f"no interface has the address of {endpoint}; see `ip address`, "
                "or set interface under [listener] to capture what passes there"
            )
        chosen |= found
    return sorted(chosen)
