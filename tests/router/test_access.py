"""Who is let in: real sockets and handshakes on loopback, with the router's end as the router uses it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import CapturingLogger
from zmq.utils import z85

from router.access import IO_THREADS, LOCAL, Access, Peer
from router.allowlist import Allowlist
from tapfan import allowlist, keys, sockets
from tapfan.allowlist import Allowed, file_text
from tapfan.control import ControlError
from tapfan.keyring import Keyring
from tapfan.keys import ClientRole, Key
from tapfan.logs import Repeated
from tapfan.program import CannotRunError
from tapfan.settings import ENDPOINTS, EndpointName, Settings, load
from tests.process.running import free_port, wait_for

Context = zmq.Context[sockets.Socket]
_WRITERS = '[[writers]]\nname = "a"\nredis = "redis://127.0.0.1/0"\nweight = 1\n'


@dataclass
class Router:
    """The router's sockets, and what keeps strangers out of them."""

    settings: Settings
    ring: Keyring
    context: Context
    log: Any

    def __post_init__(self) -> None:
        self.repeated = Repeated(self.log)
        kinds = dict.fromkeys(ENDPOINTS, zmq.ROUTER) | {"events": zmq.XPUB}
        self.sockets: dict[EndpointName, sockets.Socket] = {
            name: sockets.bound(self.context, kinds[name], self.settings.bound(name)) for name in ENDPOINTS
        }
        self.access = Access(self.settings, self.context, self.log, self.repeated)
        for name, socket in self.sockets.items():
            self.access.open(name, socket)
        self.poller = zmq.Poller()
        for socket in self.access.sockets:
            self.poller.register(socket, zmq.POLLIN)
        self.now_s = 0.0

    def turn(self) -> None:
        """What the router does in each of its turns."""
        self.now_s += 0.01
        self.access.turn(dict(self.poller.poll(10)), self.now_s)

    def received(self, name: EndpointName) -> tuple[zmq.Frame, list[bytes]]:
        """The next message at a socket."""

        def message() -> tuple[zmq.Frame, list[bytes]] | None:
            self.turn()
            return sockets.received_from(self.sockets[name])

        return wait_for(message, f"a message at {name}; {self.log.calls}")

    def wait_warned(self, event: str, count: int = 1) -> None:
        """Wait until the event was counted so often, and nothing came in meanwhile."""

        def warned() -> bool:
            self.turn()
            assert not any(socket.poll(0) for socket in self.sockets.values())
            return self.repeated.counts.get(event, 0) >= count

        wait_for(warned, f"{event} is counted; {self.log.calls}")

    def told(self, event: str) -> dict[str, Any]:
        """What was logged with that event, the last time."""
        calls = [call for call in self.log.calls if call.args == (event,)]
        return dict(calls[-1].kwargs)


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    """A router with a key and every role's client, `admin`, `read`, `listener`, `writer`; on loopback."""
    ring = Keyring(tmp_path / "keys/router.key")
    ring.make_router()
    roles: tuple[ClientRole, ...] = keys.CLIENT_ROLES
    for role in roles:
        ring.make(role, role)
    places = {name: f"tcp://127.0.0.1:{free_port()}" for name in ENDPOINTS}
    file = tmp_path / "tapfan.toml"
    file.write_text(
        f'router.key = "keys/router.key"\nrouter.records = "{places["records"]}"\n'
        f'router.shares = "{places["shares"]}"\n'
        f'control.endpoint = "{places["control"]}"\ncontrol.events = "{places["events"]}"\n' + _WRITERS
    )
    (tmp_path / "run").mkdir()
    context: Context = zmq.Context(IO_THREADS)
    try:
        yield Router(load(file), ring, context, CapturingLogger())
    finally:
        context.destroy(linger=0)


class Clients:
    """Makes sockets of clients, and keeps them."""

    def __init__(self) -> None:
        self._context: Context = zmq.Context()
        self._kept: list[sockets.Socket] = []

    def keep(self, socket: sockets.Socket) -> sockets.Socket:
        """Keep one from being closed before the end."""
        self._kept.append(socket)
        return socket

    def connected(self, endpoint: str, key: Key | None, kind: int = zmq.DEALER) -> sockets.Socket:
        """One of the kind that our programs have."""
        return self.keep(sockets.connected(self._context, kind, endpoint, key=key))

    def raw(self) -> sockets.Socket:
        """One that is not connected."""
        return self.keep(self._context.socket(zmq.DEALER))

    def close(self) -> None:
        """Close all."""
        self._context.destroy(linger=0)


