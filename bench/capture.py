"""The listener alone, at high rates, with all that it sends acknowledged at once."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.measuring import asked, cpu_s, folder, listener_options, process, replay, send
from bench.sender import mixed, write_pcap
from tests.process.namespace import Namespace
from tests.process.running import Programs, wait_for

_RATE = 1_000_000
_SPOOL_RATE = 500_000
_SECONDS = 5.0
_FRAMES = 8192
_LOOPS = 600  # of the frames: as many seconds at the full rate
_LINGERS = ("20ms", "40ms")  # the default, and twice as many packets a look

Load = Callable[[], dict[str, float]]


def capture(space: Namespace) -> list[bool]:
    """Capturing and decoding: plain ACKs of IPv4, then IPv4 and IPv6 with payloads up to full segments."""
    with folder() as path:
        loads: dict[str, Load] = {"IPv4": lambda: send(space, _RATE, _SECONDS)}
        if shutil.which("tcpreplay"):
            file = Path(path) / "mixed.pcap"
            write_pcap(file, mixed([space.address, space.address6], 9000, _FRAMES), _FRAMES)
            loads["IPv4 and IPv6 of all lengths, by tcpreplay"] = lambda: replay(space, file, _RATE, _LOOPS)
        else:
            print("IPv4 and IPv6 mixed: skipped, as there is no tcpreplay")
        return [
            met
            for what, load in loads.items()
            for linger in _LINGERS
            for met in _at_full_speed(space, what, load, linger)
        ]


def _at_full_speed(space: Namespace, what: str, load: Load, linger: str) -> list[bool]:
    cpu_us, drops = _listener_alone(space, load, what, {"linger": linger})
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
