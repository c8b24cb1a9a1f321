"""Connections that the router ends, and its port that is open again."""

import contextlib

import zmq

from tests.process.running import wait_for
from tests.router.access.gates import Clients, Router, client_of, key_of, send


def test_all_connections_to_a_socket_can_be_ended_and_all_but_who_gave_cause_come_back(
    router: Router, clients: Clients
) -> None:
    router.ring.make("other", "read")
    router.reread()
    ended, stays = (client_of(clients, router, "events", key_of(router, name), zmq.SUB) for name in ("read", "other"))
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
    control = client_of(clients, router, "control", key_of(router, "read"))
    send(router, control)
    assert router.received("control")[1][1:] == [b"hello"], "it may ask"
    router.now_s += 60
    router.turn()
    again = client_of(clients, router, "events", key_of(router, "read"), zmq.SUB)
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
    again = client_of(clients, router, "events", key_of(router, "admin"), zmq.SUB)
    again.setsockopt(zmq.SUBSCRIBE, b"snapshot")
    wait_for(lambda: router.received("events")[1] == [b"\1snapshot"], "it is known again")


def _heard_from(router: Router, clients: Clients) -> tuple[zmq.Frame, list[bytes]]:
    """What a subscriber said first."""
    subscriber = client_of(clients, router, "events", key_of(router, "read"), zmq.SUB)
    subscriber.setsockopt(zmq.SUBSCRIBE, b"of no topic")
    return router.received("events")


def test_a_long_subscription_is_not_heard_and_ends_its_connection(router: Router, clients: Clients) -> None:
    subscriber = client_of(clients, router, "events", key_of(router, "read"), zmq.SUB)
    subscriber.monitor("inproc://ends", zmq.EVENT_DISCONNECTED)
    ends = clients.keep(subscriber.context.socket(zmq.PAIR))
    ends.connect("inproc://ends")
    subscriber.setsockopt(zmq.SUBSCRIBE, b"x" * 512)

    def is_ended() -> bool:
        router.turn()
        assert not router.sockets["events"].poll(0)
        return bool(ends.poll(0))

    wait_for(is_ended, "the connection ends")