@pytest.fixture
def clients() -> Iterator[Clients]:
    """What clients have."""
    with contextlib.closing(Clients()) as made:
        yield made


def _client(clients: Clients, router: Router, name: EndpointName, key: Key, kind: int = zmq.DEALER) -> sockets.Socket:
    """A client of an encrypted endpoint."""
    endpoint = router.settings.served(name)
    assert endpoint
    return clients.connected(endpoint, key, kind)


def _sent(router: Router, client: sockets.Socket, message: bytes = b"hello") -> None:
    """Send a message once the client is let in."""

    def sent() -> bool:
        router.turn()
        return sockets.sent(client, message)

    wait_for(sent, f"the client is let in; {router.log.calls}")


def _key(router: Router, name: str) -> Key:
    return keys.read(router.ring.file(name))


@pytest.mark.parametrize("role", keys.CLIENT_ROLES)
@pytest.mark.parametrize(
    ("name", "roles"), [("records", ["listener"]), ("shares", ["writer"]), ("control", ["admin", "read"])]
)
def test_each_role_gets_to_what_it_is_for_and_no_further(
    router: Router, clients: Clients, name: EndpointName, roles: list[str], role: str
) -> None:
    client = _client(clients, router, name, _key(router, role))
    if role not in roles:
        router.wait_warned("role_refused")
        assert router.told("role_refused") | {"count": 1} == {
            "count": 1,
            "socket": name,
            "peer": "127.0.0.1",
            "key": role,
            "role": role,
        }
        return
    _sent(router, client)
    sender, frames = router.received(name)
    assert frames[1:] == [b"hello"]
    assert router.access.lets_in(name, sender)
    if name == "control":
        assert router.access.peer(sender, 0.0) == Peer(role, "admin" if role == "admin" else "read")


@pytest.mark.parametrize("role", keys.CLIENT_ROLES)
def test_events_are_for_who_may_ask(router: Router, clients: Clients, role: str) -> None:
    subscriber = _client(clients, router, "events", _key(router, role), zmq.SUB)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"")
    if role in ("listener", "writer"):
        router.wait_warned("role_refused")
        return
    assert router.received("events")[1] == [b"\x01"]
    sockets.sent(router.sockets["events"], b"change", b"content")
    assert subscriber.poll(5000)
    assert sockets.received(subscriber) == [b"change", b"content"]


def test_a_program_of_this_host_needs_no_key_though_others_do(router: Router, clients: Clients) -> None:
    client = clients.connected(router.settings.bound("control"), None)
    _sent(router, client)
    sender, _ = router.received("control")
    assert [router.access.peer(sender, 0.0) for _ in range(1000)] == [LOCAL] * 1000, "nor is it slowed"
    assert router.access.lets_in("records", sender)


def test_an_unknown_key_is_told_by_its_beginning_and_where_it_comes_from(router: Router, clients: Clients) -> None:
    stranger = keys.made(Path("stranger"), "stranger", "admin", _key(router, "router").public)
    _client(clients, router, "control", stranger)
    router.wait_warned("key_refused")
    told = router.told("key_refused")
    assert told == {"count": 1, "socket": "control", "peer": "127.0.0.1", "key": stranger.public[:8]}
    told_all = f"{router.log.calls}"
    for file in router.ring.folder.glob("*.key"):
        assert keys.read(file).secret.get_secret_value() not in told_all


@pytest.mark.parametrize("router_key", [keys.made(Path("x"), "x", "router").public, None], ids=["another", "none"])
def test_who_takes_it_for_another_router_or_does_not_encrypt_gets_nowhere(
    router: Router, clients: Clients, router_key: str | None
) -> None:
    client = clients.raw()
    if router_key is not None:
        admin = _key(router, "admin")
        client.curve_serverkey = router_key.encode()
        client.curve_publickey, client.curve_secretkey = admin.public.encode(), admin.secret.get_secret_value().encode()
    client.connect(router.settings.served("control") or "")
    client.send(b"hello")
    router.wait_warned("handshake_failed")
    # Which end of one that does not encrypt is the first to end it is not certain.
    problems = ["the public keys do not fit"] if router_key else ["it does not encrypt", "before it had said who it is"]
    assert any(problem in router.told("handshake_failed")["problem"] for problem in problems)


