"""`python -m bench`: measures, prints the figures beside those asked for, and exits 1 when one is missed."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.process.namespace import Namespace, namespace
from tests.process.running import Programs, wait_for

_CAPTURE_RATE = 1_000_000
_PIPELINE_RATE = 250_000  # what two Redis servers store in record layout on two cores, with room to spare
_SECONDS = 5.0


def main() -> int:
    """Run all benches; gives the exit code."""
    if os.geteuid() != 0:
        print("skipped, as the load needs root: the listener at 1,000,000 packets/s over veth, and the pipeline")
        return 0
    with namespace() as space:
        met = capture(space) + pipeline(space)
    return 0 if all(met) else 1


def capture(space: Namespace) -> list[bool]:
    """The listener alone, with all that it sends acknowledged at once."""
    with _folder() as folder:
        programs = Programs(Path(folder), listener=_listener(space), netns=space.name)
        sink = subprocess.Popen([sys.executable, "-m", "bench.sink", programs.endpoint("records")])
        try:
            programs.start("listener")
            wait_for(lambda: "event=ready" in programs.log("listener"), "the listener is ready")
            listener = _process(programs, "listener")
            before = _cpu_s(listener)
            load = _send(space, _CAPTURE_RATE)
            time.sleep(1)
            cpu_us = (_cpu_s(listener) - before) * 1e6 / load["sent"]
            programs.stop("listener")
            log = programs.log("listener")
        finally:
            programs.close()
            sink.kill()
            sink.wait()
    print(f"listener, {load['sent'] / load['seconds']:,.0f} packets/s over veth:")
    return [
        _asked("us of CPU a packet", cpu_us, 0.15),
        _asked("warnings of kernel drops", log.count("kernel_drops"), 0),
    ]


def pipeline(space: Namespace) -> list[bool]:
    """Everything, at a rate that the Redis servers can store."""
    with _folder() as folder:
        programs = Programs(Path(folder), listener=_listener(space), netns=space.name)
        try:
            programs.start()
            programs.wait_ready()
            time.sleep(2)
            processes = {name: _process(programs, name) for name in programs.names}
            rest = {name: process.memory_info().rss / 2**20 for name, process in processes.items()}
            before = {name: _cpu_s(process) for name, process in processes.items()}
            load = _send(space, _PIPELINE_RATE)
            begun = time.monotonic()
            status = programs.wait_settled(int(load["sent"]), 120)
            settled_s = time.monotonic() - begun
            records = status["ledger"]["stored"]
            cpu = {name: (_cpu_s(process) - before[name]) * 1e6 / records for name, process in processes.items()}
        finally:
            programs.close()
    print(f"pipeline, {load['sent'] / load['seconds']:,.0f} packets/s, record layout, {records:,} records stored:")
    print(f"  all stored {settled_s:.1f} s after the last packet; {status['ledger']}")
    for name in programs.names:
        print(f"  {name:10} {cpu[name]:6.3f} us of CPU a record, {rest[name]:5.1f} MiB at rest")
    stores = sum(value for name, value in cpu.items() if name.startswith("redis"))
    ours = sum(cpu.values()) - stores
    print(f"  tapfan {ours:.3f} us a record, the Redis servers {stores:.3f}")
    return [
        _asked("tapfan's CPU as a part of the Redis servers'", ours / stores, 0.5),
        _asked("MiB at rest of the largest process", max(rest.values()), 100),
    ]


def _listener(space: Namespace) -> dict[str, object]:
    return {"listen": [f"{space.address}:9000"], "source": "capture", "serve": "none", "interface": space.inside}


def _send(space: Namespace, rate: float) -> dict[str, float]:
    """Offer the rate by two senders, as one core does not reach the highest; gives what they sent."""
    command = [sys.executable, "-m", "bench.sender", space.outside, space.address, "9000"]
    command += ["--rate", str(rate / 2), "--seconds", str(_SECONDS)]
    senders = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    loads = [json.loads(sender.communicate()[0]) for sender in senders]
    return {"sent": sum(load["sent"] for load in loads), "seconds": max(load["seconds"] for load in loads)}


def _process(programs: Programs, name: str) -> psutil.Process:
    """The program itself: `ip netns exec` becomes what it runs."""
    return psutil.Process(programs.processes[name].pid)


def _cpu_s(process: psutil.Process) -> float:
    """User and system time of all its threads, to the nanosecond; threads that ended are not in it."""
    tasks = Path(f"/proc/{process.pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="tapfan-bench-")


def _asked(what: str, measured: float, most: float) -> bool:
    met = measured <= most
    print(f"  {'met   ' if met else 'MISSED'} {what}: {measured:.3f}, asked: at most {most:g}")
    return met


if __name__ == "__main__":
    sys.exit(main())
