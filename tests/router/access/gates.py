"""The router's sockets as the router uses them, and its clients': real handshakes, on loopback."""

from dataclasses import dataclass
from typing import Any

import zmq

from router.access import Access
from tapfan import keys, sockets
from tapfan.keyring import Keyring
from tapfan.keys import Key
from tapfan.logs import Repeated
from tapfan.reach import ENDPOINTS, EndpointName
from tapfan.settings import Settings
from tests.process.running import wait_for

Context = zmq.Context[sockets.Socket]
WRITERS = '[[writers]]\nname = "a"\nredis = "redis://127.0.0.1/0"\nweight = 1\n'


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

    def reread(self) -> None:
        """Let it look at its allowlist twice, so that it reads it when it is another one."""
        for _ in range(2):
            self.now_s += 1
            self.turn()

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


def client_of(clients: Clients, router: Router, name: EndpointName, key: Key, kind: int = zmq.DEALER) -> sockets.Socket:
    """A client of an encrypted endpoint."""
    endpoint = router.settings.served(name)
    assert endpoint
    return clients.connected(endpoint, key, kind)


def send(router: Router, client: sockets.Socket, message: bytes = b"hello") -> None:
    """Send a message once the client is let in."""

    def sent() -> bool:
        router.turn()
        return sockets.sent(client, message)

    wait_for(sent, f"the client is let in; {router.log.calls}")


def key_of(router: Router, name: str) -> Key:
    return keys.read(router.ring.file(name))
