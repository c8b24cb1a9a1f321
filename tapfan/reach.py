"""How the router is reached: its endpoints, and the part of the configuration that is enough to watch and steer it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar, get_args

from pydantic import BeforeValidator, model_validator

from tapfan import values
from tapfan.sections import ControlSettings, RouterSettings, Section

EndpointName = Literal["records", "shares", "control", "events"]
ENDPOINTS: tuple[EndpointName, ...] = get_args(EndpointName)

_S = TypeVar("_S", bound=Section)


@dataclass(frozen=True)
class RouterEndpoint:
    """One of the router's endpoints, by which setting it is given, and whether who uses it here has a key for it."""

    name: EndpointName
    setting: str
    given: str | None
    key_setting: str
    is_keyed: bool

    def check(self, router_has_key: bool) -> None:
        """See that nothing goes to or comes from other hosts without encryption. Raises ValueError."""
        is_tcp = self.given is not None and self.given.startswith("tcp://")
        if self.is_keyed and not is_tcp and self.name != "events":
            raise ValueError(
                f"{self.key_setting}: is for a router that is reached over TCP; "
                f'set {self.setting} to where that is, such as "tcp://router.example:7201"'
            )
        if self.given is None or not is_tcp:
            return
        shown = f"{self.setting} = {self.given!r}"
        if not values.is_local(self.given) and not router_has_key and not self.is_keyed:
            raise ValueError(
                f"{shown}: with other hosts there is encryption: set {self.key_setting}, or where the router runs "
                "router.key; `tapfan keys make` makes keys"
            )
        if router_has_key and values.is_host_name(self.given):
            raise ValueError(f"{shown}: where the router runs, must be an IP address of this host, or tcp://*:port")
        if self.is_keyed and values.is_every_address(self.given):
            raise ValueError(
                f"{shown}: with {self.key_setting} must be the host to connect to; "
                "on the router's own host no program but the router needs a key"
            )


class Reach(Section):
    """What leads to the router's control and events; `tapfan.settings.Settings` has the other endpoints as well."""

    run_dir: Annotated[Path, BeforeValidator(values.folder)] = Path("run")
    router: RouterSettings = RouterSettings()
    control: ControlSettings = ControlSettings()

    @model_validator(mode="after")
    def _endpoints_fit(self) -> Self:
        for endpoint in self.endpoints:
            endpoint.check(self.router.key is not None)
        return self

    @property
    def endpoints(self) -> tuple[RouterEndpoint, ...]:
        """Those of the router that this knows of."""
        control, is_keyed = self.control, self.control.key is not None
        return (
            RouterEndpoint("control", "control.endpoint", control.endpoint, "control.key", is_keyed),
            RouterEndpoint("events", "control.events", control.events, "control.key", is_keyed),
        )

    def relative_to(self, folder: Path) -> Self:
        """The same with absolute paths; relative ones begin in the folder."""
        sections = {name: in_folder(folder, getattr(self, name), "key") for name in ("router", "control")}
        return self.model_copy(update={"run_dir": Path(os.path.realpath(folder / self.run_dir))} | sections)

    def endpoint(self, name: EndpointName) -> str:
        """The ZeroMQ endpoint by which the programs of this configuration reach one of the router's sockets."""
        endpoint = self._endpoint(name)
        return endpoint.given if endpoint.given and endpoint.is_keyed else self.bound(name)

    def bound(self, name: EndpointName) -> str:
        """The ZeroMQ endpoint that the router has for programs of its host: never one that others get to."""
        given = self._endpoint(name).given
        return given if given and not self.served(name) else f"ipc://{self.run_dir}/{name}.ipc"

    def served(self, name: EndpointName) -> str | None:
        """The ZeroMQ endpoint that the router has besides, encrypted, for whom its allowlist has."""
        given = self._endpoint(name).given
        return given if given and self.router.key and given.startswith("tcp://") else None

    def is_keyed(self, name: EndpointName) -> bool:
        """Whether the programs of this configuration have a key for that endpoint, and so reach it encrypted."""
        return self._endpoint(name).is_keyed

    def _endpoint(self, name: EndpointName) -> RouterEndpoint:
        return next(endpoint for endpoint in self.endpoints if endpoint.name == name)


def in_folder(folder: Path, section: _S, *keys: str) -> _S:
    """The section with the paths of those keys absolute; relative ones begin in the folder."""
    return section.model_copy(update={key: folder / path for key in keys if (path := getattr(section, key))})
