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

    def join(self) -> None:
        """Make the veth pair, with its addresses, and set it up."""
        _run("ip", "link", "add", self.outside, "type", "veth", "peer", self.inside, "netns", self.name)
        _run("ip", "address", "add", f"{self.address.removesuffix('2')}1/24", "dev", self.outside)
        _run("ip", "address", "add", f"{self.address6.removesuffix('2')}1/64", "dev", self.outside, "nodad")
        _run("ip", "link", "set", self.outside, "up")
        self.ip(f"address add {self.address}/24 dev {self.inside}")
        self.ip(f"address add {self.address6}/64 dev {self.inside} nodad")
        self.ip(f"link set {self.inside} up")


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace, and remove it afterwards."""
    number = (os.getpid() + 7919 * next(_MADE)) % 60_000
    space = Namespace(
        f"tapfan{number}", f"tf{number}o", f"tf{number}i", f"10.213.{number % 250}.2", f"fd00:7a:{number:x}::2"
    )
    _run("ip", "netns", "add", space.name)
    try:
        space.ip("link set lo up")
        space.join()
        yield space
    finally:
        subprocess.run(["ip", "link", "del", space.outside], check=False, stderr=subprocess.DEVNULL)
        _run("ip", "netns", "del", space.name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
