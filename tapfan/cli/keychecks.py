"""What `tapfan check` says of encryption: which endpoints have it, and what is wrong with the keys."""

import os
import pwd
from collections.abc import Callable, Sequence

from tapfan import allowlist, keys
from tapfan.allowlist import AllowlistError
from tapfan.keys import Key, KeyFileError
from tapfan.reach import ENDPOINTS, EndpointName
from tapfan.rundir import user_name
from tapfan.settings import Settings


def see_keys(settings: Settings, notes: list[str], problems: list[str]) -> None:
    """Note which endpoints are encrypted, and for whom; add what is wrong."""
    notes += [f"{name}: {text}" for name in ENDPOINTS if (text := _endpoint(settings, name))]
    loads: Sequence[Callable[[], Key | None]] = (
        lambda: keys.of_router(settings),
        lambda: keys.of_listener(settings),
        lambda: keys.of_control(settings),
        *(lambda writer=writer: keys.of_writer(writer) for writer in settings.writers),
    )
    for load in loads:
        try:
            key = load()
        except KeyFileError as error:
            problems.append(str(error))
        else:
            problems += _owner_problems(key, settings) if key else []
    if settings.router.key is not None:
        _see_allowed(settings, notes, problems)


def _endpoint(settings: Settings, name: EndpointName) -> str | None:
    """What there is to say of one that is TCP."""
    if served := settings.served(name):
        return f"encrypted for other hosts at {served}, and for this one at {settings.bound(name)}"
    endpoint = settings.endpoint(name)
    if not endpoint.startswith("tcp://"):
        return None
    return f"{'encrypted' if settings.is_keyed(name) else 'not encrypted, for this host alone'}, at {endpoint}"


def _owner_problems(key: Key, settings: Settings) -> list[str]:
    """That the user that root's programs become could not read it."""
    if settings.user is None or os.geteuid() != 0:
        return []
    user, owner = pwd.getpwnam(settings.user), key.file.stat().st_uid
    if user.pw_uid in (owner, 0):
        return []
    return [f"the key file {key.file} belongs to {user_name(owner)}: `chown {user.pw_name} {key.file}`"]


def _see_allowed(settings: Settings, notes: list[str], problems: list[str]) -> None:
    assert settings.router.key is not None
    file = allowlist.beside(settings.router.key)
    try:
        allowed = allowlist.read(file)
    except AllowlistError as error:
        problems.append(str(error))
        return
    names = ", ".join(f"{client.name} ({client.role})" for client in allowed.values())
    notes.append(f"{file} lets in {names or 'nobody; `tapfan keys make` makes a key and lets it in'}")
    if not any(settings.served(name) for name in ENDPOINTS):
        notes.append("router.key is set, but no endpoint is tcp://: no other host gets here")
