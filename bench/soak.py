"""`python -m bench.soak`: faults at random, under load, for as long as asked; then whether anything was lost.

Prints its seed, each fault, and the ledger; exits 1 when a record is missing or the ledger does not balance. The same
seed gives the same faults in the same order, though not at the same moment of the load.
"""

import argparse
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.measuring import listener_options, send
from tests.process.namespace import namespace
from tests.process.running import Programs, wait_for
from tests.process.stored import keys
from tests.process.traffic import Load

_PROCESSES = ("redis-a", "redis-b", "router", "writer-a", "writer-b", "listener")
_WRITERS = ("a", "b")
_SETTLE_S = 120.0


class Faults:
    """Each does something to the programs, and undoes it after a while."""

    def __init__(self, programs: Programs, chance: random.Random) -> None:
        self._programs = programs
        self._chance = chance

    def kill(self) -> str:
        """One to three processes end at once, and are started again a moment later."""
        names = self._chance.sample(_PROCESSES, self._chance.randint(1, 3))
        for name in names:
            self._programs.kill(name)
        self._wait(0, 4)
        self._programs.start(*names)
        return f"kill {' '.join(names)}"

    def stop(self) -> str:
        """One or two processes stand still."""
        names = self._chance.sample(_PROCESSES, self._chance.randint(1, 2))
        for name in names:
            self._programs.signal(name, signal.SIGSTOP)
        self._wait(0, 6)
        for name in names:
            self._programs.signal(name, signal.SIGCONT)
        return f"stop {' '.join(names)}"

    def restart(self) -> str:
        """One or two processes are asked to end, and started again."""
        names = self._chance.sample(_PROCESSES[2:], self._chance.randint(1, 2))
        self._programs.stop_all(*names)
        self._programs.start(*names)
        return f"restart {' '.join(names)}"

    def fill_memory(self) -> str:
        """A Redis has no memory left."""
        return self._configured("maxmemory", "1", "0")

    def password(self) -> str:
        """A Redis asks for a password that nobody knows; who is connected is cut off."""
        return self._configured("requirepass", "changed", "")

    def weights(self) -> str:
        """An operator changes the weights."""
        weights = {name: self._chance.randint(1, 100) for name in _WRITERS}
        with self._programs.control() as control:
            control.weights(weights)
        return f"weights {weights}"

    def _configured(self, key: str, bad: str, good: str) -> str:
        name = self._chance.choice(_WRITERS)
        with self._programs.redis(name) as client:
            client.config_set(key, bad)
            client.client_kill_filter(_type="normal", skipme=True)
            self._wait(0, 5)
            client.config_set(key, good)
        return f"{key} of {name}"

    def _wait(self, low_s: float, high_s: float) -> None:
        time.sleep(self._chance.uniform(low_s, high_s))


def soak(programs: Programs, chance: random.Random, seconds: float) -> None:
    """Let one fault follow the other."""
    faults = Faults(programs, chance)
    kinds: list[Callable[[], str]] = [faults.kill, faults.kill, faults.stop, faults.restart]
    kinds += [faults.fill_memory, faults.password, faults.weights]
    begun_s = time.monotonic()
    while time.monotonic() < begun_s + seconds:
        at_s = time.monotonic() - begun_s
        done = chance.choice(kinds)()
        programs.wait_ready()
        print(f"  {at_s:6.1f} s  {done}", flush=True)


@contextmanager
def running(folder: Path, rate: float, seconds: float) -> Iterator[Programs]:
    """All programs, under load while the block lasts: small segments, or, given a rate, captured packets."""
    options: dict[str, object] = {"spool": "always", "linger": "5ms" if not rate else "20ms"}
    with ExitStack() as stack:
        space = stack.enter_context(namespace()) if rate else None
        netns = space.name if space else None
        if space:
            options |= listener_options(space)
        programs = Programs(folder, listener=options, top={"ttl": "1d"}, netns=netns, durable=True)
        stack.callback(programs.close)
        programs.start()
        programs.wait_ready()
        with ExitStack() as load:
            if space:
                sending = threading.Thread(target=send, args=(space, rate, seconds))
                sending.start()
                load.callback(sending.join)
            else:
                load.enter_context(Load(programs.port))
            yield programs
        _print_outcome(programs)


def _print_outcome(programs: Programs) -> None:
    """What became of everything; raises SystemExit when something is missing."""
    wait_for(lambda: programs.status()["ledger"]["spooled"] == 0, "the spool is empty", _SETTLE_S)
    programs.stop("listener")
    ledger = programs.wait_settled(1, _SETTLE_S)["ledger"]
    ends: dict[str, int] = {}
    found = {(key["stream"], int(key["sequence"], 16)) for name in _WRITERS for key in keys(programs, name)}
    for stream, number in found:
        ends[stream] = max(ends.get(stream, 0), number + 1)
    missing = sum(ends.values()) - len(found)
    # Where router and listener are killed at once, the ledger may miss some, and says so of what it knows of.
    dropped = ledger["dropped"] - ledger["lost"].get("dropped_untracked", 0)
    print(f"ledger {ledger}\n{len(found):,} records in the Redis servers, {missing:,} missing")
    if missing or dropped or not ledger["balanced"] or len(found) < ledger["stored"]:
        sys.exit("something was lost")


def main() -> None:
    """Soak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--rate", type=float, default=0, help="packets/s to capture, as root")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}, {chosen.seconds:g} s", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="tapfan-soak-") as folder,
        running(Path(folder), chosen.rate, chosen.seconds) as programs,
    ):
        soak(programs, random.Random(chosen.seed), chosen.seconds)


if __name__ == "__main__":
    main()
