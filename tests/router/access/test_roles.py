"""What each key's role may do, and what needs no key."""

from pathlib import Path
from typing import Any

import pytest
import zmq
from structlog.testing import CapturingLogger

from router.access import LOCAL, Access, Peer
from tapfan import keys, sockets
from tapfan.control import ControlError
from tapfan.logs import Repeated
from tapfan.reach import EndpointName
from tapfan.settings import load
from tests.router.access.gates import WRITERS, Clients, Router, client_of, key_of, send


@pytest.mark.parametrize("role", keys.CLIENT_ROLES)
@pytest.mark.parametrize(
    ("name", "roles"), [("records", ["listener"]), ("shares", ["writer"]), ("control", ["admin", "read"])]
)
def test_each_role_gets_to_what_it_is_for_and_no_further(
    router: Router, clients: Clients, name: EndpointName, roles: list[str], role: str
) -> None:
    client = client_of(clients, router, name, key_of(router, role))
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
    send(router, client)
    sender, frames = router.received(name)
    assert frames[1:] == [b"hello"]
    assert router.access.lets_in(name, sender)
    if name == "control":
        assert router.access.peer(sender, 0.0) == Peer(role, "admin" if role == "admin" else "read")


@pytest.mark.parametrize("role", keys.CLIENT_ROLES)
def test_events_are_for_who_may_ask(router: Router, clients: Clients, role: str) -> None:
    subscriber = client_of(clients, router, "events", key_of(router, role), zmq.SUB)
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
    send(router, client)
    sender, _ = router.received("control")
    assert [router.access.peer(sender, 0.0) for _ in range(1000)] == [LOCAL] * 1000, "nor is it slowed"
    assert router.access.lets_in("records", sender)


def test_a_key_whose_role_is_another_now_may_do_what_that_may(router: Router, clients: Clients) -> None:
    admin = key_of(router, "admin")
    client = client_of(clients, router, "control", admin)
    send(router, client)
    sender, _ = router.received("control")
    for role, told in (("read", "read"), ("listener", None)):
        router.ring.revoke("admin")
        router.ring.allow("admin", role, admin.public)  # type: ignore[arg-type]
        router.reread()
        if told:
            assert router.access.peer(sender, 0.0) == Peer("admin", "read")
            continue
        with pytest.raises(ControlError):
            router.access.peer(sender, 0.0)


def test_a_peer_that_asks_too_often_is_refused_and_no_other(router: Router, clients: Clients) -> None:
    senders = []
    for name in ("admin", "read"):
        send(router, client_of(clients, router, "control", key_of(router, name)))
        senders.append(router.received("control")[0])
    for _ in range(200):
        router.access.peer(senders[0], 5.0)
    with pytest.raises(ControlError, match="the key admin may ask 100 times a second") as caught:
        router.access.peer(senders[0], 5.0)
    assert caught.value.code == "rate_limited"
    assert router.access.peer(senders[1], 5.0).name == "read"
    assert router.access.peer(senders[0], 6.0).name == "admin"
    assert router.told("rate_limited") == {"count": 1, "peer": "127.0.0.1", "key": "admin"}


def test_without_a_key_everybody_who_gets_here_is_of_this_host(tmp_path: Path) -> None:
    (tmp_path / "tapfan.toml").write_text(WRITERS)
    log: Any = CapturingLogger()
    with zmq.Context() as context:
        access = Access(load(tmp_path / "tapfan.toml"), context, log, Repeated(log))
        assert access.sockets == []
        access.turn({}, 0.0)
        assert access.peer(zmq.Frame(b""), 0.0) == LOCAL
        assert access.lets_in("records", zmq.Frame(b""))
