"""Which interfaces see the packets that are sent to the endpoints."""

from collections.abc import Sequence

import psutil

from tapfan.endpoints import Endpoint
from tapfan.program import CannotRunError

LOOPBACK = "lo"
ALL = "any"  # as tcpdump calls it; every interface, also those that come later


def choose(endpoints: Sequence[Endpoint], named: str | None) -> list[str]:
    """The named interface, else those with the endpoints' addresses, or ALL for a wildcard. Raises CannotRunError.

    Loopback is always among them: what this host sends to an address of its own goes there.
    """
    addresses = {
        interface: {entry.address.partition("%")[0] for entry in entries}
        for interface, entries in psutil.net_if_addrs().items()
    }
    if named is not None:
        if named not in addresses:
            raise CannotRunError(f"there is no interface {named!r}; there are: {', '.join(sorted(addresses))}")
        return [named]
    if any(endpoint.address.is_unspecified for endpoint in endpoints):
        return [ALL]
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
