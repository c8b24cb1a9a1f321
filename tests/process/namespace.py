"""A network namespace of our own, joined to the host's by a veth pair; needs root.

`python -m tests.process.namespace INTERFACE COMMAND VALUE` is how `Namespace.offload` sets what ethtool sets.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import psutil

_MADE = count()
_SIOCETHTOOL = 0x8946
SET_TSO, SET_GRO = 0x1F, 0x2C  # of linux/ethtool.h


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

    def offload(self, interface: str, command: int, on: bool) -> None:
        """Set one of an interface's offloads; of those in the namespace, or of the outside one."""
        script = [sys.executable, "-m", "tests.process.namespace", interface, str(command), str(int(on))]
        _run(*([] if interface == self.outside else ["ip", "netns", "exec", self.name]), *script)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace, and remove it afterwards."""
    number = _free_number()
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


def _free_number() -> int:
    """One whose network nobody has now: tests may run several times at once."""
    while True:
        number = (os.getpid() + 7919 * next(_MADE)) % 60_000
        taken = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
        if f"10.213.{number % 250}.1" not in taken:
            return number


def _set(interface: str, command: int, value: int) -> None:
    data = array("I", [command, value])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), data.buffer_info()[0]))


if __name__ == "__main__":
    _set(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
