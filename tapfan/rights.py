"""The rights that a program has: those of the configured user, and no capability that it does not need now.

See capabilities(7) and prctl(2); Python has no functions for either.
"""

import ctypes
import os
import pwd
import struct
import sys
from collections.abc import Collection
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from tapfan import rundir
from tapfan.program import CannotRunError
from tapfan.settings import Settings

if TYPE_CHECKING:  # not every program with rights has a log
    from tapfan.logs import Logger


class Capability(IntEnum):
    """Those of linux/capability.h that a program of ours has a use for."""

    NET_BIND_SERVICE = 10
    NET_RAW = 13


_VERSION_3 = 0x20080522  # of capset's structures: two words for each set
_PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 8, 38
_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")
_LIBC = ctypes.CDLL(None, use_errno=True)
_THREADS = Path("/proc/self/task")


def take_on(settings: Settings, keep: Collection[Capability] = ()) -> None:
    """Become the user that is set, and keep no capability but those given, as far as we have them.

    Before that, root makes the run directory, for that user. Root that is to stay root stays as it is. To be called
    before there are files, locks and threads. Raises CannotRunError.
    """
    user = pwd.getpwnam(settings.user) if settings.user is not None else None
    if user is not None and set(os.getresuid()) != {user.pw_uid}:
        if os.geteuid() == 0:
            rundir.make(settings.run_dir, user)
        become(user, keeps_capabilities=bool(keep))
        check_reach(user.pw_name, settings.run_dir)
    if os.geteuid() != 0:
        drop_capabilities(keep)
    elif settings.user is None:
        _check_owner(settings.run_dir)


def _check_owner(run_dir: Path) -> None:
    """See that root does not leave files of its own among another user's, who could not start any more then."""
    with suppress(FileNotFoundError):
        owner = run_dir.stat().st_uid
        if owner == 0:
            return
        name = rundir.user_name(owner)
        raise CannotRunError(
            f"run_dir {run_dir} belongs to {name}: set TAPFAN_USER={name}, or user at the top of tapfan.toml, "
            "to run as that user; or chown it to root"
        )


def give_up(settings: Settings, log: "Logger") -> None:
    """Keep no capability at all, once all is open that needs one. Raises CannotRunError.

    Root that was not asked for stays, as its files may be another user's, and is warned of.
    """
    if os.geteuid() != 0:
        drop_capabilities()
    elif settings.user is None:
        log.warning("stays_root", hint='set user = "…" at the top of tapfan.toml, or TAPFAN_USER, to become that user')


def become(user: pwd.struct_passwd, keeps_capabilities: bool = False) -> None:
    """Become the user, with its groups and no way back; the permitted capabilities can outlive that.

    Raises CannotRunError.
    """
    try:
        if keeps_capabilities:
            _prctl(_PR_SET_KEEPCAPS, 1)
        os.initgroups(user.pw_name, user.pw_gid)
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except PermissionError as error:
        raise CannotRunError(
            f"user = {user.pw_name!r}: user {rundir.user_name(os.geteuid())} may not become that one; "
            f"start this as root or as {user.pw_name}, or remove user from the configuration"
        ) from error


def drop_capabilities(keep: Collection[Capability] = ()) -> None:
    """Keep only those given, of those that we have, and gain none by executing a program. Raises CannotRunError.

    That is so for this thread; it is an error when another one has more.
    """
    try:
        kept = sum(1 << capability for capability in keep) & int(_status(_THREADS / str(os.getpid()))["CapPrm"], 16)
        low, high = kept & 0xFFFF_FFFF, kept >> 32
        header = struct.pack("=Ii", _VERSION_3, 0)
        sets = struct.pack("=6I", low, low, 0, high, high, 0)  # effective, permitted, inheritable; twice
        _check(_LIBC.capset(header, sets))
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        for thread in _THREADS.iterdir():
            status = _status(thread)
            more = [f"{name} {status[name]}" for name in _SETS if int(status[name], 16) & ~kept]
            if more:
                raise CannotRunError(f"thread {thread.name} still has rights that were dropped: {', '.join(more)}")
    except OSError as error:
        raise CannotRunError(f"cannot drop capabilities: {error.strerror}; is /proc there?") from error


def check_reach(user: str, run_dir: Path) -> None:
    """See that we, being that user, get to the run directory, the project and Python. Raises CannotRunError."""
    elsewhere = "install it where that user may read it, such as in /opt"
    needed = [
        ("run_dir", run_dir, os.R_OK | os.W_OK | os.X_OK, "set run_dir to a folder elsewhere"),
        ("tapfan in", Path(__file__).parent, os.R_OK | os.X_OK, elsewhere),
        ("Python", Path(sys.executable), os.X_OK, elsewhere),
        ("Python in", Path(os.__file__).parent, os.R_OK | os.X_OK, elsewhere),
    ]
    for what, path, mode, remedy in needed:
        if not os.access(path, mode):
            barred = _barred(path) or path
            verb = "enter" if barred != path else "use"
            raise CannotRunError(f"cannot use {what} {path}: user {user} may not {verb} {barred}; {remedy}")


def _barred(path: Path) -> Path | None:
    """The first folder on the way there, or to where it links to, that we may not enter."""
    for whole in (path, Path(os.path.realpath(path))):
        for folder in reversed(whole.parents):
            if not os.access(folder, os.X_OK):
                return folder
    return None


def _status(thread: Path) -> dict[str, str]:
    lines = (thread / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _prctl(option: int, value: int) -> None:
    # What an option has no use for must be 0.
    _check(_LIBC.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
