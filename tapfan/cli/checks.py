"""`tapfan check`: what a valid configuration would run here, and what on this host stands in its way."""

import errno
import os
import pwd
import shutil
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis

from tapfan import durations, interfaces, offloads
from tapfan.offloads import Offloads
from tapfan.program import CannotRunError
from tapfan.redis_connection import OLDEST_VERSION, pool
from tapfan.settings import ListenerSettings, Settings, WriterSettings

_REDIS_TIMEOUT_S = 1.0


def check(settings: Settings) -> dict[str, Any]:
    """What would run, on which interfaces that tell how they merge segments, and what to know and to mend before.

    {"processes": [{"command", "does"}], "interfaces": {name: {"gro", "lro"}}, "notes": [text], "warnings": [text],
    "problems": [text]}.
    """
    notes: list[str] = []
    warnings: list[str] = []
    problems: list[str] = []
    merging: dict[str, Offloads] = {}
    total = sum(writer.weight for writer in settings.writers)
    processes = [
        {"command": "python -m listener", "does": _listening(settings.listener, merging, notes, problems)},
        {"command": "python -m router", "does": f"splits by weight; control at {settings.endpoint('control')}"},
    ]
    if settings.user is not None and os.geteuid() not in (0, pwd.getpwnam(settings.user).pw_uid):
        notes.append(f"user = {settings.user!r}: to be started by root or by that user")
    _see_disk(settings.run_dir, settings.listener.spool_bytes, notes)
    reported = _reported(settings)
    for writer in settings.writers:
        does = f"stores {writer.weight / total:.1%} in {writer.redacted}, for {durations.text(settings.ttl)}"
        processes.append({"command": f"python -m writers {writer.name}", "does": does})
        with _answering_redis(writer, notes, problems) as client:
            if client is not None:
                notes += _room(client, writer, settings)
                warnings += _warnings(client, writer)
        notes += _load(writer, reported)
        warnings += [f"{writer.redacted}: {text}"] 
    told = {name: asdict(found) for name, found in merging.items()}
    return {"processes": processes, "interfaces": told, "notes": notes, "problems": problems}


def _listening(listener: ListenerSettings, merging: dict[str, Offloads], notes: list[str], problems: list[str]) -> str:
    allowed = _may_capture()
    source = "capture" if listener.must_capture or (listener.source == "auto" and allowed) else "accept"
    if source == "capture" and not allowed:
        problems.append('capturing needs CAP_NET_RAW: run as root, or set source = "accept" and what goes with it')
    if source == "accept" and listener.source == "auto":
        notes.append("no CAP_NET_RAW: records are made from what the listener itself accepts, not from packets")
    if listener.serve != "none":
        for endpoint in listener.listen:
            problem = _bind_problem(str(endpoint.address), endpoint.port)
            if problem == errno.EADDRINUSE:
                notes.append(f"{endpoint} is in use: by tapfan, if it runs already")
            elif problem:
                problems.append(f"cannot serve {endpoint}: {errno.errorcode[problem]}")
    where = ", ".join(map(str, listener.listen))
    if source == "capture":
        try:
            chosen = interfaces.choose(listener.listen, listener.interface)
        except CannotRunError as error:
            problems.append(str(error))
        else:
            where += " on " + ", ".join(chosen)
            merging |= offloads.of_captured(chosen)
            notes += [_merges(name, found) for name, found in merging.items() if found.gro or found.lro]
    to = f" to {listener.upstream}" if listener.upstream else ""
    return f"{where}: source {source}, serve {listener.serve}{to}"


def _merges(interface: str, found: Offloads) -> str:
    on = " and ".join(name for name, is_on in (("GRO", found.gro), ("LRO", found.lro)) if is_on)
    verb = "are" if found.gro and found.lro else "is"
    return (
        f"{interface}: {on} {verb} on: a record may stand for several merged segments "
        "(its field `segments` says how many)"
    )


def _see_disk(run_dir: Path, spool_bytes: int, notes: list[str]) -> None:
    """Whether the spool has room for all that it may hold."""
    there = next(folder for folder in (run_dir, *run_dir.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < spool_bytes:
        notes.append(f"the disk of run_dir has {free:,} bytes free, fewer than the spool may take ({spool_bytes:,})")


def _may_capture() -> bool:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        return False
    return True


def _bind_problem(address: str, port: int) -> int | None:
    """The error number of binding there; None when that would work."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            return error.errno
    return None


def _see_redis(writer: WriterSettings, notes: list[str], problems: list[str]) -> None:
    try:
        connections = pool(writer, _REDIS_TIMEOUT_S, _REDIS_TIMEOUT_S)
    except OSError as error:
        problems.append(f"the writer {writer.name} cannot read its password_file: {error}")
        return
    try:
        with redis.Redis(connection_pool=connections) as client:
            version = str(client.info("server")["redis_version"])
    except redis.AuthenticationError as error:
        problems.append(f"{writer.redacted} refuses the writer {writer.name}: {error}")
    except (redis.RedisError, OSError) as error:
        reason = str(error).rstrip(".")
        notes.append(f"{writer.redacted} does not answer yet ({reason}); the writer {writer.name} keeps trying")
    else:
        notes.append(f"{writer.redacted} answers: Redis {version}")
        if tuple(map(int, version.split(".")[:2])) < OLDEST_VERSION:
            problems.append(f"{writer.redacted} is Redis {version}; SET with PXAT needs 6.2 or newer")