def test_a_revoked_key_is_refused_at_its_next_request_on_the_same_connection(router: Router, clients: Clients) -> None:
    client = _client(clients, router, "control", _key(router, "admin"))
    _sent(router, client)
    sender, _ = router.received("control")
    assert router.access.peer(sender, 0.0).role == "admin"
    router.ring.revoke("admin")
    router.now_s += 1
    router.turn()
    with pytest.raises(ControlError, match="not allowed any more") as caught:
        router.access.peer(sender, 0.0)
    assert caught.value.code == "forbidden"
    assert router.told("allowlist_read") == {"allowed": 3, "new": "", "no_more": "admin:admin"}
    router.ring.allow("admin", "admin", "0" * 40)
    router.now_s += 1
    router.turn()
    with pytest.raises(ControlError):
        router.access.peer(sender, 0.0)


def test_a_key_whose_role_is_another_now_may_do_what_that_may(router: Router, clients: Clients) -> None:
    admin = _key(router, "admin")
    client = _client(clients, router, "control", admin)
    _sent(router, client)
    sender, _ = router.received("control")
    for role, told in (("read", "read"), ("listener", None)):
        router.ring.revoke("admin")
        router.ring.allow("admin", role, admin.public)  # type: ignore[arg-type]
        router.now_s += 1
        router.turn()
        if told:
            assert router.access.peer(sender, 0.0) == Peer("admin", "read")
            continue
        with pytest.raises(ControlError):
            router.access.peer(sender, 0.0)


@pytest.mark.parametrize(("name", "role"), [("records", "listener"), ("shares", "writer")])
def test_a_revoked_key_loses_its_connection_and_the_others_come_back(
    router: Router, clients: Clients, name: EndpointName, role: ClientRole
) -> None:
    other = router.ring.make("other", role)
    gone, stays = (_client(clients, router, name, key) for key in (_key(router, role), other))
    senders = []
    for client in (gone, stays):
        _sent(router, client)
        senders.append(router.received(name)[0])
    assert [router.access.lets_in(name, sender) for sender in senders] == [True, True]
    router.ring.revoke(role)
    router.now_s += 1
    router.wait_warned("key_refused")
    assert [router.access.lets_in(name, sender) for sender in senders] == [False, True], "what had come in before"
    assert router.told("message_refused")["peer"] == "127.0.0.1"

    def is_back() -> bool:
        router.turn()
        return sockets.sent(stays, b"again") and not sockets.sent(gone, b"in vain")

    wait_for(is_back, "the other one is back")
    sender, frames = router.received(name)
    assert frames[1] == b"again"
    assert router.access.lets_in(name, sender)


def test_all_connections_to_a_socket_can_be_ended_and_all_but_who_gave_cause_come_back(
    router: Router, clients: Clients
) -> None:
    router.ring.make("other", "read")
    router.now_s += 1
    router.turn()
    ended, stays = (_client(clients, router, "events", _key(router, name), zmq.SUB) for name in ("read", "other"))
    ended.setsockopt(zmq.SUBSCRIBE, b"of no topic")
    sender, _ = router.received("events")
    stays.setsockopt(zmq.SUBSCRIBE, b"change")
    assert router.received("events")[1] == [b"\1change"]
    begun_s = router.now_s
    for _ in range(2):
        router.access.end("events", sender, "why", router.now_s)
    told = {"count": 1, "socket": "events", "peer": "127.0.0.1", "key": "read", "problem": "why"}
    assert (router.told("connections_ended"), router.repeated.counts) == (told, {"connections_ended": 1})
    assert [router.received("events")[1][0][:1] for _ in range(2)] == [b"\0", b"\0"]

    def is_back() -> bool:
        router.turn()
        stays.poll(0)  # which is when it subscribes again
        return bool(router.sockets["events"].poll(0))

    wait_for(is_back, "the other one is back")
    assert router.received("events")[1] == [b"\1change"]
    assert router.now_s >= begun_s + 0.3, "it is bound again at the next look at the allowlist"
    router.wait_warned("key_refused")
    control = _client(clients, router, "control", _key(router, "read"))
    _sent(router, control)
    assert router.received("control")[1][1:] == [b"hello"], "it may ask"
    router.now_s += 60
    router.turn()
    again = _client(clients, router, "events", _key(router, "read"), zmq.SUB)
    again.setsockopt(zmq.SUBSCRIBE, b"snapshot")
    wait_for(lambda: router.received("events")[1] == [b"\1snapshot"], "it is known again")


