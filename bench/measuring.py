"""What the benches have in common: a load, what a process costs, and a figure beside the one that was asked for."""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.process.namespace import Namespace
from tests.process.running import Programs, everything_runs

# A [listener] for high rates: each look and each batch costs the same, however much is in it.
FOR_VOLUME: dict[str, object] = {"linger": "50ms", "batch_records": 65_536}


def listener_options(space: Namespace) -> dict[str, object]:
    """The configuration's [listener]: capturing what comes into the namespace."""
    listen = [f"{space.address}:9000", f"[{space.address6}]:9000"]
    return {"listen": listen, "source": "capture", "serve": "none", "interface": space.inside}


@contextmanager
def everything(
    space: Namespace, listener: Mapping[str, object] | None = None, top: Mapping[str, object] | None = None
) -> Iterator[Programs]:
    """All programs, ready, of which the listener captures what comes into the namespace, with these options."""
    with folder() as path:
        options = listener_options(space) | dict(listener or {})
        with everything_runs(Path(path), listener=options, top=top, netns=space.name) as programs:
            yield programs


def send(space: Namespace, rate: float, seconds: float) -> dict[str, float]:
    """Offer plain ACKs of IPv4 at the rate by two senders, as one core does not reach the highest.

    Gives what they have `sent`, in how many `seconds`.
    """
    command = [sys.executable, "-m", "bench.sender", space.outside, "9000", space.address]
    command += ["--rate", str(rate / 2), "--seconds", str(seconds)]
    senders = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    loads = [json.loads(sender.communicate()[0]) for sender in senders]
    return {"sent": sum(load["sent"] for load in loads), "seconds": max(load["seconds"] for load in loads)}


def replay(space: Namespace, file: Path, rate: float, times: int) -> dict[str, float]:
    """Offer a capture file's packets so many times, by two tcpreplay; gives the same."""
    command = ["tcpreplay", "--quiet", "--preload-pcap", f"--pps={rate / 2:.0f}", f"--loop={times // 2}"]
    command += [f"--intf1={space.outside}", str(file)]
    begun = time.monotonic()
    replays = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    sent = [re.search(r"Actual: (\d+) packets", replay.communicate()[0]) for replay in replays]
    return {"sent": sum(int(found[1]) for found in sent if found), "seconds": time.monotonic() - begun}


def process(programs: Programs, name: str) -> psutil.Process:
    """The program itself: `ip netns exec` becomes what it runs."""
    return psutil.Process(programs.processes[name].pid)


def cpu_s(of: psutil.Process) -> float:
    """User and system time of all its threads, to the nanosecond; threads that ended are not in it."""
    tasks = Path(f"/proc/{of.pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9


def memory_mib(of: psutil.Process) -> float:
    """Its resident memory."""
    return float(of.memory_info().rss) / 2**20


def folder() -> "tempfile.TemporaryDirectory[str]":
    """For all files of one bench."""
    return tempfile.TemporaryDirectory(prefix="tapfan-bench-")


def asked(what: str, measured: float, most: float) -> bool:
    """Print a figure and whether it is as small as asked."""
    return _told(what, measured, f"at most {most:g}", measured <= most)


def asked_least(what: str, measured: float, least: float) -> bool:
    """Print a figure and whether it is as large as asked."""
    return _told(what, measured, f"at least {least:g}", measured >= least)


def _told(what: str, measured: float, wanted: str, met: bool) -> bool:
    print(f"  {'met   ' if met else 'MISSED'} {what}: {measured:.3f}, asked: {wanted}")
    return met
