"""Everything, at a rate that the Redis servers can store: what each process costs."""

import time

from bench.measuring import asked, cpu_s, everything, memory_mib, process, send
from tests.process.namespace import Namespace

_RATE = 250_000  # what two Redis servers store in record layout on two cores, with room to spare
_SECONDS = 5.0


def pipeline(space: Namespace) -> list[bool]:
    """CPU a record, and memory at rest."""
    with everything(space) as programs:
        time.sleep(2)
        processes = {name: process(programs, name) for name in programs.names}
        rest = {name: memory_mib(of) for name, of in processes.items()}
        before = {name: cpu_s(of) for name, of in processes.items()}
        load = send(space, _RATE, _SECONDS)
        begun = time.monotonic()
        status = programs.wait_settled(int(load["sent"]), 120)
        settled_s = time.monotonic() - begun
        records = status["ledger"]["stored"]
        cpu = {name: (cpu_s(of) - before[name]) * 1e6 / records for name, of in processes.items()}
    print(f"pipeline, {load['sent'] / load['seconds']:,.0f} packets/s, record layout, {records:,} records stored:")
    print(f"  all stored {settled_s:.1f} s after the last packet; {status['ledger']}")
    for name in programs.names:
        print(f"  {name:10} {cpu[name]:6.3f} us of CPU a record, {rest[name]:5.1f} MiB at rest")
    stores = sum(value for name, value in cpu.items() if name.startswith("redis"))
    ours = sum(cpu.values()) - stores
    print(f"  tapfan {ours:.3f} us a record, the Redis servers {stores:.3f}")
    return [
        asked("tapfan's CPU as a part of the Redis servers'", ours / stores, 0.5),
        asked("MiB at rest of the largest process", max(rest.values()), 100),
    ]