def test_what_a_program_of_this_host_says_ends_nothing(router: Router, clients: Clients) -> None:
    near = clients.connected(router.settings.bound("events"), None, zmq.SUB)
    near.setsockopt(zmq.SUBSCRIBE, b"of no topic")
    router.access.end("events", router.received("events")[0], "why", router.now_s)
    assert router.repeated.counts == {}


def test_while_the_port_is_taken_it_is_tried_twice_a_second(router: Router, clients: Clients) -> None:
    sender, _ = _heard_from(router, clients)
    router.access.end("events", sender, "why", router.now_s)
    endpoint = router.settings.served("events") or ""
    taken = clients.keep(router.context.socket(zmq.ROUTER))

    def is_taken() -> bool:
        with contextlib.suppress(zmq.ZMQError):
            taken.bind(endpoint)
            return True
        return False

    wait_for(is_taken, "the port is another one's")
    begun_s = router.now_s
    while router.now_s < begun_s + 2:
        router.turn()
    assert 3 <= router.repeated.counts["not_open_to_other_hosts"] <= 5
    taken.unbind(endpoint)

    def is_open() -> bool:
        router.turn()
        return all(opened.bound for opened in router.access._opened)

    # A client that came to the other one, which does not encrypt, would not come again.
    wait_for(is_open, "it is open again")
    again = _client(clients, router, "events", _key(router, "admin"), zmq.SUB)
    again.setsockopt(zmq.SUBSCRIBE, b"snapshot")
    wait_for(lambda: router.received("events")[1] == [b"\1snapshot"], "it is known again")


def _heard_from(router: Router, clients: Clients) -> tuple[zmq.Frame, list[bytes]]:
    """What a subscriber said first."""
    subscriber = _client(clients, router, "events", _key(router, "read"), zmq.SUB)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"of no topic")
    return router.received("events")


def test_a_long_subscription_is_not_heard_and_ends_its_connection(router: Router, clients: Clients) -> None:
    subscriber = _client(clients, router, "events", _key(router, "read"), zmq.SUB)
    subscriber.monitor("inproc://ends", zmq.EVENT_DISCONNECTED)
    ends = clients.keep(subscriber.context.socket(zmq.PAIR))
    ends.connect("inproc://ends")
    subscriber.setsockopt(zmq.SUBSCRIBE, b"x" * 512)

    def is_ended() -> bool:
        router.turn()
        assert not router.sockets["events"].poll(0)
        return bool(ends.poll(0))

    wait_for(is_ended, "the connection ends")


def test_a_peer_that_asks_too_often_is_refused_and_no_other(router: Router, clients: Clients) -> None:
    senders = []
    for name in ("admin", "read"):
        _sent(router, _client(clients, router, "control", _key(router, name)))
        senders.append(router.received("control")[0])
    for _ in range(200):
        router.access.peer(senders[0], 5.0)
    with pytest.raises(ControlError, match="the key admin may ask 100 times a second") as caught:
        router.access.peer(senders[0], 5.0)
    assert caught.value.code == "rate_limited"
    assert router.access.peer(senders[1], 5.0).name == "read"
    assert router.access.peer(senders[0], 6.0).name == "admin"
    assert router.told("rate_limited") == {"count": 1, "peer": "127.0.0.1", "key": "admin"}


def test_a_damaged_allowlist_changes_nothing_and_none_lets_nobody_in(router: Router, clients: Clients) -> None:
    file = router.ring.folder / "allowed.toml"
    good = file.read_text()
    file.write_text("[")
    router.now_s += 1
    router.turn()
    assert "not valid TOML" in router.told("allowlist_not_read")["problem"]
    _sent(router, _client(clients, router, "control", _key(router, "admin")))
    sender, _ = router.received("control")
    assert router.access.peer(sender, 0.0).name == "admin"
    file.unlink()
    router.now_s += 1
    router.turn()
    with pytest.raises(ControlError):
        router.access.peer(sender, 0.0)
    file.write_text(good)
    file.chmod(0o600)
    router.now_s += 1
    router.turn()
    assert router.access.peer(sender, 0.0).name == "admin"


def test_the_allowlist_is_looked_at_twice_a_second_at_most(router: Router) -> None:
    router.now_s += 1
    router.turn()
    router.ring.revoke("read")
    for _ in range(20):
        router.turn()
    assert not [call for call in router.log.calls if call.args == ("allowlist_read",)]
    router.now_s += 0.5
    router.turn()
    assert router.told("allowlist_read")["no_more"] == "read:read"


