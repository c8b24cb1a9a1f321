"""The listener alone, at high rates, with all that it sends acknowledged at once."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.measuring import FOR_VOLUME, asked, cpu_s, folder, listener_options, process, replay, send
from bench.sender import mixed, write_pcap
from tests.process.namespace import Namespace
from tests.process.running import Programs, wait_for

_RATE = 1_000_000
_SPOOL_RATE = 500_000
_SECONDS = 5.0
_FRAMES = 8192
_LOOPS = 600  # of the frames: as many seconds at the full rate
_SETTINGS: list[dict[str, object]] = [{}, FOR_VOLUME]

Load = Callable[[], dict[str, float]]


def capture(space: Namespace) -> list[bool]:
    """Capturing and decoding: plain ACKs of IPv4, then also IPv6, with payloads up to full segments."""
    with folder() as path:
        loads: dict[str, Load] = {"IPv4, by our sender": lambda: send(space, _RATE, _SECONDS)}
        if shutil.which("tcpreplay"):
            loads["IPv4, by tcpreplay"] = _replaying(space, Path(path) / "ipv4.pcap", [space.address])
            both = [space.address, space.address6]
            loads["IPv4 and IPv6, by tcpreplay"] = _replaying(space, Path(path) / "both.pcap", both)
        else:
            print("by tcpreplay: skipped, as there is none")
        return [
            met
            for what, load in loads.items()
            for options in _SETTINGS
            for met in _at_full_speed(space, what, load, options)
        ]


def _replaying(space: Namespace, file: Path, addresses: list[str]) -> Load:
    write_pcap(file, mixed(addresses, 9000, _FRAMES), _FRAMES)
    return lambda: replay(space, file, _RATE, _LOOPS)


def _at_full_speed(space: Namespace, what: str, load: Load, options: dict[str, object]) -> list[bool]:
    cpu_us, drops = _listener_alone(space, load, what, options)
    return [asked("us of CPU a packet", cpu_us, 0.15), asked("warnings of kernel drops", drops, 0)]


def spool(space: Namespace) -> list[bool]:
    """The same of IPv4, with everything written to disk before it is sent."""
    cpu_us, drops = _listener_alone(space, lambda: send(space, _SPOOL_RATE, _SECONDS), "IPv4", {"spool": "always"})
    print(f"  {cpu_us:.3f} us of CPU a packet")
    return [asked("warnings of kernel drops", drops, 0)]


def _listener_alone(space: Namespace, load: Load, what: str, options: dict[str, object]) -> tuple[float, int]:
    """Its µs of CPU a packet, and how often it warned of packets that the kernel had dropped."""
    with folder() as path:
        programs = Programs(Path(path), listener=listener_options(space) | options, netns=space.name)
        sink = subprocess.Popen([sys.executable, "-m", "bench.sink", programs.endpoint("records")])
        try:
            programs.start("listener")
            wait_for(lambda: "event=ready" in programs.log("listener"), "the listener is ready")
            listener = process(programs, "listener")
            before_s = cpu_s(listener)
            loaded = load()
            time.sleep(1)
            cpu_us = (cpu_s(listener) - before_s) * 1e6 / loaded["sent"]
            programs.stop("listener")
            drops = programs.log("listener").count("kernel_drops")
        finally:
            programs.close()
            sink.kill()
            sink.wait()
    told = "".join(f", {key} = {value}" for key, value in options.items())
    print(f"listener{told}, {loaded['sent'] / loaded['seconds']:,.0f} packets/s over veth, {what}:")
    return cpu_us, drops
