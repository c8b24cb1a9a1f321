"""`tapfan check`: what a valid configuration would run here, and what on this host stands in its way."""

import errno
import os
import pwd
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import redis

from tapfan import durations, interfaces, offloads, redis_warnings
from tapfan.cli.keychecks import see_keys
from tapfan.control import ControlClient, ControlError, ControlTimeoutError
from tapfan.offloads import Offloads
from tapfan.program import CannotRunError
from tapfan.redis_connection import OLDEST_VERSION, client, lacks_database, reason
from tapfan.sections import ListenerSettings, WriterSettings
from tapfan.settings import Settings

_REDIS_TIMEOUT_S = 1.0
_ROUTER_TIMEOUT_S = 1.0
_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")
_MEANT_FREE = 0.01  # of maxmemory; less says nothing of what it can hold

T = TypeVar("T")


@dataclass(frozen=True)
class _RedisState:
    """What one server told of itself; None, and memory is 0, where it does not, as the user may not ask."""

    version: str | None
    policy: str | None
    used_memory: int  # bytes
    max_memory: int  # bytes; 0: unlimited
    expiring: int  # keys that have a time to live
    ahead_us: int | None  # of this host's clock
    round_trip_us: int


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
    processes = []
    if settings.listener.key is not None or not settings.router_is_elsewhere:
        does = _listening(settings.listener, merging, notes, problems)
        processes.append({"command": "python -m listener", "does": does})
    if not settings.router_is_elsewhere:
        does = f"splits by weight; control at {settings.endpoint('control')}"
        processes.append({"command": "python -m router", "does": does})
    if settings.user is not None and os.geteuid() not in (0, pwd.getpwnam(settings.user).pw_uid):
        notes.append(f"user = {settings.user!r}: to be started by root or by that user")
    see_keys(settings, notes, problems)
    _see_disk(settings.run_dir, settings.listener.spool_bytes, notes)
    warnings += [
        f"{later.redacted}: is the database of the writers {first.name} and {later.name}; give each one of its own"
        for first, later in settings.shared_databases
    ]
    projections = _projections(settings)
    for writer in settings.writers:
        part = "its part" if settings.router_is_elsewhere else f"{writer.weight / total:.1%}"
        does = f"stores {part} in {writer.redacted}, for {durations.text(settings.ttl)}"
        processes.append({"command": f"python -m writers {writer.name}", "does": does})
        states = _see_redis(writer, notes, problems)
        projection = projections.get(writer.name)
        notes += [f"{writer.redacted} {text}" for text in _room(states, projection, writer, settings)]
        warnings += [f"{writer.redacted}: {text}" for text in _redis_warnings(states, projection)]
    told = {name: asdict(found) for name, found in merging.items()}
    return {"processes": processes, "interfaces": told, "notes": notes, "warnings": warnings, "problems": problems}


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


def _see_redis(writer: WriterSettings, notes: list[str], problems: list[str]) -> list[_RedisState]:
    """Whether the writer's Redis can be used; gives what its servers told of themselves, nothing when none answers."""
    try:
        states = _redis_states(writer)
    except redis.AuthenticationError as error:
        problems.append(f"{writer.redacted} refuses the writer {writer.name}: {error}")
    except redis.RedisError as error:
        if lacks_database(error):
            problems.append(f"{writer.redacted} is no database that this Redis has: {reason(error)}")
            return []
        notes.append(f"{writer.redacted} does not answer yet ({reason(error)}); the writer {writer.name} keeps trying")
    except (OSError, UnicodeDecodeError) as error:  # of the file: those of connections are redis-py's own
        problems.append(f"the writer {writer.name} cannot read its password_file {writer.password_file}: {error}")
    except ValueError as error:
        problems.append(f"{writer.redacted} cannot be used by the writer {writer.name}: {error}")
    except (AttributeError, LookupError, TypeError) as error:  # of redis-py, which takes answers to be Redis's
        problems.append(f"{writer.redacted} answers, but not as a Redis does: {error}")
    else:
        _see_versions(writer, [state.version for state in states], notes, problems)
        return states
    return []


def _see_versions(writer: WriterSettings, told: Sequence[str | None], notes: list[str], problems: list[str]) -> None:
    """What the versions of a writer's servers mean."""
    servers = f", {len(told)} primaries" if len(told) > 1 else ""
    known = [version for version in told if version is not None]
    if not known:
        notes.append(f"{writer.redacted} answers{servers}; its version is not told")
        return
    version = min(known, key=_version)
    notes.append(f"{writer.redacted} answers: Redis {version}{servers}")
    if _version(version) < OLDEST_VERSION:
        problems.append(f"{writer.redacted} is Redis {version}; SET with PXAT needs 6.2 or newer")


