"""The allowlist: what is in it, and what changes while a router runs."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import CapturingLogger
from zmq.utils import z85

from router.allowlist import Allowlist
from tapfan import allowlist, keys, sockets
from tapfan.allowlist import Allowed, file_text
from tapfan.control import ControlError
from tapfan.keyring import Keyring
from tapfan.keys import ClientRole
from tapfan.logs import Repeated
from tapfan.reach import EndpointName
from tests.process.running import wait_for
from tests.router.access.gates import Clients, Router, client_of, key_of, send


def test_a_revoked_key_is_refused_at_its_next_request_on_the_same_connection(router: Router, clients: Clients) -> None:
    client = client_of(clients, router, "control", key_of(router, "admin"))
    send(router, client)
    sender, _ = router.received("control")
    assert router.access.peer(sender, 0.0).role == "admin"
    router.ring.revoke("admin")
    router.reread()
    with pytest.raises(ControlError, match="not allowed any more") as caught:
        router.access.peer(sender, 0.0)
    assert caught.value.code == "forbidden"
    assert router.told("allowlist_read") == {"allowed": 3, "new": "", "no_more": "admin:admin"}
    router.ring.allow("admin", "admin", "0" * 40)
    router.reread()
    with pytest.raises(ControlError):
        router.access.peer(sender, 0.0)


@pytest.mark.parametrize(("name", "role"), [("records", "listener"), ("shares", "writer")])
def test_a_revoked_key_loses_its_connection_and_the_others_come_back(
    router: Router, clients: Clients, name: EndpointName, role: ClientRole
) -> None:
    other = router.ring.make("other", role)
    router.reread()
    gone, stays = (client_of(clients, router, name, key) for key in (key_of(router, role), other))
    senders = []
    for client in (gone, stays):
        send(router, client)
        senders.append(router.received(name)[0])
    assert [router.access.lets_in(name, sender) for sender in senders] == [True, True]
    router.ring.revoke(role)
    router.reread()
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


def test_a_damaged_allowlist_changes_nothing_and_none_lets_nobody_in(router: Router, clients: Clients) -> None:
    file = router.ring.folder / "allowed.toml"
    good = file.read_text()
    file.write_text("[")
    router.reread()
    assert "not valid TOML" in router.told("allowlist_not_read")["problem"]
    router.reread()
    assert router.repeated.counts == {"allowlist_not_read": 1}, "once for each change"
    send(router, client_of(clients, router, "control", key_of(router, "admin")))
    sender, _ = router.received("control")
    assert router.access.peer(sender, 0.0).name == "admin"
    file.unlink()
    router.reread()
    with pytest.raises(ControlError):
        router.access.peer(sender, 0.0)
    file.write_text(good)
    file.chmod(0o600)
    router.reread()
    assert router.access.peer(sender, 0.0).name == "admin"


def test_the_allowlist_is_looked_at_twice_a_second_at_most(router: Router) -> None:
    router.reread()
    router.ring.revoke("read")
    for _ in range(20):
        router.turn()
    assert not [call for call in router.log.calls if call.args == ("allowlist_read",)]
    for _ in range(2):
        router.now_s += 0.5
        router.turn()
    assert router.told("allowlist_read")["no_more"] == "read:read"


def _ring_of_admin(folder: Path) -> tuple[Keyring, str]:
    """The keys of a router that lets in one client, and that client's public key."""
    ring = Keyring(folder / "keys/router.key")
    ring.make_router()
    return ring, ring.make("admin", "admin").public


def test_with_an_allowlist_that_was_damaged_before_it_starts_and_lets_nobody_in(tmp_path: Path) -> None:
    ring, public = _ring_of_admin(tmp_path)
    file = ring.folder / "allowed.toml"
    good = file.read_text()
    file.write_text(f"{good}[")
    log: Any = CapturingLogger()
    repeated = Repeated(log)
    known = Allowlist(keys.load(ring.router_file, "router.key", "router"), log, repeated)
    assert known.get(public) is None
    assert [(call.method_name, call.args) for call in log.calls] == [("error", ("allowlist_not_read",))]
    assert repeated.counts == {"allowlist_not_read": 1}
    file.write_text(good)
    assert [known.refresh(), known.refresh()] == [[], []]
    assert known.get(public) is not None


def test_an_allowlist_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    ring, public = _ring_of_admin(tmp_path)
    file = ring.folder / "allowed.toml"
    good = file.read_text()
    log: Any = CapturingLogger()
    known = Allowlist(keys.load(ring.router_file, "router.key", "router"), log, Repeated(log))
    for text in ("", good[:20], good):
        file.write_text(text)
        assert known.refresh() == []
        assert known.get(public) is not None
    assert known.refresh() == []
    assert known.get(public) is not None
    file.write_text("")
    assert known.refresh() == []
    assert [client.name for client in known.refresh()] == ["admin"]


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True), st.sampled_from(keys.CLIENT_ROLES)))
def test_whatever_the_allowlist_says_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, roles: dict[str, ClientRole]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / "allowed.toml"
    some = [Allowed(name, role, z85.encode(os.urandom(32)).decode()) for name, role in roles.items()]
    file.write_text(file_text(some))
    assert list(allowlist.read(file).values()) == some
