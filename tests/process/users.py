"""Programs that root starts and that become another user; needs root."""

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.running import ROOT

USER = pwd.getpwnam("nobody")
_SETS = ("CapInh", "CapPrm", "CapEff", "CapAmb")


def skip_without_root() -> None:
    """Skip what needs to become another user."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that is root's and that everybody may enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="tapfan-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def with_python_in_reach() -> list[str]:
    """A command that becomes the one after it, where everybody gets to Python and the project.

    Where they are in a closed folder, such as /root, that is an open one there, with only them in it.
    """
    if shutil.which("unshare") is None:
        pytest.skip("Python in the reach of others needs the command `unshare`, of the package util-linux")
    needed = {Path(path).resolve() for path in (sys.prefix, sys.base_prefix, ROOT)}
    closed = {path: folder for path in needed if (folder := _closed(path)) is not None}
    steps = ["set -e", "aside=$(mktemp -d)", 'mount -t tmpfs none "$aside"']
    for number, path in enumerate(closed):
        steps += [f'mkdir "$aside/{number}"', f'mount --bind "{path}" "$aside/{number}"']
    steps += [f'mount -t tmpfs -o mode=755 none "{folder}"' for folder in set(closed.values())]
    for number, path in enumerate(closed):
        steps += [f'(umask 022; mkdir -p "{path}")', f'mount --move "$aside/{number}" "{path}"']
    steps += ['umount "$aside"', 'rmdir "$aside"', 'exec "$@"']
    return ["unshare", "--mount", "sh", "-c", "\n".join(steps), "sh"] if closed else []


def _closed(path: Path) -> Path | None:
    """The first folder on the way there that others may not enter."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & 0o001), None)


def rights(pid: int) -> tuple[set[int], set[int], dict[str, int]]:
    """A process's user and group ids of all kinds, and its capability sets, over all its threads."""
    uids: set[int] = set()
    gids: set[int] = set()
    capabilities = dict.fromkeys(_SETS, 0)
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        uids |= set(map(int, fields["Uid"].split()))
        gids |= set(map(int, fields["Gid"].split() + fields["Groups"].split()))
        capabilities = {name: bits | int(fields[name], 16) for name, bits in capabilities.items()}
    return uids, gids, capabilities


NONE = ({USER.pw_uid}, {USER.pw_gid}, dict.fromkeys(_SETS, 0))  # the rights of the user, without capabilities
