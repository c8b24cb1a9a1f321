"""The configuration: tapfan.toml, overridden by TAPFAN_… environment variables, validated as a whole."""

import os
import pwd
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tapfan import values
from tapfan.overrides import FILE_VARIABLE, OverrideError, origin, override
from tapfan.sections import ControlSettings, Duration, Layout, ListenerSettings, RouterSettings, Section, WriterSettings

DEFAULT_FILE = Path("tapfan.toml")
MAX_WRITERS = 1_000
_MAX_SOCKET_PATH = 107  # bytes, of sockaddr_un

EndpointName = Literal["records", "shares", "control", "events"]
ENDPOINTS: tuple[EndpointName, ...] = get_args(EndpointName)


class SettingsError(Exception):
    """Raised when the configuration cannot be used: a line for each key, with its value and what is valid."""


def _user(value: Any) -> str:
    """The name of a user of this host."""
    try:
        return pwd.getpwnam(value).pw_name
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError("must be the name of a user of this host; `useradd --system NAME` makes one") from error


class Settings(Section):
    """The whole configuration, as `load` gives it: paths are absolute, durations are seconds."""

    ttl: Annotated[Duration, Field(ge=1, le=values.MAX_TTL_S)] = 300.0
    layout: Layout = "record"
    run_dir: Annotated[Path, BeforeValidator(values.folder)] = Path("run")
    user: Annotated[str, BeforeValidator(_user)] | None = None
    listener: ListenerSettings = ListenerSettings()
    router: RouterSettings = RouterSettings()
    control: ControlSettings = ControlSettings()
    writers: Annotated[tuple[WriterSettings, ...], Field(max_length=MAX_WRITERS)]

    @model_validator(mode="before")
    @classmethod
    def _may_have_no_writers(cls, content: Any) -> Any:
        """Where only a listener or the command runs, and the router elsewhere, there are none."""
        if isinstance(content, dict) and "writers" not in content and _router_is_elsewhere(content):
            return content | {"writers": ()}
        return content

    @field_validator("writers")
    @classmethod
    def _has_writers(cls, writers: tuple[WriterSettings, ...], info: ValidationInfo) -> tuple[WriterSettings, ...]:
        sections = ("listener", "router", "control")
        content = {name: dict(info.data[name]) for name in sections if name in info.data}
        if not writers and not _router_is_elsewhere(content):
            raise ValueError("must have at least one")
        return writers

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        for endpoint in self._endpoints:
            endpoint.check(self.router.key is not None)
        if len({writer.key is None for writer in self.writers}) > 1:
            raise ValueError("writers: all of them have a key, as the router is on another host, or none")
        return self

    @model_validator(mode="after")
    def _writers_fit(self) -> Self:
        names = [writer.name for writer in self.writers]
        if len(set(names)) < len(names):
            raise ValueError(f"writers: the names {', '.join(names)} must differ")
        if self.writers and not any(writer.weight for writer in self.writers):
            raise ValueError("writers: all weights are 0; at least one must be more")
        return self

    def writer(self, name: str) -> WriterSettings:
        """The settings of the writer with that name. Raises SettingsError, naming those that there are."""
        for writer in self.writers:
            if writer.name == name:
                return writer
        known = ", ".join(writer.name for writer in self.writers)
        raise SettingsError(f"no writer is named {name!r}; the configuration has: {known}")

    def layout_of(self, writer: WriterSettings) -> Layout:
        """How that writer's Redis holds the records."""
        return writer.layout or self.layout

    def relative_to(self, folder: Path) -> Self:
        """The same with absolute paths; relative ones begin in the folder."""
        sections = {name: _in(folder, getattr(self, name), "key") for name in ("listener", "router", "control")}
        writers = tuple(_in(folder, writer, "password_file", "key") for writer in self.writers)
        update = {"run_dir": (folder / self.run_dir).resolve(), "writers": writers}
        return self.model_copy(update=update | sections)

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

    @property
    def router_is_elsewhere(self) -> bool:
        """Whether this is of a host whose programs have keys to reach a router on another one with."""
        return self.router.key is None and any(endpoint.is_keyed for endpoint in self._endpoints)

    def is_keyed(self, name: EndpointName) -> bool:
        """Whether the programs of this configuration have a key for that endpoint, and so reach it encrypted."""
        return self._endpoint(name).is_keyed

    def _endpoint(self, name: EndpointName) -> "_RouterEndpoint":
        return next(endpoint for endpoint in self._endpoints if endpoint.name == name)

    @property
    def _endpoints(self) -> tuple["_RouterEndpoint", ...]:
        router, control = self.router, self.control
        writers_key = any(writer.key for writer in self.writers)
        return (
            _RouterEndpoint("records", "router.records", router.records, "listener.key", self.listener.key is not None),
            _RouterEndpoint("shares", "router.shares", router.shares, "writers.key", writers_key),
            _RouterEndpoint("control", "control.endpoint", control.endpoint, "control.key", control.key is not None),
            _RouterEndpoint("events", "control.events", control.events, "control.key", control.key is not None),
        )


