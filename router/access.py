"""Who may connect from other hosts, and as what: ZeroMQ asks for each connection (ZAP, RFC 27), we at each message.

Programs of this host come over ipc, or over plain TCP on loopback, and are not asked. All others come to endpoints that
are encrypted (CURVE). Their User-Id is their public key, which the allowlist knows, or does not know any more.
"""

import ipaddress
import resource
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import zmq
from zmq.utils import z85

from router.limits import BURST, RATE, Limits
from tapfan import allowlist, keys, sockets
from tapfan.allowlist import Allowed, AllowlistError
from tapfan.control import ControlError
from tapfan.handshakes import Handshakes
from tapfan.logs import Logger, Repeated
from tapfan.program import CannotRunError
from tapfan.settings import EndpointName, Settings

IO_THREADS = 2  # of the context: the second one is for other hosts, whose handshakes hold up nobody here

_OTHERS_THREAD = 0b10
_ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_ZAP_VERSION = b"1.0"
_ZAP_FRAMES = 9  # of a request for CURVE, with what a ROUTER socket puts before it
_KEY_BYTES = 32
_REFUSED = "not a client that may connect here"
_LOOK_PERIOD_S = 0.5
_MOST_A_TURN = 64
_DESCRIPTORS = 65_536  # a connection takes one, also before it has shown a key

ROLES: Mapping[EndpointName, tuple[keys.ClientRole, ...]] = {
    "records": ("listener",),
    "shares": ("writer",),
    "control": ("admin", "read"),
    "events": ("admin", "read"),
}
# Of requests and subscriptions, which are small, few are kept for a peer that is not read, or does not read.
_SMALL = sockets.Bounds(to_send=64, to_take=64, frame_bytes=256 * 1024)
_BOUNDS: Mapping[EndpointName, sockets.Bounds] = {
    "records": sockets.Bounds(),
    "shares": sockets.Bounds(frame_bytes=2**20),
    "control": _SMALL,
    "events": replace(_SMALL, to_send=1000),
}


@dataclass(frozen=True)
class Peer:
    """Who asks on control: the name of its key, None for a program of this host, and what it may do."""

    name: str | None
    role: Literal["read", "admin"]


LOCAL = Peer(None, "admin")


class Allowlist:
    """The allowlist of a router's key, read again when its file changed. Raises CannotRunError when it cannot be."""

    def __init__(self, key: keys.Key, log: Logger) -> None:
        self._file = allowlist.beside(key.file)
        self._log = log
        self._state = self._look()
        self._next_look_s = 0.0
        try:
            self._allowed = allowlist.read(self._file)
        except AllowlistError as error:
            raise CannotRunError(str(error)) from error
        if not self._allowed:
            log.warning("nobody_is_allowed", file=str(self._file), hint="`tapfan keys make` makes a key and allows it")

    def get(self, public: str) -> Allowed | None:
        """The client with that public key, if it is allowed now."""
        return self._allowed.get(public)

    def refresh(self, now_s: float) -> list[Allowed]:
        """When it is time, read the file if it changed; gives those that are not allowed any more as they were."""
        if now_s < self._next_look_s:
            return []
        self._next_look_s = now_s + _LOOK_PERIOD_S
        state = self._look()
        if state == self._state:
            return []
        self._state = state
        try:
            allowed = allowlist.read(self._file)
        except AllowlistError as error:
            self._log.error("allowlist_not_read", problem=str(error), then="that from before stays in force")
            return []
        before, self._allowed = self._allowed, allowed
        lost = _difference(before, allowed)
        new = _difference(allowed, before)
        self._log.info("allowlist_read", allowed=len(allowed), new=_names(new), no_more=_names(lost))
        return lost

    def _look(self) -> tuple[int, ...] | None:
        """What changes with the file."""
        try:
            state = self._file.stat()
        except OSError:
            return None
        return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


