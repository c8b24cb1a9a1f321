"""Who may connect from other hosts, and as what: ZeroMQ asks for each connection (ZAP, RFC 27), we at each message.

Programs of this host come over ipc, or over plain TCP on loopback, and are not asked. All others come to endpoints that
are encrypted (CURVE). Their User-Id is their public key, which the allowlist knows, or does not know any more.
"""

import resource
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import zmq
from zmq.utils import z85

from router import senders
from router.allowlist import Allowlist
from router.limits import BURST, RATE, Limits
from tapfan import keys, sockets
from tapfan.allowlist import Allowed
from tapfan.control import ControlError
from tapfan.handshakes import Handshakes
from tapfan.logs import Logger, Repeated
from tapfan.reach import EndpointName
from tapfan.settings import Settings

IO_THREADS = 2  # of the context: the second one is for other hosts, whose handshakes hold up nobody here

_OTHERS_THREAD = 0b10
_ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_ZAP_VERSION = b"1.0"
_ZAP_FRAMES = 9  # of a request for CURVE, with what a ROUTER socket puts before it
_KEY_BYTES = 32
_REFUSED = "not a client that may connect here"
_LOOK_PERIOD_S = 0.5
_MOST_A_TURN = 64
_BARRED_S = 60.0
_DESCRIPTORS = 65_536  # a connection takes one, also before it has shown a key

ROLES: Mapping[EndpointName, tuple[keys.ClientRole, ...]] = {
    "records": ("listener",),
    "shares": ("writer",),
    "control": ("admin", "read"),
    "events": ("admin", "read"),
}
# Of requests and subscriptions, which are small, few are kept for a peer that is not read, or does not read.
# A subscription is as long as a topic, and ZeroMQ puts each byte of it into a tree of its own on our thread; what a
# client says to be let in has less than 300 bytes.
_BOUNDS: Mapping[EndpointName, sockets.Bounds] = {
    "records": sockets.Bounds(),
    "shares": sockets.Bounds(frame_bytes=2**20),
    "control": sockets.Bounds(to_send=64, to_take=64, frame_bytes=256 * 1024),
    "events": sockets.Bounds(to_send=1000, to_take=64, frame_bytes=512),
}


@dataclass(frozen=True)
class Peer:
    """Who asks on control: the name of its key, None for a program of this host, and what it may do."""

    name: str | None
    role: Literal["read", "admin"]


LOCAL = Peer(None, "admin")


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
        self._next_look_s = 0.0
        self._barred: dict[tuple[EndpointName, str], float] = {}  # who may not connect, and until when
        self._key = keys.of_router(settings)
        if self._key is None:
            return
        self._allowlist = Allowlist(self._key, log, repeated)
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
        """Answer those that ask to connect, tell of those that could not, and see now and then who is allowed.

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
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_PERIOD_S
            self._look(now_s)

    def peer(self, sender: zmq.Frame, now_s: float) -> Peer:
        """Who sends a request on control. Raises ControlError when it may ask nothing, or nothing so soon."""
        if self._key is None or senders.is_local(sender):
            return LOCAL
        client = self._client(sender)
        if client is None or client.role not in ("admin", "read"):
            user_id = senders.user_id(sender)
            self._repeated.warn("request_refused", user_id, peer=senders.address(sender), key=keys.shortened(user_id))
            raise ControlError("forbidden", "this key is not allowed any more")
        if not self._limits.allows(client.public, now_s):
            self._repeated.warn("rate_limited", client.name, peer=senders.address(sender), key=client.name)
            raise ControlError(
                "rate_limited", f"the key {client.name} may ask {RATE:g} times a second, and {BURST:g} times in a row"
            )
        return Peer(client.name, "admin" if client.role == "admin" else "read")

    def lets_in(self, name: EndpointName, sender: zmq.Frame) -> bool:
        """Whether what a connected peer sends is to be taken: its key may have been revoked since it connected."""
        if self._key is None or senders.is_local(sender):
            return True
        client = self._client(sender)
        if client is not None and client.role in ROLES[name]:
            return True
        user_id = senders.user_id(sender)
        self._repeated.warn(
            "message_refused", user_id, socket=name, peer=senders.address(sender), key=keys.shortened(user_id)
        )
        return False

    def end(self, name: EndpointName, sender: zmq.Frame, problem: str, now_s: float) -> None:
        """End all connections to a socket from other hosts; the key of who gave cause is not let in for a while.

        Nothing is done while they are ended already, nor for a program of this host.
        """
        if self._key is None or senders.is_local(sender):
            return
        for opened in self._opened:
            if opened.name == name and opened.bound is not None:
                user_id = senders.user_id(sender)
                client = self._client(sender)
                shown = client.name if client else keys.shortened(user_id)
                self._repeated.warn(
                    "connections_ended", shown, socket=name, peer=senders.address(sender), key=shown, problem=problem
                )
                self._barred[name, user_id] = now_s + _BARRED_S
                _unbind(opened)

    def _look(self, now_s: float) -> None:
        """Bind what was unbound a while ago, see who is allowed no more, and forget who is not barred any more."""
        for opened in self._opened:
            if opened.bound is None:
                self._bind_again(opened)
        self._drop(self._allowlist.refresh())
        self._barred = {who: until_s for who, until_s in self._barred.items() if until_s > now_s}

    def _client(self, sender: zmq.Frame) -> Allowed | None:
        return self._allowlist.get(senders.user_id(sender))

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
        host, public = senders.plain(host), _z85(request[8])
        opened = next((opened for opened in self._opened if opened.name == domain), None)
        client = self._allowlist.get(public)
        is_barred = opened is not None and (opened.name, public) in self._barred
        if opened is not None and client is not None and client.role in ROLES[opened.name] and not is_barred:
            opened.handshakes.let_in(host)
            return public
        if client is None or is_barred:
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
                _unbind(opened)

    def _bind_again(self, opened: _Opened) -> None:
        try:
            opened.socket.bind(opened.endpoint)
        except zmq.ZMQError as error:  # its end takes ZeroMQ's thread a moment
            self._repeated.warn("not_open_to_other_hosts", socket=opened.name, problem=error.strerror)
            return
        opened.bound = _bound_to(opened.socket)


def _unbind(opened: _Opened) -> None:
    """End the connections of a socket that is bound for other hosts."""
    assert opened.bound is not None
    opened.socket.unbind(opened.bound)
    opened.bound = None


def _bound_to(socket: sockets.Socket) -> str:
    bound = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(bound, bytes)
    return bound.rstrip(b"\0").decode()


def _z85(key: bytes) -> str:
    return z85.encode(key).decode() if len(key) == _KEY_BYTES else ""


def _allow_descriptors() -> None:
    """Raise the limit of open files as far as we may and need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
