"""IP endpoints ("127.0.0.1:9000", "[::1]:9000", "0.0.0.0:*") and the 16-byte addresses that records carry."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, Self

_FORM = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>\d{1,5}|\*)")
IPV4_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
VALID = (
    'an IP address and a port from 1 to 65535, such as "127.0.0.1:9000" or "[::1]:9000", '
    'or * for every port, such as "127.0.0.1:*"'
)
EVERY_PORT = 0

Only = Literal["all", "syn"]  # of the TCP packets to an endpoint: all, or those that ask for a connection


@dataclass(frozen=True)
class Endpoint:
    """An IP address and a TCP port; the unspecified address stands for every address, EVERY_PORT for every port."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "address:port" or "address:*". Raises ValueError, saying what is valid."""
        match = _FORM.fullmatch(text)
        if match is None or not (match["port"] == "*" or 1 <= int(match["port"]) <= 65535):
            raise ValueError(f"must be {VALID}")
        try:
            address = ipaddress.IPv6Address(match["v6"]) if match["v6"] else ipaddress.IPv4Address(match["v4"])
        except ipaddress.AddressValueError as error:
            raise ValueError(f"must be {VALID}") from error
        return cls(address, EVERY_PORT if match["port"] == "*" else int(match["port"]))

    def __str__(self) -> str:
        port = "*" if self.port == EVERY_PORT else self.port
        return f"[{self.address}]:{port}" if self.address.version == 6 else f"{self.address}:{port}"

    @property
    def packed(self) -> bytes:
        """The address in a record's form: 16 bytes, IPv4 mapped into IPv6."""
        return packed(str(self.address))


def packed(address: str) -> bytes:
    """16 bytes of an address in text form; IPv4 is mapped into IPv6, a scope ("%eth0") is dropped."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return parsed.packed if parsed.version == 6 else IPV4_MAPPED_PREFIX + parsed.packed


def address_text(address: bytes) -> str:
    """The usual text (RFC 5952) of a record's 16-byte address."""
    if address.startswith(IPV4_MAPPED_PREFIX):
        return str(ipaddress.IPv4Address(address[12:]))
    return str(ipaddress.IPv6Address(address))