@dataclass
class _Opened:
    """A socket that is there for other hosts; `bound`: where, as ZeroMQ writes it; None until it can be bound again."""

    name: EndpointName
    socket: sockets.Socket
    endpoint: str
    handshakes: Handshakes
    bound: str | None


class Access:
    """What the router has for other hosts; nothing at all, and all that come are let in, without `[router] key`."""

    def __init__(
        self, settings: Settings, context: zmq.Context[sockets.Socket], log: Logger, repeated: Repeated
    ) -> None:
        self._settings = settings
        self._log = log
        self._repeated = repeated
        self._limits = Limits()
        self._opened: list[_Opened] = []
        self._key = keys.of_router(settings)
        if self._key is None:
            return
        self._allowlist = Allowlist(self._key, log)
        _allow_descriptors()
        self._zap = context.socket(zmq.ROUTER)
        self._zap.bind(_ZAP_ENDPOINT)

    def open(self, name: EndpointName, socket: sockets.Socket) -> None:
        """Have one of the router's sockets be there for other hosts as well, where so configured."""
        endpoint = self._settings.served(name)
        if self._key is None or endpoint is None:
            return
        socket.setsockopt(zmq.AFFINITY, _OTHERS_THREAD)
        handshakes = Handshakes(socket)
        sockets.open_to_others(socket, endpoint, self._key, name, _BOUNDS[name])
        self._opened.append(_Opened(name, socket, endpoint, handshakes, _bound_to(socket)))
        self._log.info("open_to_other_hosts", socket=name, endpoint=endpoint, roles=", ".join(ROLES[name]))

    @property
    def sockets(self) -> list[sockets.Socket]:
        """What to poll besides: what comes in there is for `turn`."""
        return [] if self._key is None else [self._zap, *(opened.handshakes.socket for opened in self._opened)]

    def turn(self, ready: Container[object], now_s: float) -> None:
        """Answer those that ask to connect, tell of those that could not, and see who is allowed.

        `ready`: the sockets that have something.
        """
        if self._key is None:
            return
        for opened in self._opened:
            if opened.handshakes.socket not in ready:
                continue
            for failure in opened.handshakes.failures(_MOST_A_TURN):
                if not failure.was_refused:  # of those we tell as we refuse them
                    peer = failure.peer or "unknown, gone at once"
                    about = f"{failure.host} {failure.reason}"
                    self._repeated.warn(
                        "handshake_failed", about, socket=opened.name, peer=peer, problem=failure.reason
                    )
        for _ in range(_MOST_A_TURN if self._zap in ready else 0):
            request = sockets.received(self._zap)
            if request is None:
                break
            sockets.sent(self._zap, *self._answer(request))
        self._drop(self._allowlist.refresh(now_s))
        for opened in self._opened:
            if opened.bound is None:
                self._bind_again(opened)

    def peer(self, sender: zmq.Frame, now_s: float) -> Peer:
        """Who sends a request on control. Raises ControlError when it may ask nothing, or nothing so soon."""
        if self._key is None or _is_local(sender):
            return LOCAL
        client = self._client(sender)
        if client is None or client.role not in ("admin", "read"):
            user_id = _user_id(sender)
            self._repeated.warn("request_refused", user_id, peer=_address(sender), key=keys.shortened(user_id))
            raise ControlError("forbidden", "this key is not allowed any more")
        if not self._limits.allows(client.public, now_s):
            self._repeated.warn("rate_limited", client.name, peer=_address(sender), key=client.name)
            raise ControlError(
                "rate_limited", f"the key {client.name} may ask {RATE:g} times a second, and {BURST:g} times in a row"
            )
        return Peer(client.name, "admin" if client.role == "admin" else "read")

    def lets_in(self, name: EndpointName, sender: zmq.Frame) -> bool:
        """Whether what a connected peer sends is to be taken: its key may have been revoked since it connected."""
        if self._key is None or _is_local(sender):
            return True
        client = self._client(sender)
        if client is not None and client.role in ROLES[name]:
            return True
        user_id = _user_id(sender)
        self._repeated.warn("message_refused", user_id, socket=name, peer=_address(sender), key=keys.shortened(user_id))
        return False

    def _client(self, sender: zmq.Frame) -> Allowed | None:
        return self._allowlist.get(_user_id(sender))

    def _answer(self, request: list[bytes]) -> list[bytes]:
        """The answer to a request of ZAP: 200 with the public key as User-Id, or 400."""
        envelope, request_id = request[:2], request[3] if len(request) > 3 else b""
        public = self._asked(request)
        code, text, user_id = (b"400", _REFUSED.encode(), b"") if public is None else (b"200", b"", public.encode())
        return [*envelope, _ZAP_VERSION, request_id, code, text, user_id, b""]

    def _asked(self, request: list[bytes]) -> str | None:
        """The public key that may connect as it asks; None, and told, when there is none."""
        if len(request) != _ZAP_FRAMES or request[2] != _ZAP_VERSION or request[7] != b"CURVE":
            self._repeated.warn("connection_refused", problem="it shows no key")
            return None
        domain, host = (part.decode(errors="replace") for part in request[4:6])
        host, public = _plain(host), _z85(request[8])
        opened = next((opened for opened in self._opened if opened.name == domain), None)
        client = self._allowlist.get(public)
        if opened is not None and client is not None and client.role in ROLES[opened.name]:
            opened.handshakes.let_in(host)
            return public
        if client is None:
            self._repeated.warn("key_refused", f"{host} {domain}", socket=domain, peer=host, key=keys.shortened(public))
        else:
            self._repeated.warn(
                "role_refused", f"{client.name} {domain}", socket=domain, peer=host, key=client.name, role=client.role
            )
        return None

    def _drop(self, lost: Iterable[Allowed]) -> None:
        """End the connections of the sockets that those may have been connected to; the others come back at once.

        ZeroMQ ends all of an endpoint or none. On control they stay: a request that is being answered is not cut off,
        and those that are not allowed any more get none of their requests through.
        """
        roles = {client.role for client in lost}
        for opened in self._opened:
            if opened.name != "control" and opened.bound is not None and roles.intersection(ROLES[opened.name]):
                opened.socket.unbind(opened.bound)
                opened.bound = None

    def _bind_again(self, opened: _Opened) -> None:
        try:
            opened.socket.bind(opened.endpoint)
        except zmq.ZMQError as error:  # its end takes ZeroMQ's thread a moment
            self._repeated.warn("not_open_to_other_hosts", socket=opened.name, problem=error.strerror)
            return
        opened.bound = _bound_to(opened.socket)


