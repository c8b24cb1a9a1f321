"""What is asked of the reader, and what it answers with."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, NamedTuple

By = Literal["source", "destination", "pair", "port"]


class ReaderError(Exception):
    """Raised when no Redis could be read, or what was read could not be kept; its text says why, without secrets."""


@dataclass(frozen=True)
class Query:
    """Which records are wanted: those to which all of it applies.

    Capture times from `since_ns` to below `until_ns`; a source in any of the networks `sources`, a destination in any
    of `destinations` (none given: any address); `port` as source or destination port; all of the TCP flag bits in
    `flags` set. An IPv6 network has no IPv4 addresses in it.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    sources: tuple[IPv4Network | IPv6Network, ...] = ()
    destinations: tuple[IPv4Network | IPv6Network, ...] = ()
    port: int | None = None
    flags: int = 0


class Record(NamedTuple):
    """One captured packet; `stream` and `sequence` are its identity."""

    timestamp_ns: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    flags: str
    segments: int
    stream: str
    sequence: int


@dataclass(frozen=True)
class Talker:
    """Who or what had packets: `key` is one address, a source and a destination, or a destination port.

    `share` is its part of all that match (0 to 1); `first_ns` and `last_ns` are its packets' first and last times.
    """

    key: tuple[str, ...]
    packets: int
    share: float
    first_ns: int
    last_ns: int


@dataclass(frozen=True)
class Ranking:
    """The talkers with the most packets first, how many packets match in all, and how many different keys they have."""

    talkers: list[Talker]
    total: int
    keys: int
