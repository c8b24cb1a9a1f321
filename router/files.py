"""Files of the run directory that outlive the router: written aside and renamed, and set aside when damaged."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from tapfan.logs import Logger

_MAX_BYTES = 64 * 2**20  # what is longer is none of ours
_MOST_SET_ASIDE = 10  # damaged files of one name

Model = TypeVar("Model", bound=BaseModel)


class _DamagedError(Exception):
    """Raised when a file is not what it should be; its text says how."""


def write(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Put the content in the file's place, whole or not at all. Raises OSError.

    `durable`: it is on the disk, under its name, before this returns. An error after the renaming may leave the new
    content in place though it was told that it is not.
    """
    aside = path.with_suffix(".new")
    try:
        with aside.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        with suppress(OSError):  # on a full disk, what is there of it would only take room
            aside.unlink()
        raise
    if durable:
        _sync_folder(path.parent)


def read(path: Path, model: type[Model], log: Logger, event: str, then: str) -> Model | None:
    """What the file holds; None when there is none.

    One that is damaged, or something else, is set aside; logged as the event, with what is done then.
    """
    try:
        return _validated(path, model)
    except FileNotFoundError:
        return None
    except (OSError, _DamagedError) as error:
        aside = _free(path.with_suffix(".damaged"))
        log.error(event, problem=str(error), moved_to=str(aside), then=then)
        with suppress(OSError):  # what cannot be moved away is written over
            path.replace(aside)
        return None


def _validated(path: Path, model: type[Model]) -> Model:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise _DamagedError(f"more than {_MAX_BYTES} bytes")
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _DamagedError(f"{place}: {first['msg']}" if place else first["msg"]) from error


def _free(path: Path) -> Path:
    """The path, or with a number behind it where it is taken; with the largest of them, it is written over."""
    numbered = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, _MOST_SET_ASIDE))]
    return next((free for free in numbered if not os.path.lexists(free)), numbered[-1])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
