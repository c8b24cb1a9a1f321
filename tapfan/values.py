"""Single values that come in from outside: what they must be, and how an error shows them.

Each function gives the value to use, or raises ValueError, saying what is valid.
"""

import ipaddress
import math
import re
import reprlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tapfan import durations, redis_urls
from tapfan.endpoints import Endpoint

MIN_WEIGHT = 1e-9  # of one that is not 0
MAX_WEIGHT = 1_000_000_000
MAX_TTL_S = 31 * 86_400
ALL_INTERFACES = "any"  # as tcpdump calls them; also those that come later
_MAX_INTERFACE_NAME = 15
_INTERFACES_VALID = f'the name of an interface, such as "eth0", a list of them, or {ALL_INTERFACES!r}'
_ZMQ_VALID = "must be ipc:///path or tcp://host:port, such as tcp://127.0.0.1:7201 or tcp://router.example:7201"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_SMALLEST = 5e-324
_EVERY_ADDRESS = "*"  # as ZeroMQ writes it
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def weight(value: Any) -> float:
    """A weight: 0, or a finite number from MIN_WEIGHT to MAX_WEIGHT, or its text."""
    if isinstance(value, str):
        value = _number(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_WEIGHT:
        raise ValueError(f"must be a finite number from 0 to {MAX_WEIGHT}")
    if 0 < value < MIN_WEIGHT:
        raise ValueError(f"must be 0, or at least {MIN_WEIGHT:g}")
    return float(value) + 0.0  # -0.0 becomes 0.0


def _number(text: str) -> float:
    """The number that a text is, NaN where it is none; one that is too small for a float, and not 0, is not 0 here."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return math.nan
    return float(text) or (_SMALLEST if any(digit in found[1] for digit in "123456789") else 0.0)


def seconds(value: Any) -> float:
    """A duration, as `tapfan.durations` reads it."""
    if not isinstance(value, str | int | float):
        raise ValueError(f"must be {durations.VALID}")
    return durations.seconds(value)


def ttl(value: Any) -> float:
    """How long a record lives, in seconds, as `seconds` reads it."""
    duration = seconds(value)
    if not 1 <= duration <= MAX_TTL_S:
        raise ValueError("must be from 1s to 31d")
    return duration


def count(value: Any) -> Any:
    """What is to be a whole number; true and false are none, though Python counts with them."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    return value


def interfaces(value: Any) -> tuple[str, ...]:
    """Names of interfaces: one, or a list of different ones; ALL stands for itself only."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"must be {_INTERFACES_VALID}")
    if not all(isinstance(name, str) and 1 <= len(name) <= _MAX_INTERFACE_NAME for name in names):
        raise ValueError(f"must be {_INTERFACES_VALID}; a name has 1 to {_MAX_INTERFACE_NAME} characters")
    if len(set(names)) < len(names) or (ALL_INTERFACES in names and len(names) > 1):
        raise ValueError(f"must be {_INTERFACES_VALID}, each once, and {ALL_INTERFACES!r} alone")
    return tuple(names)


def folder(value: Any) -> Path:
    """A folder's path."""
    return _path(value, "must be the path of a folder")


def key_file(value: Any) -> Path:
    """The path of a file that holds a key."""
    return _path(value, "must be the path of a key file, as `tapfan keys make` makes them")


def file(value: Any) -> Path:
    """A file's path."""
    return _path(value, "must be the path of a file")


def _path(value: Any, problem: str) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError(problem)
    return Path(value)


def listen_endpoint(value: Any) -> Endpoint:
    """An IP address and a port, or every port."""
    if isinstance(value, Endpoint):
        return value
    endpoint = Endpoint.parse(value.strip() if isinstance(value, str) else "")
    if endpoint.address.version == 6 and endpoint.address.ipv4_mapped:
        raise ValueError(f"must be the IPv4 address itself: {Endpoint(endpoint.address.ipv4_mapped, endpoint.port)}")
    return endpoint


def redis_url(value: Any) -> str:
    """The URL of one Redis database, or of a cluster; see `tapfan.redis_urls`."""
    if not isinstance(value, str):
        raise ValueError(redis_urls.VALID)
    redis_urls.check(value)
    return value


def zmq_endpoint(value: Any) -> str:
    """A ZeroMQ endpoint: on this host, or, as TCP, on any."""
    try:
        parts = urlsplit(value)
        if parts.scheme == "ipc":
            valid = parts.path.startswith("/") and not parts.netloc
        else:
            rest = parts.path or parts.query or parts.fragment
            valid = parts.scheme == "tcp" and bool(parts.port) and not rest and "@" not in value
            valid = valid and (_ip(value) is not None or zmq_host(value) == _EVERY_ADDRESS or _is_name(zmq_host(value)))
    except (ValueError, AttributeError, TypeError):
        valid = False
    if not valid:
        raise ValueError(_ZMQ_VALID)
    return str(value)


def zmq_host(endpoint: str) -> str:
    """The host of a valid TCP endpoint, without brackets."""
    return urlsplit(endpoint).hostname or ""


def is_local(endpoint: str) -> bool:
    """Whether nothing but programs of this host gets to that ZeroMQ endpoint: it is ipc, or TCP on loopback."""
    if endpoint.startswith("tcp://"):
        address = _ip(endpoint)
        return address is not None and address.is_loopback
    return endpoint.startswith(("ipc://", "inproc://"))


def is_every_address(endpoint: str) -> bool:
    """Whether that ZeroMQ endpoint stands for all addresses of this host: good for binding, not for connecting."""
    address = _ip(endpoint)
    return zmq_host(endpoint) == _EVERY_ADDRESS or (address is not None and address.is_unspecified)


def is_host_name(endpoint: str) -> bool:
    """Whether that ZeroMQ endpoint is TCP on a host with a name: good for connecting, not for binding."""
    return endpoint.startswith("tcp://") and _ip(endpoint) is None and zmq_host(endpoint) != _EVERY_ADDRESS


def _ip(endpoint: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(zmq_host(endpoint))
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(map(_HOST_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def shown(value: Any) -> str:
    """A value as part of an error's text: short, however large or deeply nested it is."""
    return f"{reprlib.repr(value):.60}"