@dataclass(frozen=True)
class _RouterEndpoint:
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


def _router_is_elsewhere(content: Mapping[str, Any]) -> bool:
    """Whether a configuration has keys to reach a router with, and no router's."""

    def has_key(section: str) -> bool:
        table = content.get(section)
        return isinstance(table, Mapping) and table.get("key") is not None

    return not has_key("router") and (has_key("listener") or has_key("control"))


_S = TypeVar("_S", bound=Section)


def _in(folder: Path, section: _S, *keys: str) -> _S:
    """The section with the paths of those keys absolute."""
    return section.model_copy(update={key: folder / path for key in keys if (path := getattr(section, key))})


def file_of(path: Path | None = None) -> Path:
    """The configuration's file: that one, else the one that the environment names, else the default."""
    return path or Path(os.environ.get(FILE_VARIABLE, DEFAULT_FILE))


def load(path: Path | None = None) -> Settings:
    """Read and validate the configuration. Raises SettingsError with everything that is wrong with it."""
    file = file_of(path)
    try:
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        hint = f"name it with --config or {FILE_VARIABLE}"
        raise SettingsError(f"cannot read the configuration {file}: {error}; {hint}") from error
    except (ValueError, RecursionError) as error:  # not TOML, or beyond what Python reads of it
        raise SettingsError(f"{file}: not valid TOML: {error}") from error
    try:
        overridden = override(content, os.environ)
        settings = Settings.model_validate(content)
    except OverrideError as error:
        raise SettingsError(str(error)) from error
    except ValidationError as error:
        # Of a list whose entries are all bad, pydantic says as well that it has too few.
        problems = [item for item in error.errors() if item["type"] != "too_short" or not item["input"]]
        lines = (f"{origin(item['loc'], overridden) or file}: {_explain(dict(item))}" for item in problems)
        raise SettingsError("\n".join(lines)) from error
    settings = settings.relative_to(file.resolve().parent)
    _check_socket_paths(settings)
    return settings


def _check_socket_paths(settings: Settings) -> None:
    for name in ENDPOINTS:
        path = settings.bound(name).removeprefix("ipc://")
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
            raise SettingsError(
                f"run_dir = {str(settings.run_dir)!r}: the socket path {path} is longer than {_MAX_SOCKET_PATH} bytes; "
                "set a shorter run_dir"
            )


def _explain(error: dict[str, Any]) -> str:
    """One validation error as "key = value: what is valid"."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    problem = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key; see tapfan.toml for those that there are"
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "tuple_type":
        problem = "must be a list"
    if not key or isinstance(error["input"], dict | BaseModel):
        return f"{key}: {problem}" if key else problem
    value = "(hidden)" if "password" in key else _redact(key, error["input"])
    return f"{key} = {value}: {problem}"


def _redact(key: str, value: Any) -> str:
    text = repr(value)
    if key.endswith(".redis") or "@" in text or "password" in text.lower():
        return "(hidden: it may hold a password)"
    return text if len(text) <= 100 else text[:100] + "…"
