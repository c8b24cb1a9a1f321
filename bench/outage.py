"""An outage of every Redis under load: how large the processes grow, and that all of it is stored afterwards."""

import threading
import time

from bench.measuring import asked, everything, memory_mib, process, send
from tests.process.namespace import Namespace
from tests.process.running import Programs

_RATE = 100_000
_SECONDS = 60.0
_SETTLE_S = 300.0
_OURS = ("listener", "router", "writer-a", "writer-b")


def outage(space: Namespace) -> list[bool]:
    """Both Redis servers away for a minute."""
    with everything(space, top={"ttl": "1h"}) as programs:
        for name in ("redis-a", "redis-b"):
            programs.kill(name)
        largest = dict.fromkeys(_OURS, 0.0)
        load: dict[str, float] = {}
        sending = threading.Thread(target=lambda: load.update(send(space, _RATE, _SECONDS)))
        sending.start()
        while sending.is_alive():
            _note_largest(programs, largest)
        spooled = programs.status()["ledger"]["spooled"]
        programs.start("redis-a", "redis-b")
        begun_s = time.monotonic()
        while not _is_settled(programs) and time.monotonic() < begun_s + _SETTLE_S:
            _note_largest(programs, largest)
        settled_s = time.monotonic() - begun_s
        ledger = programs.status()["ledger"]
        drops = programs.status()["listeners"]["local"]["kernel_drops"]
    print(f"outage of {_SECONDS:g} s, {load['sent'] / load['seconds']:,.0f} packets/s, {load['sent']:,.0f} packets:")
    print(f"  {spooled:,} records were in the spool; all stored {settled_s:.0f} s after it; {ledger}")
    for name, mib in largest.items():
        print(f"  {name:10} {mib:5.1f} MiB at most")
    return [
        asked("MiB of the largest process", max(largest.values()), 250),
        asked("packets not stored", load["sent"] - ledger["stored"] - drops, 0),
        asked("packets dropped by the kernel", drops, 0),
    ]


def _note_largest(programs: Programs, largest: dict[str, float]) -> None:
    for name in _OURS:
        largest[name] = max(largest[name], memory_mib(process(programs, name)))
    time.sleep(0.2)


def _is_settled(programs: Programs) -> bool:
    ledger = programs.status()["ledger"]
    return bool(ledger["in_flight"] == 0 and ledger["spooled"] == 0)
