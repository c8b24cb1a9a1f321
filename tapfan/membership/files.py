"""Files that are edited while others read them: each is seen as it was or as it becomes, whatever ends us."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tapfan.membership.passages import EditError

ENCODING, ERRORS = "utf-8", "surrogateescape"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep others out that edit files there, by this lock. Raises EditError when somebody holds it.

    It is the folder's own: no file is left, and the kernel gives it back however we end.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EditError(f"somebody else adds or removes a writer in {folder} now") from error
        yield
    finally:
        os.close(handle)


def read(path: Path) -> str:
    """The whole file, with its line ends as they are. Raises EditError."""
    try:
        return path.read_bytes().decode(ENCODING, ERRORS)
    except OSError as error:
        raise EditError(f"cannot read {path}: {error.strerror}") from error


def aside(path: Path) -> Path:
    """Where the new content of a file is written before it takes its place: beside what a link leads to."""
    real = Path(os.path.realpath(path))
    return real.with_name(f".{real.name}.new")


def write_aside(path: Path, text: str) -> Path:
    """Write that content beside the file, with its mode and owner, and onto the disk. Raises EditError."""
    new = aside(path)
    try:
        state = path.stat()
        with suppress(FileNotFoundError):
            new.unlink()
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            if (os.fstat(handle).st_uid, os.fstat(handle).st_gid) != (state.st_uid, state.st_gid):
                os.fchown(handle, state.st_uid, state.st_gid)
            os.fchmod(handle, stat.S_IMODE(state.st_mode))
            file.write(text.encode(ENCODING, ERRORS))
            file.flush()
            os.fsync(handle)
    except OSError as error:
        discard_aside(path)
        raise EditError(
            f"cannot edit {path}: its new content cannot be written beside it, in {new.parent}, with the same owner: "
            f"{error.strerror}"
        ) from error
    return new


def discard_aside(path: Path) -> None:
    """Leave nothing beside the file."""
    with suppress(OSError):
        aside(path).unlink()


def replace(path: Path, before: str, after: str) -> None:
    """Put new content into a file that holds what it held before. Raises EditError, and the file is as it was."""
    new = write_aside(path, after)
    try:
        if read(path) != before:
            raise EditError(f"{path} was edited by somebody else just now; try again")
        new.replace(os.path.realpath(path))
        folder = os.open(new.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EditError(f"cannot edit {path}: {error.strerror}") from error
    finally:
        discard_aside(path)