def _bound_to(socket: sockets.Socket) -> str:
    bound = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(bound, bytes)
    return bound.rstrip(b"\0").decode()


def _difference(some: Mapping[str, Allowed], others: Mapping[str, Allowed]) -> list[Allowed]:
    return [entry for public, entry in some.items() if others.get(public) != entry]


def _names(clients: Iterable[Allowed]) -> str:
    return ",".join(f"{client.name}:{client.role}" for client in clients)


def _user_id(sender: zmq.Frame) -> str:
    """The public key that ZAP let in; empty where there is none."""
    return _property(sender, "User-Id")


def _address(sender: zmq.Frame) -> str:
    return _plain(_property(sender, "Peer-Address"))


def _is_local(sender: zmq.Frame) -> bool:
    """Whether it came over ipc, where the peer's address is not one of IP."""
    address = _property(sender, "Peer-Address")
    return not _is_ip(address) and (bool(address) or not _user_id(sender))


@lru_cache(maxsize=1024)
def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True


def _property(sender: zmq.Frame, name: str) -> str:
    try:
        return str(sender.get(name))
    except zmq.ZMQError:
        return ""


def _z85(key: bytes) -> str:
    return z85.encode(key).decode() if len(key) == _KEY_BYTES else ""


def _plain(host: str) -> str:
    return host.removeprefix("::ffff:")


def _allow_descriptors() -> None:
    """Raise the limit of open files as far as we may and need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
