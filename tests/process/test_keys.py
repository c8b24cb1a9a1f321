"""Other hosts: with the right key they take part, without one they get nowhere, and hold up nobody."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgpack
import psutil
import pytest
import zmq

from tapfan import keys, sockets
from tapfan.control import ControlClient, ControlError, ControlTimeoutError
from tapfan.keys import Key
from tapfan.reach import EndpointName
from tests.process.namespace import Namespace
from tests.process.running import ROOT, wait_for
from tests.process.two_hosts import TwoHosts, two_hosts
from tests.process.users import USER, open_folder, skip_without_root, with_python_in_reach

_HALF_OPEN = 400
_SOON_S = 2.0


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, space: Namespace) -> Iterator[TwoHosts]:
    """Two hosts, everything on them started; each test leaves them as they were."""
    with two_hosts(tmp_path_factory.mktemp("hosts"), space) as made:
        made.start()
        yield made


def _request(command: str = "status") -> bytes:
    packed: bytes = msgpack.packb({"id": "1", "command": command})
    return packed


def test_a_listener_a_writer_and_the_command_on_another_host(hosts: TwoHosts) -> None:
    hosts.send(300)
    hosts.wait_stored()
    assert (len(hosts.here.keys("a")), hosts.server.client.dbsize()) == (180, 420)
    changed = hosts.command("weights", "a=50", "b=50", "--json")
    assert (changed.returncode, json.loads(changed.stdout)["weights"]) == (0, {"a": 50.0, "b": 50.0}), changed.stderr
    assert hosts.here.status()["changed"]["key"] == "laptop"
    hosts.send(50)
    assert hosts.wait_stored()["writers"]["a"]["stored"] == 230
    shown = hosts.command("status")
    assert (shown.returncode, "balanced" in shown.stdout) == (0, True), shown.stderr
    checked = json.loads(hosts.command("check", "--json").stdout)["notes"]
    assert f"control: encrypted, at {hosts.endpoints['control']}" in checked
    _no_secret_is_told(hosts)


def _no_secret_is_told(hosts: TwoHosts) -> None:
    told = "".join(
        file.read_text() for programs in (hosts.here, hosts.there) for file in programs.run_dir.glob("*.log")
    )
    told += json.dumps(hosts.here.status()) + (hosts.here.run_dir / "control.json").read_text()
    listed = hosts.here.command("keys", "--json")
    checked = hosts.here.command("check")
    told += listed.stdout + listed.stderr + checked.stdout + checked.stderr
    assert len(hosts.secrets()) >= 4
    assert not [secret for secret in hosts.secrets() if secret in told]


@contextmanager
def _trying(endpoint: str, key: Key | None, message: bytes) -> Iterator[sockets.Socket]:
    """A peer that does what it can to have a message taken; `key` None: without encryption, whatever we refuse."""
    with zmq.Context() as context:
        peer = context.socket(zmq.DEALER)
        if key is not None:
            peer.curve_serverkey = key.router.encode()
            peer.curve_publickey = key.public.encode()
            peer.curve_secretkey = key.secret.get_secret_value().encode()
        peer.connect(endpoint)
        peer.send_multipart([b"", message])
        try:
            yield peer
        finally:
            context.destroy(linger=0)


def _stranger(hosts: TwoHosts) -> Key:
    """A key that trusts the right router, which does not know it."""
    return keys.made(Path("stranger.key"), "stranger", "admin", keys.read(hosts.here.folder / "keys/router.key").public)


def test_who_has_no_right_to_a_socket_gets_nowhere_and_is_told_with_its_address(hosts: TwoHosts) -> None:
    stranger = _stranger(hosts)
    reader, edge = hosts.key("reader"), hosts.key("edge")
    other_router = replace(hosts.key("laptop"), router=stranger.public)
    tries: list[tuple[EndpointName, Key | None, tuple[str, ...]]] = [
        ("control", stranger, ("event=key_refused", f"peer={hosts.address}", stranger.public[:8])),
        ("shares", reader, ("event=role_refused", "socket=shares", f"peer={hosts.address}", "key=reader", "role=read")),
        ("control", edge, ("event=role_refused", "socket=control", "key=edge", "role=listener")),
        # Whom ZeroMQ refuses by itself, and at once, may be gone before the router has looked who it was, or why.
        ("records", None, ("event=handshake_failed", "socket=records")),
        ("control", other_router, ("event=handshake_failed", "socket=control", "the public keys do not fit")),
    ]
    with ExitStack() as stack:
        peers = [stack.enter_context(_trying(hosts.endpoints[name], key, _request())) for name, key, _ in tries]
        for _, _, texts in tries:
            hosts.wait_logged(*texts)
        hosts.send(50)
        hosts.wait_stored()
        assert not any(peer.poll(0) for peer in peers)
    assert "bad_message" not in hosts.here.status()["warnings"], "nothing of them was looked at"
    with (
        hosts.client(other_router, 1.0) as client,
        pytest.raises(ControlTimeoutError, match=r"is `router` in .*laptop"),
    ):
        client.status()
    with hosts.client(stranger, 1.0) as client, pytest.raises(ControlTimeoutError, match="does not let in the key str"):
        client.status()


def test_a_read_key_reads_and_changes_nothing(hosts: TwoHosts) -> None:
    version = hosts.here.status()["version"]
    with hosts.client(hosts.key("reader")) as client:
        assert client.weights()["version"] == client.status()["version"] == version
        changes: list[Callable[[], object]] = [
            lambda: client.weights({"a": 1}),
            lambda: client.ttl("10m"),
            lambda: client.state({"a": "maint"}),
        ]
        for change in changes:
            with pytest.raises(ControlError) as caught:
                change()
            assert caught.value.code == "forbidden"
    assert hosts.here.status()["version"] == version


def _others_are_served(hosts: TwoHosts, rounds: int = 4) -> None:
    """Programs here and there are answered soon, and records of both flow."""
    with hosts.client(hosts.key("laptop")) as client, hosts.here.control() as local:
        for _ in range(rounds):
            for each in (client, local):
                begun_s = time.monotonic()
                each.status()
                assert time.monotonic() - begun_s < _SOON_S
            hosts.send(20)
            hosts.wait_stored()


def test_connections_that_never_say_who_they_are_end_and_hold_up_nobody(hosts: TwoHosts) -> None:
    firsts = [b"GET / HTTP/1.1\r\n\r\n" + bytes(100), b"\x01\x00\x06\x00hello" * 20, b"\xff" + bytes(8) + b"\x7f"]
    with ExitStack() as stack:
        opened = []
        for name, endpoint in hosts.endpoints.items():
            for number in range(_HALF_OPEN if name == "control" else _HALF_OPEN // 4):
                address = (hosts.address, int(endpoint.rpartition(":")[2]))
                connection = stack.enter_context(socket.create_connection(address, timeout=5))
                with suppress(OSError):
                    connection.sendall(firsts[number] if number < len(firsts) else b"")
                opened.append(connection)
        _others_are_served(hosts)
        wait_for(lambda: all(map(_has_ended, opened)), "the router ends them all")
    hosts.wait_logged("event=handshake_failed", f"peer={hosts.address}:", "before it had said who it is")
    assert hosts.here.status()["warnings"]["handshake_failed"] > _HALF_OPEN
    assert hosts.here.log("router").count("event=handshake_failed") < 10
    assert "bad_message" not in hosts.here.status()["warnings"]


def _has_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_a_client_that_floods_is_slowed_and_one_that_never_reads_is_not_waited_for(hosts: TwoHosts) -> None:
    flooding, deaf = hosts.keyring.make("flooding", "read"), hosts.keyring.make("deaf", "read")
    hosts.wait_logged("event=allowlist_read", "deaf:read")
    stop = threading.Event()

    def flood(key: Key, reads: bool) -> dict[str, int]:
        codes: dict[str, int] = {}
        with _trying(hosts.endpoints["control"], key, _request()) as peer:
            while not stop.is_set():
                with suppress(zmq.Again):
                    peer.send_multipart([b"", _request()], zmq.DONTWAIT)
                while reads and peer.poll(0):
                    reply = msgpack.unpackb(peer.recv_multipart()[-1])
                    code = "ok" if reply["ok"] else reply["error"]["code"]
                    codes[code] = codes.get(code, 0) + 1
        return codes

    with ThreadPoolExecutor(2) as pool:
        flooder, _ = pool.submit(flood, flooding, True), pool.submit(flood, deaf, False)
        try:
            hosts.wait_logged("event=rate_limited", f"peer={hosts.address}")
            _others_are_served(hosts)
        finally:
            stop.set()
        codes = flooder.result(20)
    assert codes.keys() == {"ok", "rate_limited"}
    assert codes["rate_limited"] > codes["ok"] >= 200
    router = psutil.Process(hosts.here.processes["router"].pid)
    assert router.memory_info().rss < 200 * 2**20


def test_a_message_of_megabytes_on_control_ends_the_connection_of_its_sender_alone(hosts: TwoHosts) -> None:
    reader = hosts.key("reader")
    with _trying(hosts.endpoints["control"], reader, bytes(20 * 2**20)):
        _others_are_served(hosts)
    with hosts.client(reader) as client, pytest.raises(ControlError) as caught:
        client.request("status", padding="x" * 100_000)
    assert caught.value.code == "too_large"


def test_a_request_of_many_frames_is_refused_and_only_those_that_ask_there_wait_for_its_end(hosts: TwoHosts) -> None:
    with _trying(hosts.endpoints["control"], hosts.key("reader"), _request()) as peer:
        assert peer.poll(5000)
        assert msgpack.unpackb(peer.recv_multipart()[-1])["ok"]
        peer.send_multipart([b"", *[b"x"] * 50_000])
        assert peer.poll(10_000)
        assert msgpack.unpackb(peer.recv_multipart()[-1])["error"]["code"] == "too_large"
        _others_are_served(hosts, 2)


def test_a_key_that_subscribes_to_ever_more_is_kept_from_the_events_and_others_get_them(hosts: TwoHosts) -> None:
    greedy = hosts.keyring.make("greedy", "read")
    hosts.wait_logged("event=allowlist_read", "greedy:read")
    router = psutil.Process(hosts.here.processes["router"].pid)
    before = router.memory_info().rss
    with _subscribed(hosts, hosts.key("laptop")) as events, _subscribed(hosts, greedy) as subscriber:
        assert events.poll(5000)
        assert subscriber.poll(5000)
        for number in range(20_000):
            subscriber.setsockopt(zmq.SUBSCRIBE, f"{number:400}".encode())
        hosts.wait_logged("event=connections_ended", "socket=events", "key=greedy")
        _others_are_served(hosts)
        hosts.wait_logged("event=key_refused", "socket=events", greedy.public[:8])
        while events.poll(0):
            events.recv_multipart()
        assert events.poll(5000), "the other one is back"
        while subscriber.poll(0):
            subscriber.recv_multipart()
        assert not subscriber.poll(1500)
    assert router.memory_info().rss < before + 100 * 2**20


def test_what_is_revoked_while_it_runs_is_refused_at_once_and_let_in_again(hosts: TwoHosts) -> None:
    laptop, edge, store = hosts.key("laptop"), hosts.key("edge"), hosts.key("store")
    before = hosts.here.status()["ledger"]["captured"]
    with hosts.client(laptop) as client, _subscribed(hosts, laptop) as events:
        assert client.status()["ledger"]["balanced"]
        assert events.poll(5000)
        for name in ("edge", "store"):
            hosts.keyring.revoke(name)
        assert hosts.here.command("keys", "revoke", "laptop").returncode == 0
        wait_for(lambda: _refusal(client) == "forbidden", "a connection that was there before is refused")
        hosts.wait_logged("event=allowlist_read", "edge:listener")
        hosts.wait_logged("event=key_refused", "socket=events", laptop.public[:8])
        while events.poll(0):
            events.recv_multipart()
        assert not events.poll(1500), "nor does it get events any more"
    refused = hosts.command("status")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the router does not let in the key laptop (role admin)" in refused.stderr
    wait_for(lambda: not hosts.is_up("edge") and not hosts.is_up("b"), "the router hears nothing of them any more")
    hosts.send(100)
    wait_for(lambda: "event=router_refuses" in hosts.there.log("listener"), "the listener says so")
    assert "does not let in the key store" in hosts.there.log("writer-b")
    assert hosts.here.status()["ledger"]["captured"] == before
    hosts.keyring.allow("edge", "listener", edge.public)
    hosts.keyring.allow("store", "writer", store.public)
    allowed = hosts.here.command("keys", "allow", "laptop", laptop.public, "--role", "admin")
    assert allowed.returncode == 0, allowed.stderr
    hosts.wait_stored()
    wait_for(lambda: hosts.is_up("b"), "the writer is back")
    with hosts.client(laptop) as client:
        assert client.status()["ledger"]["balanced"]


def _refusal(client: ControlClient) -> str | None:
    try:
        client.status()
    except ControlError as error:
        return error.code
    return None


@contextmanager
def _subscribed(hosts: TwoHosts, key: Key) -> Iterator[sockets.Socket]:
    with zmq.Context() as context:
        subscriber = sockets.connected(context, zmq.SUB, hosts.endpoints["events"], key=key)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            yield subscriber
        finally:
            context.destroy(linger=0)


def test_a_damaged_allowlist_is_told_and_the_one_from_before_holds(hosts: TwoHosts) -> None:
    file = hosts.here.folder / "keys/allowed.toml"
    good = file.read_text()
    file.write_text(good + "[nobody")
    hosts.wait_logged("event=allowlist_not_read", "not valid TOML")
    with hosts.client(hosts.key("laptop")) as client:
        told = client.status()
        assert (told["ledger"]["balanced"], told["warnings"]["allowlist_not_read"]) == (True, 1)
    assert "allowlist_not_read 1" in hosts.here.command("status").stdout
    hosts.here.stop("router")
    hosts.here.start("router")
    hosts.wait_logged("event=allowlist_not_read", "nobody on other hosts is let in")
    status = hosts.here.status()
    assert (status["ledger"]["balanced"], status["warnings"]["allowlist_not_read"]) == (True, 1), "of this host"
    file.write_text(good)
    hosts.here.stop("router")
    (hosts.here.folder / "keys/router.key").chmod(0o640)
    code, log = hosts.here.failed_start("router")
    assert (code, f"chmod 600 {hosts.here.folder}/keys/router.key" in log) == (1, True)
    (hosts.here.folder / "keys/router.key").chmod(0o600)
    hosts.here.start("router")
    hosts.send(50)
    wait_for(lambda: hosts.is_up("edge"), "the listener of the other host is back")
    hosts.here.wait_settled(hosts.sent)


def test_what_root_makes_the_user_that_the_router_becomes_can_read() -> None:
    skip_without_root()
    with open_folder() as folder:
        file = folder / "tapfan.toml"
        file.write_text(
            'user = "nobody"\n[[writers]]\nname = "a"\nredis = "redis://127.0.0.1/0"\nweight = 1\n', encoding="utf-8"
        )
        command = [*with_python_in_reach(), sys.executable, "-m", "tapfan.cli", "keys", "make", "edge"]
        subprocess.run([*command, "--role", "listener", "--config", str(file)], cwd=ROOT, check=True, timeout=60)
        made = [folder / "keys", *(folder / "keys").iterdir()]
        assert len(made) == 4
        assert {path.stat().st_uid for path in made} == {USER.pw_uid}
        assert {path.stat().st_mode & 0o077 for path in made} == {0}
        with file.open("a", encoding="utf-8") as opened:
            opened.write("wieght = 2\n")
        command[-2:] = ["revoke", "edge"]
        subprocess.run([*command, "--config", str(file)], cwd=ROOT, check=True, timeout=60)
        allowed = folder / "keys/allowed.toml"
        assert ("edge" in allowed.read_text(encoding="utf-8"), allowed.stat().st_uid) == (False, USER.pw_uid)
