"""The folder of a router's keys: its own, those that were made for its clients, and the allowlist.

Files are written aside, 0600, and renamed, in a folder that is 0700, by one process at a time.
"""

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tapfan import allowlist, keys
from tapfan.allowlist import Allowed, AllowlistError
from tapfan.keys import ClientRole, Key, KeyFileError, Role
from tapfan.program import CannotRunError

ROUTER = "router"  # the name of its key
SUFFIX = ".key"
FOLDER = "keys"  # beside the configuration, where it names none
ROUTER_FILE = f"{ROUTER}{SUFFIX}"

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


class KeyringError(Exception):
    """Raised when what is asked for is refused; says why, and what to do. Nothing changed then."""


@dataclass(frozen=True)
class Listed:
    """What is known of a key. `file`: where its secret is, if here."""

    name: str
    role: Role
    public: str
    allowed: bool
    file: Path | None = None


@dataclass(frozen=True)
class Keyring:
    """`router_file`: the router's key file; the others lie beside it.

    What changes them raises KeyringError, and CannotRunError when the system refuses it.
    """

    router_file: Path

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.router_file.parent

    def file(self, name: str) -> Path:
        """Where the key with that name is, or will be."""
        return self.router_file if name == ROUTER else self.folder / f"{name}{SUFFIX}"

    def listed(self, others: Sequence[Path] = ()) -> tuple[list[Listed], list[str]]:
        """All keys of the folder and of the allowlist, and those of other files; and what cannot be read.

        The allowlist's come in its order, then others by name. Raises KeyringError.
        """
        problems = []
        here: dict[str, Key] = {}
        found = sorted(self.folder.glob(f"*{SUFFIX}")) if self._is_there() else []
        for file in dict.fromkeys([*found, *others]):
            try:
                key = keys.read(file)
            except KeyFileError as error:
                problems.append(str(error))
            else:
                here.setdefault(key.public, key)
        listed = [
            Listed(key.name, key.role, key.public, True, key.file) for key in here.values() if key.role == "router"
        ]
        for public, client in self._allowed().items():
            secret = here[public].file if public in here else None
            listed.append(Listed(client.name, client.role, public, True, secret))
        known = {each.public for each in listed}
        listed += [
            Listed(key.name, key.role, key.public, False, key.file) for key in here.values() if key.public not in known
        ]
        return listed, problems

    def make_router(self) -> Key | None:
        """Make the router's pair if there is none."""
        with self._changing():
            return None if self._has_router() else self._made(keys.made(self.router_file, ROUTER, "router"))

    def make(self, name: str, role: ClientRole) -> Key:
        """Make a client's pair, which the router lets in. The router's must be there."""
        with self._changing():
            allowed = self._allowed()
            self._refuse_known(name, allowed)
            key = keys.made(self.file(name), name, role, self._router_public())
            self._made(key)
            try:
                self._save([*allowed.values(), Allowed(name, role, key.public)])
            except OSError:
                key.file.unlink()
                raise
        return key

    def make_for(self, name: str, role: ClientRole, router: str) -> Key:
        """Make a client's pair for the router with that public key, elsewhere."""
        with self._changing():
            self._refuse_known(name, {})
            return self._made(keys.made(self.file(name), name, role, router))

    def allow(self, name: str, role: ClientRole, public: str) -> None:
        """Let the router let in a key that was made elsewhere."""
        with self._changing():
            allowed = self._allowed()
            self._refuse_known(name, allowed)
            if public in allowed:
                raise KeyringError(f"this key is allowed already, as {allowed[public].name}")
            if self._has_router() and public == self._router_public():
                raise KeyringError("this is the router's own public key; that of the client is needed")
            self._save([*allowed.values(), Allowed(name, role, public)])

    def revoke(self, name: str) -> Allowed:
        """Let the router not let in a key any more."""
        if not self._is_there():
            raise _not_allowed(name, ())
        with self._changing():
            allowed = self._allowed()
            gone = next((client for client in allowed.values() if client.name == name), None)
            if gone is None:
                raise _not_allowed(name, allowed.values())
            self._save([client for client in allowed.values() if client is not gone])
            return gone

    def _refuse_known(self, name: str, allowed: Mapping[str, Allowed]) -> None:
        if name == ROUTER:
            raise KeyringError(f"{ROUTER} is the name of the router's own key")
        if any(client.name == name for client in allowed.values()):
            raise KeyringError(
                f"a client {name} is allowed already; `tapfan keys revoke {name}` first, or another name"
            )

    def _is_there(self) -> bool:
        try:
            return self.folder.is_dir()
        except OSError as error:
            raise KeyringError(f"cannot look into {self.folder}: {error.strerror}") from error

    def _has_router(self) -> bool:
        return self.router_file.exists()

    def _router_public(self) -> str:
        try:
            return keys.load(self.router_file, "router.key", "router").public
        except KeyFileError as error:
            raise KeyringError(str(error)) from error

    def _allowed(self) -> dict[str, Allowed]:
        try:
            return allowlist.read(allowlist.beside(self.router_file))
        except AllowlistError as error:
            raise KeyringError(str(error)) from error

    def _save(self, allowed: Iterable[Allowed]) -> None:
        file = allowlist.beside(self.router_file)
        with _aside(file, allowlist.file_text(allowed)) as written:
            written.rename(file)

    def _made(self, key: Key) -> Key:
        """Write the key's file, where none may be."""
        with _aside(key.file, keys.file_text(key)) as written:
            try:
                os.link(written, key.file)  # unlike a rename it replaces nothing
            except FileExistsError as error:
                raise KeyringError(f"{key.file} is there already; it is not overwritten") from error
        return key

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """The folder made, 0700, and locked. Raises CannotRunError for what the system refuses in it."""
        try:
            self.folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if stat.S_IMODE(os.fstat(folder).st_mode) & ~_FOLDER_MODE:
                    raise KeyringError(
                        f"others get into the folder of the keys, {self.folder}: `chmod 700 {self.folder}`, "
                        "if it is for the keys alone; or set router.key to a file in a folder that is"
                    )
                fcntl.flock(folder, fcntl.LOCK_EX)
                yield
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise CannotRunError(f"cannot write keys to {self.folder}: {error.strerror}") from error


def _not_allowed(name: str, allowed: Iterable[Allowed]) -> KeyringError:
    known = ", ".join(client.name for client in allowed) or "nobody"
    return KeyringError(f"no client {name!r} is allowed; allowed are: {known}")


@contextmanager
def _aside(file: Path, text: str) -> Iterator[Path]:
    """A file beside it with that text, on disk, for its owner alone; gone at the end unless it was renamed."""
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)  # of a process that was killed; the folder is locked
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(descriptor)
        yield beside
    finally:
        beside.unlink(missing_ok=True)
