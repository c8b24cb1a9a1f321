"""The configuration: tapfan.toml, overridden by TAPFAN_… environment variables, validated as a whole."""

import os
import pwd
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from tapfan import explaining, redis_urls, values
from tapfan.names import NAME_FORM
from tapfan.overrides import FILE_VARIABLE, OverrideError, Place, origin, override
from tapfan.reach import Reach, RouterEndpoint, in_folder
from tapfan.sections import Duration, Layout, ListenerSettings, WriterSettings

DEFAULT_FILE = Path("tapfan.toml")
MAX_WRITERS = 1_000
_MAX_SOCKET_PATH = 107  # bytes, of sockaddr_un
_WITHOUT_VALUE = ("extra_forbidden", "missing")
_REACH_VARIABLES = ("TAPFAN_RUN_DIR", "TAPFAN_ROUTER__KEY")
_CONTROL_VARIABLES = "TAPFAN_CONTROL__"


class SettingsError(Exception):
    """Raised when the configuration cannot be used: a line for each key, with its value and what is valid."""


def _user(value: Any) -> str:
    """The name of a user of this host."""
    try:
        return pwd.getpwnam(value).pw_name
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError("must be the name of a user of this host; `useradd --system NAME` makes one") from error


class Settings(Reach):
    """The whole configuration, as `load` gives it: paths are absolute, durations are seconds."""

    ttl: Annotated[Duration, Field(ge=1, le=values.MAX_TTL_S)] = 300.0
    layout: Layout = "record"
    user: Annotated[str, BeforeValidator(_user)] | None = None
    listener: ListenerSettings = ListenerSettings()
    writers: Annotated[tuple[WriterSettings, ...], Field(max_length=MAX_WRITERS)] = ()

    @model_validator(mode="after")
    def _writers_fit(self) -> Self:
        if len({writer.key is None for writer in self.writers}) > 1:
            raise ValueError("writers: all of them have a key, as the router is on another host, or none")
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

    @property
    def shared_databases(self) -> list[tuple[WriterSettings, WriterSettings]]:
        """Pairs of writers with one Redis database, as far as their URLs tell; of each, the first one with it first."""
        first: dict[tuple[object, ...], WriterSettings] = {}
        shared = {}
        for writer in self.writers:
            for place in redis_urls.places(writer.redis):
                earlier = first.setdefault(place, writer)
                if earlier is not writer:
                    shared[writer.name] = (earlier, writer)
        return list(shared.values())

    def relative_to(self, folder: Path) -> Self:
        """The same with absolute paths; relative ones begin in the folder."""
        writers = tuple(in_folder(folder, writer, "password_file", "key") for writer in self.writers)
        listener = in_folder(folder, self.listener, "key")
        return super().relative_to(folder).model_copy(update={"listener": listener, "writers": writers})

    @property
    def router_is_elsewhere(self) -> bool:
        """Whether this is of a host whose programs have keys to reach a router on another one with."""
        return self.router.key is None and any(endpoint.is_keyed for endpoint in self.endpoints)

    @property
    def endpoints(self) -> tuple[RouterEndpoint, ...]:
        """All of the router's."""
        router, has_listener_key = self.router, self.listener.key is not None
        has_writers_key = any(writer.key for writer in self.writers)
        return (
            RouterEndpoint("records", "router.records", router.records, "listener.key", has_listener_key),
            RouterEndpoint("shares", "router.shares", router.shares, "writers.key", has_writers_key),
            *super().endpoints,
        )


_R = TypeVar("_R", bound=Reach)


def file_of(path: Path | None = None) -> Path:
    """The configuration's file: that one, else the one that the environment names, else the default."""
    return path or Path(os.environ.get(FILE_VARIABLE, DEFAULT_FILE))


