"""Where a writer comes to and goes from: the configuration, supervisord's file, supervisord and the router."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapfan.control import ControlClient, ControlError, ControlTimeoutError
from tapfan.membership import configuration, files, programs
from tapfan.membership.passages import EditError
from tapfan.membership.steps import Step, run
from tapfan.membership.supervision import SupervisionError, Supervisor
from tapfan.settings import Settings, SettingsError, load

TROUBLES = (ControlError, ControlTimeoutError, EditError, SupervisionError)


class RefusedError(Exception):
    """Raised before anything is done, for what cannot be done as it is asked; its text says what to do."""


class NotDoneError(Exception):
    """Raised when it could not be done; its text says what is in force."""


@dataclass
class Site:
    """All that knows of a writer. `terms`: who and why, for the history; `if_version`: for the first change."""

    config: Path
    router: ControlClient
    supervised: "Supervised | None"  # None: nobody but the router and the configuration is to know
    terms: Mapping[str, Any]
    tell: Callable[[str], None]  # what is going on, for people
    if_version: int | None = None
    has_begun: bool = field(default=False, init=False)  # to change anything
    _changed: bool = field(default=False, init=False)

    def take(self, steps: Sequence[Step]) -> None:
        """Take the steps, or none of them. Raises what one of them raises."""
        self.has_begun = True
        run(steps)

    def change(self, command: str, **arguments: Any) -> None:
        """Ask the router for a change. Raises ControlError, ControlTimeoutError."""
        first = {} if self._changed or self.if_version is None else {"if_version": self.if_version}
        self.router.change(command, **arguments, **self.terms, **first)
        self._changed = True

    def members(self) -> dict[str, dict[str, Any]]:
        """The router's status of each of its writers. Raises ControlError, ControlTimeoutError."""
        writers: dict[str, dict[str, Any]] = self.router.status()["writers"]
        return writers

    def check_version(self) -> None:
        """See that the version that is asked for is in force, before anything is done. Raises ControlError."""
        if self.if_version is None:
            return
        version = self.router.weights()["version"]
        if version != self.if_version:
            raise ControlError("version_conflict", f"version {version} is in force, and not {self.if_version}")

    def where(self, name: str) -> list[str]:
        """What has a writer of that name now, as far as it can be seen."""
        looks: dict[str, Callable[[], bool]] = {
            str(self.config): lambda: configuration.writer_in(files.read(self.config), name) is not None,
            "the router": lambda: name in self.members(),
        }
        if (supervised := self.supervised) is not None:
            program = programs.program_name(name)
            looks[str(supervised.file)] = lambda: programs.program_in(files.read(supervised.file), name) is not None
            looks["supervisord"] = lambda: supervised.supervisor.process(program) is not None
        return [there for place, look in looks.items() if (there := _seen(place, look))]


def _seen(place: str, look: Callable[[], bool]) -> str:
    """The place, if what is looked for is there, or may be."""
    try:
        return place if look() else ""
    except TROUBLES:
        return f"{place} (perhaps: it cannot be asked)"


@dataclass(frozen=True)
class Supervised:
    """The file that has the writers' sections, and the supervisord that it is of."""

    file: Path
    supervisor: Supervisor


def checked(config: Path, text: str) -> Settings:
    """The settings if that were the configuration's text, which can be written. Raises RefusedError, EditError."""
    new = files.write_aside(config, text)
    try:
        return load(new)
    except SettingsError as error:
        raise RefusedError(str(error).replace(str(new), str(config))) from error
    finally:
        files.discard_aside(config)


def check_writable(path: Path, text: str) -> None:
    """See that the file can be edited. Raises EditError."""
    files.write_aside(path, text)
    files.discard_aside(path)


def edit(path: Path, before: str, after: str, then: Callable[[], None] = lambda: None) -> Step:
    """The step that puts a file's new content in place; `then`: what reads it is told, also if it is taken back."""

    def do() -> None:
        files.replace(path, before, after)
        then()

    def undo() -> None:
        text = files.read(path)
        if text == after:
            files.replace(path, after, before)
            then()
        elif text != before:
            raise EditError(f"{path} was edited by somebody else meanwhile, and is left as it is")

    return Step(do, undo)


def variables_in(environment: Mapping[str, str], name: str) -> list[str]:
    """The variables that override that writer's configuration."""
    own = programs.variables_of(name)
    return sorted(variable for variable in environment if variable.upper().startswith(own))


def environment_of(pid: int) -> dict[str, str]:
    """That which a process was started with; empty where we may not see it."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    return dict(os.fsdecode(entry).partition("=")[::2] for entry in raw.split(b"\0") if b"=" in entry)
