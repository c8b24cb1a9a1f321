"""The listener alone, at high rates, with all that it sends acknowledged at once."""

import subprocess
import sys
import time
from pathlib import Path

from bench.measuring import asked, cpu_s, folder, listener_options, process, send
from tests.process.namespace import Namespace
from tests.process.running import Programs, wait_for

_RATE = 1_000_000
_SPOOL_RATE = 500_000
_SECONDS = 5.0


def capture(space: Namespace) -> list[bool]:
    """Capturing and decoding."""
    return [met for mixed in (False, True) for met in _at_full_speed(space, mixed)]


def _at_full_speed(space: Namespace, mixed: bool) -> list[bool]:
    figures = _listener_alone(space, _RATE, {}, mixed)
    return [
        asked("us of CPU a packet", figures["cpu_us"], 0.15),
        asked("warnings of kernel drops", figures["drops"], 0),
    ]


def spool(space: Namespace) -> list[bool]:
    """The same, with everything written to disk before it is sent."""
    figures = _listener_alone(space, _SPOOL_RATE, {"spool": "always"})
    print(f"  {figures['cpu_us']:.3f} us of CPU a packet")
    return [asked("warnings of kernel drops", figures["drops"], 0)]


def _listener_alone(space: Namespace, rate: float, options: dict[str, object], mixed: bool = False) -> dict[str, float]:
    with folder() as path:
        programs = Programs(Path(path), listener=listener_options(space) | options, netns=space.name)
        sink = subprocess.Popen([sys.executable, "-m", "bench.sink", programs.endpoint("records")])
        try:
            programs.start("listener")
            wait_for(lambda: "event=ready" in programs.log("listener"), "the listener is ready")
            listener = process(programs, "listener")
            before_s = cpu_s(listener)
            load = send(space, rate, _SECONDS, mixed)
            time.sleep(1)
            cpu_us = (cpu_s(listener) - before_s) * 1e6 / load["sent"]
            programs.stop("listener")
            drops = programs.log("listener").count("kernel_drops")
        finally:
            programs.close()
            sink.kill()
            sink.wait()
    told = "".join(f", {key} = {value}" for key, value in options.items())
    told += ", IPv4 and IPv6 of all lengths" if mixed else ""
    print(f"listener{told}, {load['sent'] / load['seconds']:,.0f} packets/s over veth:")
    return {"cpu_us": cpu_us, "drops": drops}
