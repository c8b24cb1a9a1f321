"""The reading commands' options that choose records, and those that choose from a few words or are counts."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from tapfan.flags import LETTERS as FLAG_LETTERS
from tapfan.reader.query import Query

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NETWORK_VALID = 'an address or a network such as "203.0.113.7", "10.0.0.0/8" or "2001:db8::/32"'
_MAPPED_BITS = 96
_MAX_PORT = 65_535
_MAX_DIGITS = 18
_MAX_COUNT = 10**_MAX_DIGITS - 1

Word = TypeVar("Word", bound=str)


def networks(option: str, texts: Sequence[str] | None) -> tuple[Network, ...]:
    """Networks, of which an address's bits beyond the prefix are dropped. Raises ValueError, saying what is valid."""
    return tuple(_network(option, text) for text in texts or ())


def _network(option: str, text: str) -> Network:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"{option} {text!r}: must be {_NETWORK_VALID}") from error
    if "%" in text:
        raise ValueError(f"{option} {text!r}: must be without the interface, {text.partition('%')[0]!r}")
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def port_number(text: str | None) -> int | None:
    """A TCP port. Raises ValueError, saying what is valid."""
    return None if text is None else _number("--port", text, _MAX_PORT)


def count(option: str, text: str | None) -> int | None:
    """A whole number from 1 to _MAX_COUNT. Raises ValueError, saying what is valid."""
    return None if text is None else _number(option, text, _MAX_COUNT)


def _number(option: str, text: str, most: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else 0
    if not 1 <= number <= most:
        raise ValueError(f"{option} {text!r}: must be a whole number from 1 to {most}")
    return number


def flag_bits(text: str | None) -> int:
    """The TCP flags whose letters these are, as bits. Raises ValueError, saying what is valid."""
    if text is None:
        return 0
    letters = text.upper()
    if not letters or not text.isascii() or not set(letters) <= set(FLAG_LETTERS):
        raise ValueError(
            f"--flags {text!r}: must be letters of F(IN), S(YN), R(ST), P(SH), A(CK), U(RG), E(CE), C(WR), such as SA"
        )
    return sum(1 << FLAG_LETTERS.index(letter) for letter in set(letters))


def choice(option: str, text: str, valid: Sequence[Word]) -> Word:
    """The one of the words. Raises ValueError, naming them."""
    for word in valid:
        if text == word:
            return word
    raise ValueError(f"{option} {text!r}: must be {', '.join(valid[:-1])} or {valid[-1]}")


@dataclass(frozen=True)
class Filters:
    """The options that choose records, apart from when they were captured."""

    sources: tuple[Network, ...]
    destinations: tuple[Network, ...]
    port: int | None
    flags: int

    @classmethod
    def read(
        cls, source: Sequence[str] | None, destination: Sequence[str] | None, port: str | None, flags: str | None
    ) -> Self:
        """From what was typed. Raises ValueError, naming the option that is bad and what is valid."""
        return cls(
            networks("--source", source), networks("--destination", destination), port_number(port), flag_bits(flags)
        )

    def query(self, since_ns: int | None = None, until_ns: int | None = None) -> Query:
        """Of what was captured in that time."""
        return Query(since_ns, until_ns, self.sources, self.destinations, self.port, self.flags)
