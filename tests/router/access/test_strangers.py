"""Who is not let in, and what is told of it."""

from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from tapfan import keys
from tests.process.running import wait_for
from tests.router.access.gates import Clients, Router, client_of, key_of


def test_an_unknown_key_is_told_by_its_beginning_and_where_it_comes_from(router: Router, clients: Clients) -> None:
    stranger = keys.made(Path("stranger"), "stranger", "admin", key_of(router, "router").public)
    client_of(clients, router, "control", stranger)
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
        admin = key_of(router, "admin")
        client.curve_serverkey = router_key.encode()
        client.curve_publickey, client.curve_secretkey = admin.public.encode(), admin.secret.get_secret_value().encode()
    client.connect(router.settings.served("control") or "")
    client.send(b"hello")
    router.wait_warned("handshake_failed")
    # Which end of one that does not encrypt is the first to end it is not certain.
    problems = ["the public keys do not fit"] if router_key else ["it does not encrypt", "before it had said who it is"]
    assert any(problem in router.told("handshake_failed")["problem"] for problem in problems)


def test_what_asks_without_a_key_is_not_let_in(router: Router, clients: Clients) -> None:
    asking = clients.keep(router.context.socket(zmq.DEALER))
    asking.connect("inproc://zeromq.zap.01")
    public = z85.decode(key_of(router, "admin").public.encode())
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
