"""The sections of tapfan.toml as models: their keys, defaults, bounds, and what of them goes together."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from tapfan import redis_urls, values
from tapfan.bounds import MAX_RECORDS
from tapfan.endpoints import EVERY_PORT, Endpoint, Only
from tapfan.names import Name

MAX_RAMPUP_S = 86_400.0

Layout = Literal["record", "block"]

Duration = Annotated[float, BeforeValidator(values.seconds)]
Weight = Annotated[float, BeforeValidator(values.weight)]
WholeNumber = Annotated[int, BeforeValidator(values.count)]
ListenEndpoint = Annotated[Endpoint, BeforeValidator(values.listen_endpoint)]
ZmqEndpoint = Annotated[str, BeforeValidator(values.zmq_endpoint)]
KeyFile = Annotated[Path, BeforeValidator(values.key_file)]


class Section(BaseModel):
    """What all of them have in common, and the whole as well."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class ListenerSettings(Section):
    """Section [listener]."""

    name: Name = "local"
    listen: Annotated[tuple[ListenEndpoint, ...], Field(min_length=1, max_length=1000)] = (
        Endpoint.parse("127.0.0.1:9000"),
    )
    interface: Annotated[tuple[str, ...], BeforeValidator(values.interfaces)] | None = None
    fanout: Annotated[WholeNumber, Field(ge=1, le=63)] | None = None
    source: Literal["auto", "capture", "accept"] = "auto"
    serve: Literal["discard", "forward", "none"] = "discard"
    only: Only = "all"
    tunnels: bool = False
    upstream: str | None = None
    linger: Annotated[Duration, Field(ge=0.001, le=0.5)] = 0.02
    batch_records: Annotated[WholeNumber, Field(ge=1, le=MAX_RECORDS)] = 32_768
    window_records: Annotated[WholeNumber, Field(ge=MAX_RECORDS, le=10_000_000)] = 500_000
    window_bytes: Annotated[WholeNumber, Field(ge=2**16, le=2**30)] = 32 * 2**20
    spool: Literal["overflow", "always"] = "overflow"
    spool_bytes: Annotated[WholeNumber, Field(ge=2**16, le=2**40)] = 2**30
    ring_bytes: Annotated[WholeNumber, Field(ge=2 * 2**20, le=2**30)] = 16 * 2**20
    grace: Annotated[Duration, Field(ge=0, le=3600)] = 8.0
    key: KeyFile | None = None

    @property
    def must_capture(self) -> bool:
        """Whether only captured packets will do."""
        wants_packets = self.only != "all" or self.tunnels or self.fanout is not None
        return self.source == "capture" or self.serve == "none" or wants_packets

    @model_validator(mode="after")
    def _endpoints_differ(self) -> Self:
        if len(set(self.listen)) < len(self.listen):
            raise ValueError(f"listen: the endpoints {', '.join(map(str, self.listen))} must differ")
        return self

    @model_validator(mode="after")
    def _spool_holds_the_window(self) -> Self:
        if self.spool == "always" and self.spool_bytes < self.window_bytes:
            raise ValueError(
                f'spool_bytes = {self.spool_bytes}: with spool = "always", at least window_bytes, {self.window_bytes}'
            )
        return self

    @model_validator(mode="after")
    def _serving_fits(self) -> Self:
        if (self.serve == "forward") != (self.upstream is not None):
            raise ValueError('serve = "forward" and upstream = "host:port" go together')
        if self.upstream is not None:
            host, _, port = self.upstream.rpartition(":")
            if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
                raise ValueError(f'upstream = {self.upstream!r}: must be "host:port", such as "127.0.0.1:8080"')
            if any(_leads_to(host.strip("[]"), int(port), endpoint) for endpoint in self.listen):
                raise ValueError(f"upstream = {self.upstream!r}: is one of listen; connections would go in circles")
        if self.source == "accept" and self.serve == "none":
            raise ValueError('source = "accept" needs serve = "discard" or "forward": it records what it serves')
        return self

    @model_validator(mode="after")
    def _every_port_is_captured(self) -> Self:
        endpoint = next((endpoint for endpoint in self.listen if endpoint.port == EVERY_PORT), None)
        if endpoint is not None and self.source == "accept":
            raise ValueError(
                f'listen: {endpoint} is every port, which source = "accept" cannot serve; '
                'name one port, or set source = "capture" and serve = "none"'
            )
        if endpoint is not None and self.serve != "none":
            raise ValueError(
                f'serve = "{self.serve}": {endpoint} of listen is every port, which cannot be served; '
                'name one port, or set serve = "none"'
            )
        return self

    @model_validator(mode="after")
    def _packets_are_captured(self) -> Self:
        if self.source == "accept" and self.only != "all":
            raise ValueError(
                f'only = "{self.only}": with source = "accept", which sees no packets, must be "all"; '
                'or set source = "capture"'
            )
        if self.source == "accept" and self.tunnels:
            raise ValueError(
                'tunnels = true: with source = "accept", which sees no packets, must be false; '
                'or set source = "capture"'
            )
        if self.source == "accept" and self.fanout is not None:
            raise ValueError(
                f'fanout = {self.fanout}: with source = "accept", there are no packets to be shared; '
                'leave it out, or set source = "capture"'
            )
        return self


def _leads_to(host: str, port: int, endpoint: Endpoint) -> bool:
    """Whether a connection there comes to the endpoint, as far as the text can tell."""
    own = {str(endpoint.address)}
    if endpoint.address.is_loopback or endpoint.address.is_unspecified:
        own |= {"localhost", "127.0.0.1" if endpoint.address.version == 4 else "::1"}
    return port == endpoint.port and host in own


class RouterSettings(Section):
    """Section [router]: where its sockets are, if not in the run directory, and its checks of the writers.

    `key`: with it, those at tcp:// are encrypted, for other hosts, and there are those in the run directory as well.
    `fall` failed checks in a row take a writer out, `rise` passed ones bring it back; there are two checks a second.
    """

    records: ZmqEndpoint | None = None
    shares: ZmqEndpoint | None = None
    key: KeyFile | None = None
    rise: Annotated[WholeNumber, Field(ge=1, le=100)] = 2
    fall: Annotated[WholeNumber, Field(ge=1, le=100)] = 3


class ControlSettings(Section):
    """Section [control]."""

    endpoint: ZmqEndpoint | None = None
    events: ZmqEndpoint | None = None
    key: KeyFile | None = None
    timeout: Annotated[Duration, Field(ge=0.01, le=600)] = 3.0


class WriterSettings(Section):
    """A section [[writers]]: one Redis, and the part of the records that it gets.

    `confirm`: whether a replica must have a record, too, before it counts as stored. `rampup`: how long a writer that
    comes back takes to its whole weight.
    """

    name: Name
    redis: Annotated[str, BeforeValidator(values.redis_url), Field(repr=False)]  # it may hold a password
    weight: Weight
    layout: Layout | None = None  # where it is another than for all
    confirm: Literal["none", "replica"] = "none"
    rampup: Annotated[Duration, Field(ge=0, le=MAX_RAMPUP_S)] = 0.0
    password: SecretStr | None = None
    password_file: Annotated[Path, BeforeValidator(values.file)] | None = None
    key: KeyFile | None = None

    @property
    def redacted(self) -> str:
        """The URL without its password, fit for a log or a status."""
        return redis_urls.redacted(self.redis)
