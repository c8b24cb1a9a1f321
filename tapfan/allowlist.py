"""Whom a router lets in: `allowed.toml` beside its key, a table for each client's key, named as the client.

`key`: its public key; `role`: admin, read, listener or writer.
"""

import os
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from tapfan.keys import ClientRole, PublicKey
from tapfan.names import Name

FILE = "allowed.toml"
_MAX_BYTES = 2**20
_OTHERS_WRITE = 0o022
_HEAD = "# Whom this router lets in; `tapfan keys` changes it, and the router reads it again by itself.\n"


@dataclass(frozen=True)
class Allowed:
    """A client that may connect, to what its role is for."""

    name: str
    role: ClientRole
    public: str


class AllowlistError(Exception):
    """Raised when an allowlist cannot be used; says why."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: PublicKey
    role: ClientRole


_CONTENT = TypeAdapter(dict[Name, _Entry])


def beside(key_file: Path) -> Path:
    """The allowlist of the router with that key file."""
    return key_file.parent / FILE


def read(file: Path) -> dict[str, Allowed]:
    """Those that are allowed, by their public keys; nobody where there is no such file. Raises AllowlistError."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if mode & _OTHERS_WRITE:
                raise AllowlistError(f"others may write {file} (mode {stat.S_IMODE(mode):04o}): `chmod 600 {file}`")
            text = opened.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AllowlistError(f"cannot read {file}: {error.strerror}") from error
    if len(text) > _MAX_BYTES:
        raise AllowlistError(f"{file} has more than {_MAX_BYTES} bytes")
    try:
        return _parsed(text.decode(), file)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise AllowlistError(f"{file} is not valid: {'; '.join(problems)[:500]}") from error
    except (ValueError, RecursionError) as error:
        raise AllowlistError(f"{file} is not valid TOML: {error}") from error


def file_text(allowed: Iterable[Allowed]) -> str:
    """What the file of those holds."""
    tables = (f'\n[{each.name}]\nkey = "{each.public}"\nrole = "{each.role}"\n' for each in allowed)
    return _HEAD + "".join(tables)


def _parsed(text: str, file: Path) -> dict[str, Allowed]:
    entries: Mapping[str, _Entry] = _CONTENT.validate_python(tomllib.loads(text))
    found: dict[str, Allowed] = {}
    for name, entry in entries.items():
        if entry.key in found:
            raise AllowlistError(f"{file} is not valid: {found[entry.key].name} and {name} have the same key")
        found[entry.key] = Allowed(name, entry.role, entry.key)
    return found
