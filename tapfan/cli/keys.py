"""`tapfan keys`: the keys with which other hosts are let in, listed, made and revoked."""

import json
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from tapfan import rights
from tapfan.cli.invocation import Config, Json, fail, reach_of, settings_of, warn
from tapfan.cli.showing import plain_table, print_whole, say
from tapfan.keyring import FOLDER, ROUTER_FILE, Keyring, KeyringError
from tapfan.keys import ClientRole, Key, public_key
from tapfan.names import VALID, Name
from tapfan.program import EXIT_FAILED, EXIT_USAGE, CannotRunError
from tapfan.reach import Reach
from tapfan.settings import Settings, file_of

EPILOG = (
    "\b\nExamples:\n  tapfan keys\n  tapfan keys make laptop --role admin\n  tapfan keys revoke laptop\n\n"
    "Exit codes: 0 done, 1 the files cannot be used, 2 a bad argument or configuration, or refused."
)
_WHAT_FOR: dict[ClientRole, str] = {
    "admin": "[control] endpoint and key",
    "read": "[control] endpoint and key",
    "listener": "[router] records, and [listener] key",
    "writer": "[router] shares, and the key of each of its [[writers]]",
}

app = typer.Typer(rich_markup_mode=None, add_completion=False)


def _name(text: str) -> str:
    try:
        return TypeAdapter[str](Name).validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(VALID) from error


