"""Keys of CURVE, ZeroMQ's encryption: a file for each, with all that its owner needs to reach the router.

A key file is TOML: `name`, `role`, `public`, `secret` (Z85, ZeroMQ RFC 32), and, of a client, `router`: the public key
of the only router that it trusts. It is for its owner alone. Whom a router lets in is in `tapfan.allowlist`.
"""

import os
import stat
import struct
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import zmq
from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, ValidationError
from zmq.utils import z85

from tapfan.names import Name
from tapfan.program import CannotRunError
from tapfan.reach import Reach
from tapfan.sections import WriterSettings
from tapfan.settings import Settings

ClientRole = Literal["admin", "read", "listener", "writer"]
Role = Literal["router", "admin", "read", "listener", "writer"]
CLIENT_ROLES: tuple[ClientRole, ...] = ("admin", "read", "listener", "writer")

_PREFIX = 8  # characters of a public key that name it in a log
_MAX_FILE_BYTES = 16 * 1024
_OTHERS = 0o077  # permission bits


class KeyFileError(CannotRunError):
    """Raised when a key file cannot be used: says which, why, and what to do; never a secret."""


def public_key(text: str) -> str:
    """A public key in Z85. Raises ValueError."""
    try:
        decoded = z85.decode(text.encode("ascii"))
        if len(decoded) == 32 and z85.encode(decoded).decode() == text:
            return text
    except (ValueError, KeyError, struct.error):
        pass
    raise ValueError("must be a public key: 40 characters of Z85, as `tapfan keys` shows it")


PublicKey = Annotated[str, AfterValidator(public_key)]


def shortened(public: str) -> str:
    """The beginning of a public key: enough to tell which one it is."""
    return public[:_PREFIX]


@dataclass(frozen=True)
class Key:
    """A pair of keys, and whom it trusts; `file`: where it was read."""

    file: Path
    name: str
    role: Role
    public: str
    secret: SecretStr
    router: str  # the public key of the router; of a router, its own


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Name
    role: Role
    public: PublicKey
    secret: SecretStr
    router: PublicKey | None = None


def made(file: Path, name: str, role: Role, router: str | None = None) -> Key:
    """A new pair, not yet written; `router`: whom a client trusts."""
    public, secret = _pair()
    while public.startswith("-"):  # on a command line, it would be an option
        public, secret = _pair()
    return Key(file, name, role, public, SecretStr(secret), router or public)


def _pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def file_text(key: Key) -> str:
    """What the key's file holds. It has the secret in it."""
    text = f'# A key of tapfan: for its owner alone (0600).\nname = "{key.name}"\nrole = "{key.role}"\n'
    text += f'public = "{key.public}"\nsecret = "{key.secret.get_secret_value()}"\n'
    return text if key.role == "router" else f'{text}router = "{key.router}"  # the public key of the router\n'


def load(file: Path, setting: str, *roles: Role) -> Key:
    """Read the key that a setting names; it must have one of the roles. Raises KeyFileError."""
    key = read(file)
    if key.role not in roles:
        raise KeyFileError(
            f"{setting} = {str(file)!r}: the key {key.name} has the role {key.role}; needed is {' or '.join(roles)}"
        )
    return key


def of_router(settings: Settings) -> Key | None:
    """The router's key, if it has one. Raises KeyFileError."""
    file = settings.router.key
    return None if file is None else load(file, "router.key", "router")


def of_listener(settings: Settings) -> Key | None:
    """The listener's key, if it has one. Raises KeyFileError."""
    file = settings.listener.key
    return None if file is None else load(file, "listener.key", "listener")


def of_writer(writer: WriterSettings) -> Key | None:
    """A writer's key, if it has one. Raises KeyFileError."""
    return None if writer.key is None else load(writer.key, f"the key of the writer {writer.name}", "writer")


def of_control(reach: Reach) -> Key | None:
    """The key with which to steer and watch, if there is one. Raises KeyFileError."""
    file = reach.control.key
    return None if file is None else load(file, "control.key", "admin", "read")


def read(file: Path) -> Key:
    """Read a key file that nobody else may read. Raises KeyFileError."""
    try:
        content = _Content.model_validate(tomllib.loads(private_text(file)))
        if zmq.curve_public(content.secret.get_secret_value().encode()).decode() != content.public:
            raise KeyFileError(f"the key file {file} is damaged: public is not that of secret")
    except OSError as error:
        raise KeyFileError(f"cannot read the key file {file}: {error.strerror}{_remedy(error)}") from error
    except ValidationError as error:
        raise KeyFileError(f"the key file {file} is not valid: {_problems(error)}") from None
    except (ValueError, RecursionError, zmq.ZMQError):  # they may quote what is in it
        raise KeyFileError(f"the key file {file} is not valid: it is not TOML with a pair of keys in Z85") from None
    if content.role != "router" and content.router is None:
        raise KeyFileError(f"the key file {file} is not valid: router: missing")
    return Key(file, content.name, content.role, content.public, content.secret, content.router or content.public)


def private_text(file: Path) -> str:
    """The text of a file that nobody else may read. Raises OSError, ValueError, and KeyFileError when others may."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as opened:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise KeyFileError(f"the key file {file} is not a file")
        if state.st_mode & _OTHERS:
            raise KeyFileError(
                f"others may read or write {file} (mode {stat.S_IMODE(state.st_mode):04o}): `chmod 600 {file}`; "
                "if they may have read it, make another one"
            )
        return opened.read(_MAX_FILE_BYTES).decode()


def _remedy(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "; `tapfan keys make` makes one"
    return "; it must belong to the user that tapfan runs as" if isinstance(error, PermissionError) else ""


def _problems(error: ValidationError) -> str:
    """What is wrong, without the values."""
    return "; ".join(f"{_place(item)}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors())


def _place(item: Any) -> str:
    return ".".join(str(part) for part in item["loc"])[:60]
