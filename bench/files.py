"""Capture files: read by the listener, with all that it sends acknowledged at once, and by tcpdump."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from bench.measuring import asked_least, folder
from bench.sender import mixed, write_pcap
from tests.process.namespace import Namespace
from tests.process.running import Programs

_PACKETS = 2_000_000
_ADDRESS, _ADDRESS6, _PORT = "10.0.0.2", "2001:db8::2", 9000
# Few sources: tcpdump remembers each address's text in a table that gets slow with many.
_FRAMES = 4096


def files(_: Namespace) -> list[bool]:
    """Packets/s beside tcpdump's; a factor of 3 is asked for where all packets are Ethernet and IPv4."""
    if shutil.which("tcpdump") is None:
        print("files: skipped, as there is no tcpdump")
        return []
    with folder() as path:
        ipv4 = _compare(Path(path), "Ethernet and IPv4", [_ADDRESS])
        both = _compare(Path(path), "Ethernet, IPv4 and IPv6", [_ADDRESS, _ADDRESS6])
    return [
        asked_least("times as fast as tcpdump, IPv4", ipv4, 3),
        asked_least("times as fast as tcpdump, IPv4 and IPv6", both, 1),
    ]


def _compare(path: Path, what: str, addresses: list[str]) -> float:
    """How many times as fast as tcpdump the listener is."""
    file = path / "capture.pcap"
    write_pcap(file, mixed(addresses, _PORT, _FRAMES), _PACKETS)
    listen = [f"{_ADDRESS}:{_PORT}", f"[{_ADDRESS6}]:{_PORT}"]
    programs = Programs(path, listener={"listen": listen, "serve": "none", "source": "capture"})
    sink = subprocess.Popen([sys.executable, "-m", "bench.sink", programs.endpoint("records")])
    try:
        ours_s = _seconds([sys.executable, "-m", "listener", "--config", str(programs.config), "--read", str(file)])
    finally:
        sink.kill()
        sink.wait()
    tcpdump_s = _seconds(["tcpdump", "-nn", "-q", "-r", str(file)])
    print(f"files, {what}: {_PACKETS / ours_s:,.0f} packets/s, tcpdump {_PACKETS / tcpdump_s:,.0f}")
    return tcpdump_s / ours_s


def _seconds(command: list[str]) -> float:
    """How long a command takes, from its start to its end."""
    begun = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - begun