def _public(text: str) -> str:
    try:
        return public_key(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


KeyName = Annotated[str, typer.Argument(metavar="NAME", parser=_name, help="The key's name, such as laptop.")]
Role = Annotated[
    ClientRole,
    typer.Option(help="What it is for: all of control, its reading part, a listener, or a writer.", show_default=False),
]


@app.callback(invoke_without_command=True, epilog=EPILOG)
def keys(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Show the keys of this host and those that its router lets in; make, allow and revoke them."""
    if context.invoked_subcommand is not None:
        context.obj = config
        return
    reach = reach_of(config)
    ring = _ring(reach, config)
    with _refusals():
        listed, problems = ring.listed(_configured(reach))
    if as_json:
        shown = [asdict(key) | {"file": str(key.file) if key.file else None} for key in listed]
        print(json.dumps({"folder": str(ring.folder), "keys": shown, "problems": problems}))  # noqa: T201 (output)
    else:
        if not listed and not problems:
            say("there are no keys; `tapfan keys make NAME --role …` makes one", _console())
            return
        table = plain_table("name", "role", "public key", "allowed here", "secret")
        for key in listed:
            # Of the router's own key nothing is to be allowed; of others, a router elsewhere knows.
            allowed = "-" if key.role == "router" else "yes" if key.allowed else "no"
            table.add_row(key.name, key.role, key.public, allowed, _shown(key.file) if key.file else "(elsewhere)")
        print_whole(table, _console())
    for problem in problems:
        warn(problem)
    if problems:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog=EPILOG)
def make(
    context: typer.Context,
    name: KeyName,
    role: Role,
    router: Annotated[
        str | None,
        typer.Option(
            metavar="PUBLIC",
            parser=_public,
            help="The public key of a router elsewhere, to be told the new one by `tapfan keys allow`.",
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a key for a client on another host, and let the router let it in; the router's first, if it has none."""
    settings = settings_of(config or context.obj)
    ring = _ring(settings, config or context.obj)
    with _refusals():
        _become_owner(settings, ring.folder)
        own = None if router else ring.make_router()
        made = ring.make_for(name, role, router) if router else ring.make(name, role)
    if as_json:
        new = [key for key in (own, made) if key]
        print(json.dumps({"made": [_told(key) for key in new], "allowed": router is None}))  # noqa: T201 (output)
        return
    console = _console()
    if own:
        say(f"made the router's own key, {_shown(own.file)} (public key {own.public})", console)
        if settings.router.key is None:
            say(f'set [router] key = "{_shown(own.file)}" in the configuration, and restart the router', console)
    say(f"made {_shown(made.file)}, the key of {name}, for the role {role}", console)
    if router:
        say(f"on the router's host: tapfan keys allow {name} '{made.public}' --role {role}", console)
    else:
        say(f"move it to where {name} is to be: who has it is let in. Set there {_WHAT_FOR[role]}", console)


@app.command(epilog=EPILOG)
def allow(
    context: typer.Context,
    name: KeyName,
    public: Annotated[
        str,
        typer.Argument(
            metavar="PUBLIC", parser=_public, help="The client's public key; put -- before one that begins with -."
        ),
    ],
    role: Role,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Let the router let in a key that was made elsewhere."""
    settings = settings_of(config or context.obj)
    ring = _ring(settings, config or context.obj)
    with _refusals():
        _become_owner(settings, ring.folder)
        ring.allow(name, role, public)
    _say_done({"allowed": {"name": name, "role": role, "public": public}}, f"{name} is let in as {role}", as_json)


@app.command(epilog=EPILOG)
def revoke(context: typer.Context, name: KeyName, config: Config = None, as_json: Json = False) -> None:
    """Let the router let in a key no more, and refuse what it still sends; within a second, without a restart.

    What is bad in the configuration besides what leads to the router is only warned of.
    """
    reach = reach_of(config or context.obj)
    ring = _ring(reach, config or context.obj)
    with _refusals():
        _become_owner(reach, ring.folder)
        gone = ring.revoke(name)
    told = f"{name} is let in no more"
    if ring.file(name).exists():
        told += f"; {_shown(ring.file(name))} is of no more use"
    _say_done({"revoked": asdict(gone)}, told, as_json)


def _ring(reach: Reach, config: Path | None) -> Keyring:
    """The keys beside the configured one; else those beside the configuration."""
    if reach.router.key is not None:
        return Keyring(reach.router.key)
    configured = _configured(reach)
    folder = configured[0].parent if configured else file_of(config).resolve().parent / FOLDER
    return Keyring(folder / ROUTER_FILE)


def _configured(reach: Reach) -> list[Path]:
    """The files of clients' keys; of a configuration that is bad elsewhere, that of the command's alone."""
    files = [reach.control.key]
    if isinstance(reach, Settings):
        files += [reach.listener.key, *(writer.key for writer in reach.writers)]
    return [file for file in files if file is not None]


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except KeyringError as error:
        fail(str(error), EXIT_USAGE)
    except CannotRunError as error:
        fail(str(error), EXIT_FAILED)


def _become_owner(reach: Reach, folder: Path) -> None:
    """As root, be the user that the router is to be, so that it can read the keys; the folder becomes its own.

    Where the configuration does not tell that user, it is whose folder it is. Raises CannotRunError.
    """
    if os.geteuid() != 0:
        return
    named = reach.user if isinstance(reach, Settings) else None
    user = pwd.getpwnam(named) if named is not None else _owner(folder)
    if user is None or user.pw_uid == 0:
        return
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, user.pw_uid, user.pw_gid, follow_symlinks=False)
    except FileExistsError:
        pass
    except OSError as error:
        raise CannotRunError(f"cannot make the folder of the keys, {folder}: {error.strerror}") from error
    rights.become(user)


def _owner(folder: Path) -> pwd.struct_passwd | None:
    """Whose folder it is; None where there is none. Raises CannotRunError."""
    try:
        number = folder.stat().st_uid
        return pwd.getpwuid(number)
    except OSError:
        return None
    except KeyError as error:
        raise CannotRunError(
            f"the folder of the keys, {folder}, belongs to the user {number}, whom this host does not know: `chown` it "
            "to the user that the router is"
        ) from error


def _say_done(result: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result))  # noqa: T201 (the command's output)
    else:
        say(text, _console())


def _told(key: Key) -> dict[str, str]:
    return {"name": key.name, "role": key.role, "public": key.public, "file": str(key.file)}


def _shown(file: Path) -> str:
    """The path as it is shortest from here."""
    try:
        return str(file.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(file)


def _console() -> Console:
    return Console(markup=False, emoji=False, highlight=False)
