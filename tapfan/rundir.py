"""The run directory: sockets and locks, for nobody but the user that runs tapfan."""

import errno
import fcntl
import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tapfan.program import CannotRunError

_MODE = 0o700
# What is put there by us, by supervisord, and by git: a folder with anything else in it is not to be closed to others.
_MADE = re.compile(r"\.(ipc|lock|conf|db|db-wal|damaged|reserve|json|new)(\.\d+)?$")
_OURS = re.compile(rf"{_MADE.pattern}|\.(log|pid|sock|gitignore)(\.\d+)?$")


def make(run_dir: Path, owner: pwd.struct_passwd | None = None) -> None:
    """Make the directory, 0700; as root, for the given user. Raises CannotRunError."""
    try:
        if owner is not None:
            _make_parents(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True, mode=_MODE)
        folder = os.open(run_dir, os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if owner is not None:
                _hand_over(folder, owner)
            _close_to_others(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CannotRunError(
            f"cannot use run_dir {run_dir}: {error.strerror}; set run_dir to a folder of your own"
        ) from error


def _make_parents(run_dir: Path) -> None:
    """Make the folders on the way that are missing, such that everybody may pass, whatever the umask."""
    for folder in reversed([folder for folder in run_dir.parents if not folder.exists()]):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)


def _close_to_others(folder: int) -> None:
    if stat.S_IMODE(os.fstat(folder).st_mode) != _MODE:
        _refuse_strangers(folder)
        os.fchmod(folder, _MODE)


def _refuse_strangers(folder: int) -> None:
    stranger = next((name for name in os.listdir(folder) if not _OURS.search(name)), None)
    if stranger is not None:
        raise OSError(errno.EEXIST, f"it holds other things ({stranger})")


def _hand_over(folder: int, owner: pwd.struct_passwd) -> None:
    """Give root's directory to the user, with what the programs made there.

    Out of the user's own directory root gives nothing: it might be anything that the user had put there.
    """
    if os.fstat(folder).st_uid == 0:
        fcntl.flock(folder, fcntl.LOCK_EX)  # against another program that starts now
    belongs_to = os.fstat(folder).st_uid
    if belongs_to not in (0, owner.pw_uid):
        raise OSError(errno.EPERM, f"it belongs to user {user_name(belongs_to)}, not to {owner.pw_name}")
    if belongs_to == 0:
        _refuse_strangers(folder)
    for name in filter(_MADE.search, os.listdir(folder)):
        with suppress(FileNotFoundError):  # programs that run replace theirs
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if state.st_uid == owner.pw_uid:
                continue
            if belongs_to != 0 or state.st_nlink != 1:
                user = owner.pw_name
                raise OSError(errno.EPERM, f"{name} in it does not belong to {user}; `chown {user}` it")
            os.chown(name, owner.pw_uid, owner.pw_gid, dir_fd=folder, follow_symlinks=False)
    os.fchown(folder, owner.pw_uid, owner.pw_gid)


def user_name(number: int) -> str:
    """The name of the user with that number; the number itself where it has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


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