def load(path: Path | None = None) -> Settings:
    """Read and validate the configuration. Raises SettingsError: all that is wrong, or that there are no writers."""
    file = file_of(path)
    content = _content(file)
    settings = _validated(Settings, file, content, os.environ)
    # Where only a listener or the command runs, and the router elsewhere, there are none.
    if not settings.writers and not settings.router_is_elsewhere:
        problem = "writers = []: must have at least one" if "writers" in content else "writers: missing"
        raise SettingsError(
            f"{file}: {problem}; there may be none only where listener.key or control.key is for a router elsewhere"
        )
    return settings


def load_reach(path: Path | None = None) -> tuple[Reach, list[str]]:
    """Read what leads to the router, and the lines of what is wrong with the rest of the configuration.

    That there are no writers is no such thing. Raises SettingsError for what is wrong with what leads there.
    """
    file = file_of(path)
    content = _content(file)
    try:
        return _validated(Settings, file, content, os.environ), []
    except SettingsError as error:
        problems = str(error).splitlines()
    needed: dict[str, Any] = {key: content[key] for key in ("run_dir", "control") if key in content}
    router = content.get("router", {})
    is_table = isinstance(router, dict)
    needed["router"] = {key: value for key, value in router.items() if key == "key"} if is_table else router
    return _validated(Reach, file, needed, dict(filter(_is_of_reach, os.environ.items()))), problems


def _is_of_reach(variable: tuple[str, str]) -> bool:
    name = variable[0].upper()
    return name in _REACH_VARIABLES or name.startswith(_CONTROL_VARIABLES)


def _content(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        hint = f"name it with --config or {FILE_VARIABLE}"
        raise SettingsError(f"cannot read the configuration {file}: {error}; {hint}") from error
    except (ValueError, RecursionError) as error:  # not TOML, or beyond what Python reads of it
        raise SettingsError(f"{file}: not valid TOML: {error}") from error


def _validated(model: type[_R], file: Path, content: dict[str, Any], environment: Mapping[str, str]) -> _R:
    """The content of that file with what the environment puts in place of it. Raises SettingsError."""
    try:
        overridden = override(content, environment)
        made = model.model_validate(content)
    except OverrideError as error:
        raise SettingsError(str(error)) from error
    except ValidationError as error:
        # Of a list whose entries are all bad, pydantic says as well that it has too few.
        problems = [item for item in error.errors() if item["type"] != "too_short" or not item["input"]]
        lines = (
            f"{origin(item['loc'], overridden) or file}: {_writer(item['loc'], content)}{_explain(model, dict(item))}"
            for item in problems
        )
        raise SettingsError("\n".join(lines)) from error
    made = made.relative_to(file.resolve().parent)
    _check_socket_paths(made, origin(("run_dir",), overridden) or str(file))
    return made


def _check_socket_paths(reach: Reach, where: str) -> None:
    for endpoint in reach.endpoints:
        path = reach.bound(endpoint.name).removeprefix("ipc://")
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
            raise SettingsError(
                f"{where}: run_dir = {str(reach.run_dir)!r}: the socket path {path} is longer than {_MAX_SOCKET_PATH} "
                "bytes; set a shorter run_dir"
            )


def _writer(place: Place, content: Mapping[str, Any]) -> str:
    """The name of the writer that a place is of, as what its error begins with; nothing where it has none."""
    match place:
        case ("writers", int(number), *_) if isinstance(content["writers"][number], dict):
            name = content["writers"][number].get("name")
            return f"writer {name}: " if isinstance(name, str) and NAME_FORM.fullmatch(name) else ""
    return ""


def _explain(model: type[BaseModel], error: dict[str, Any]) -> str:
    """One validation error as "key = value: what is valid"."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    problem = explaining.problem(model, error)
    if not key or error["type"] in _WITHOUT_VALUE or isinstance(error["input"], dict | BaseModel):
        return f"{key}: {problem}" if key else problem
    value = "(hidden)" if "password" in key else _redact(key, error["input"])
    return f"{key} = {value}: {problem}"


def _redact(key: str, value: Any) -> str:
    text = repr(value)
    if key.endswith(".redis") or "@" in text or "password" in text.lower():
        return "(hidden: it may hold a password)"
    return text if len(text) <= 100 else text[:100] + "…"
