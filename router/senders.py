"""Who sent a message, as far as its first frame knows: what ZAP let in, and the address."""

import ipaddress
from functools import lru_cache

import zmq


def user_id(sender: zmq.Frame) -> str:
    """The public key that ZAP let in; empty where there is none."""
    return _property(sender, "User-Id")


def address(sender: zmq.Frame) -> str:
    """The address that it came from, without the port."""
    return plain(_property(sender, "Peer-Address"))


def plain(host: str) -> str:
    """The address as people write it: one of IPv4 without what makes it one of IPv6."""
    return host.removeprefix("::ffff:")


def is_local(sender: zmq.Frame) -> bool:
    """Whether it came over ipc, where the peer's address is not one of IP."""
    place = _property(sender, "Peer-Address")
    return not _is_ip(place) and (bool(place) or not user_id(sender))


@lru_cache(maxsize=1024)
def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True


def _property(sender: zmq.Frame, name: str) -> str:
    try:
        return str(sender.get(name))
    except zmq.ZMQError:
        return ""