def _redis_states(writer: WriterSettings) -> list[_RedisState]:
    """What the writer's Redis tells; of a cluster, each primary. Raises OSError for a password_file, and RedisError."""
    with client(writer, _REDIS_TIMEOUT_S, _REDIS_TIMEOUT_S) as reached:
        if isinstance(reached, redis.RedisCluster):
            return [_redis_state(reached.get_redis_connection(node)) for node in reached.get_primaries()]
        return [_redis_state(reached)]


def _redis_state(server: redis.Redis) -> _RedisState:
    version = str((_if_permitted(lambda: server.info("server")) or {}).get("redis_version", ""))
    memory = _if_permitted(lambda: server.info("memory")) or {}
    keyspace = _if_permitted(lambda: server.info("keyspace")) or {}
    begun_ns = time.time_ns()
    told = _if_permitted(server.time)  # seconds and microseconds
    ended_ns = time.time_ns()
    return _RedisState(
        version=version if _VERSION.match(version) else None,
        policy=memory.get("maxmemory_policy"),
        used_memory=_count(memory, "used_memory"),
        max_memory=_count(memory, "maxmemory"),
        expiring=sum(_count(database, "expires") for database in keyspace.values() if isinstance(database, dict)),
        ahead_us=None if told is None else told[0] * 10**6 + told[1] - (begun_ns + ended_ns) // 2000,
        round_trip_us=(ended_ns - begun_ns) // 1000,
    )


def _count(told: Mapping[str, object], key: str) -> int:
    """A number that Redis tells; 0 where it does not."""
    value = told.get(key)
    return value if isinstance(value, int) else 0


def _version(text: str) -> tuple[int, ...]:
    """The first two numbers of what _VERSION matches."""
    return tuple(map(int, re.findall("[0-9]+", text)[:2]))


def _if_permitted(ask: Callable[[], T]) -> T | None:
    """The answer; None when Redis refuses to give it to this user. Raises RedisError where it lacks the database."""
    try:
        return ask()
    except redis.ResponseError as error:
        if lacks_database(error):
            raise
        return None


def _room(
    states: Sequence[_RedisState], projection: Mapping[str, Any] | None, writer: WriterSettings, settings: Settings
) -> Iterator[str]:
    """What memory a writer's Redis has, and what of it is needed, as far as that is known."""
    if projection is None and states and all(state.max_memory for state in states):
        most = sum(state.max_memory for state in states)
        free = sum(max(0, state.max_memory - state.used_memory) for state in states)
        if any(state.expiring for state in states):
            keys = sum(state.expiring for state in states)
            yield f"has {redis_warnings.size(free)} of its maxmemory free, and {keys:,} keys that make room as they end"
        elif free < most * _MEANT_FREE:
            yield f"has hardly any of its maxmemory ({redis_warnings.size(most)}) free, and no key that ends"
        else:
            yield redis_warnings.holds(free, settings.layout_of(writer), settings.ttl)
    if projection is not None:
        yield f"gets {redis_warnings.rate(projection['rate'])} now and {redis_warnings.need(projection)} for them"


def _redis_warnings(states: Sequence[_RedisState], projection: Mapping[str, Any] | None) -> list[str]:
    """What could make a writer's Redis lose records, by what is known; what is alike for several servers once."""
    told = [redis_warnings.memory(projection)]
    for state in states:
        told.append(redis_warnings.eviction(state.policy, state.max_memory))
        told.append(redis_warnings.clock(state.ahead_us, state.round_trip_us))
    return list(dict.fromkeys(text for text in told if text))


def _projections(settings: Settings) -> dict[str, Mapping[str, Any] | None]:
    """By writer, what the records that it stores now will need; empty when no router answers."""
    endpoint = settings.endpoint("control")
    try:
        if endpoint.startswith("ipc://") and not Path(endpoint.removeprefix("ipc://")).exists():
            return {}  # at once, as none has run here
        with ControlClient.of(settings, min(settings.control.timeout, _ROUTER_TIMEOUT_S)) as client:
            return {name: writer["projection"] for name, writer in client.status()["writers"].items()}
    except (ControlError, ControlTimeoutError, CannotRunError, OSError):
        return {}
