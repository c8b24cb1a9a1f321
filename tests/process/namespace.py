"""A network namespace of our own, joined to the host's by a veth pair; needs root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

_MADE = count()


@dataclass(frozen=True)
class Namespace:
    """`name` for `ip netns exec`; `outside`, `inside`: the pair's interfaces; addresses: of the inside one."""

    name: str
    outside: str
    inside: str
    address: str
    address6: str

    def ip(self, command: str) -> None:
        """Run a command of `ip` in it."""
        _run("ip", "-netns", self.name, *command.split())


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace, and remove it afterwards."""
    number = (os.getpid() + 7919 * next(_MADE)) % 60_000
    net = f"10.213.{number % 250}"
    net6 = f"fd00:7a:{number:x}:"
    space = Namespace(f"tapfan{number}", f"tf{number}o", f"tf{number}i", f"{net}.2", f"{net6}:2")
    _run("ip", "netns", "add", space.name)
    try:
        _run("ip", "link", "add", space.outside, "type", "veth", "peer", space.inside, "netns", space.name)
        _run("ip", "address", "add", f"{net}.1/24", "dev", space.outside)
        _run("ip", "address", "add", f"{net6}:1/64", "dev", space.outside, "nodad")
        _run("ip", "link", "set", space.outside, "up")
        for command in (
            f"address add {space.address}/24 dev {space.inside}",
            f"address add {space.address6}/64 dev {space.inside} nodad",
            f"link set {space.inside} up",
            "link set lo up",
        ):
            space.ip(command)
        yield space
    finally:
        subprocess.run(["ip", "link", "del", space.outside], check=False, stderr=subprocess.DEVNULL)
        _run("ip", "netns", "del", space.name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