def test_what_asks_without_a_key_is_not_let_in(router: Router, clients: Clients) -> None:
    asking = clients.keep(router.context.socket(zmq.DEALER))
    asking.connect("inproc://zeromq.zap.01")
    public = z85.decode(_key(router, "admin").public.encode())
    good = [b"", b"1.0", b"7", b"control", b"127.0.0.1", b"", b"CURVE", public]
    bad = [
        [],
        [b""],
        [b"", b"1.0"],
        [b"", b"1.0", b"7", b"control", b"127.0.0.1", b"", b"NULL"],
        [b"", b"1.0", b"7", b"control", b"127.0.0.1", b"", b"PLAIN", b"admin", b"admin"],
        good[:-1],
        [*good[:-1], public[:-1]],
        [*good[:3], b"\xff", *good[4:]],
        [*good[:3], b"", *good[4:]],
        [*good, b"more"],
    ]
    for frames in bad:
        asking.send_multipart([*frames] or [b""])

    def answers(code: bytes) -> bool:
        router.turn()
        return bool(asking.poll(0)) and asking.recv_multipart()[3:4] == [code]

    for frames in bad:
        wait_for(lambda: answers(b"400"), f"{frames} is refused")
    asking.send_multipart(good)
    wait_for(lambda: answers(b"200"), "and goes on")


def _settings(tmp_path: Path, more: str = "") -> Settings:
    file = tmp_path / "tapfan.toml"
    file.write_text(f'router.key = "keys/router.key"\n{more}\n{_WRITERS}')
    return load(file)


def test_without_a_key_everybody_who_gets_here_is_of_this_host(tmp_path: Path) -> None:
    (tmp_path / "tapfan.toml").write_text(_WRITERS)
    log: Any = CapturingLogger()
    with zmq.Context() as context:
        access = Access(load(tmp_path / "tapfan.toml"), context, log, Repeated(log))
        assert access.sockets == []
        access.turn({}, 0.0)
        assert access.peer(zmq.Frame(b""), 0.0) == LOCAL
        assert access.lets_in("records", zmq.Frame(b""))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda _ring: None, "cannot read the key file .*No such file"),
        (lambda ring: ring.make_router().file.chmod(0o644), "others may read or write"),
        (
            lambda ring: (ring.make_router(), ring.make("x", "read").file.replace(ring.router_file)),
            "the key x has the role read; needed is router",
        ),
    ],
)
def test_it_does_not_start_without_good_keys(tmp_path: Path, change: Callable[[Keyring], object], problem: str) -> None:
    change(Keyring(tmp_path / "keys/router.key"))
    log: Any = CapturingLogger()
    with zmq.Context() as context, pytest.raises(CannotRunError, match=problem):
        Access(_settings(tmp_path), context, log, Repeated(log))


def test_with_an_allowlist_that_was_damaged_before_it_starts_and_lets_nobody_in(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "keys/router.key")
    ring.make_router()
    public = ring.make("admin", "admin").public
    file = ring.folder / "allowed.toml"
    good = file.read_text()
    file.write_text(f"{good}[")
    log: Any = CapturingLogger()
    known = Allowlist(keys.load(ring.router_file, "router.key", "router"), log)
    assert known.get(public) is None
    assert [(call.method_name, call.args) for call in log.calls] == [("error", ("allowlist_not_read",))]
    file.write_text(good)
    assert known.refresh() == []
    assert known.get(public) is not None


def test_an_endpoint_in_use_is_told(router: Router, clients: Clients) -> None:
    endpoint = router.settings.served("control")
    assert endpoint
    socket = clients.keep(router.context.socket(zmq.ROUTER))
    with pytest.raises(CannotRunError, match=f"cannot bind {endpoint}: Address already in use"):
        sockets.open_to_others(socket, endpoint, _key(router, "router"), "control", sockets.Bounds())


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True), st.sampled_from(keys.CLIENT_ROLES)))
def test_whatever_the_allowlist_says_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, roles: dict[str, ClientRole]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / "allowed.toml"
    some = [Allowed(name, role, z85.encode(os.urandom(32)).decode()) for name, role in roles.items()]
    file.write_text(file_text(some))
    assert list(allowlist.read(file).values()) == some
