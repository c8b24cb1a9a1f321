"""The run directory: sockets and locks, for nobody but the user that runs tapfan."""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tapfan.program import CannotRunError

_MODE = 0o700
# What is put there by us, by supervisord, and by git: a folder with anything else in it is not to be closed to others.
_OURS = re.compile(r"\.(ipc|lock|log|conf|pid|sock|gitignore|db|db-wal|damaged|reserve|json|new)(\.\d+)?$")


def make(run_dir: Path) -> None:
    """Make the directory, 0700. Raises CannotRunError."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True, mode=_MODE)
        if stat.S_IMODE(run_dir.stat().st_mode) != _MODE:
            stranger = next((path.name for path in run_dir.iterdir() if not _OURS.search(path.name)), None)
            if stranger is not None:
                raise OSError(errno.EEXIST, f"it holds other things ({stranger})")
            run_dir.chmod(_MODE)
    except OSError as error:
        raise CannotRunError(
            f"cannot use run_dir {run_dir}: {error.strerror}; set run_dir to a folder of your own"
        ) from error


@contextmanager
def locked(run_dir: Path, program: str) -> Iterator[None]:
    """Hold the run directory's lock for a program, so that it runs there once. Raises CannotRunError.

    The kernel gives the lock back however the process ends.
    """
    make(run_dir)
    path = run_dir / f"{program}.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise CannotRunError(f"another {program} (process {owner}) runs in {run_dir}; stop it first") from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
