"""Control while the pipeline has as much to do as it can: how long an answer takes, and many changes a second."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from bench.measuring import FOR_VOLUME, asked, asked_least, everything, send
from tapfan.control import ControlClient
from tests.process.asking import Asking, asking
from tests.process.namespace import Namespace
from tests.process.running import Programs, wait_for

_RATE = 1_000_000
_SECONDS = 16.0
_WARM_S = 1.0
_EACH_S = 3.0
_CHANGES_A_SECOND = 1000
_OFFERED_A_SECOND = 1100  # the last ones are waited for
_MOST_WAITING = 128  # as docs/control.md says


def control(space: Namespace) -> list[bool]:
    """Round trips of reads and of changes, one at a time; then changes at the rate asked for, and nothing lost."""
    with everything(space, FOR_VOLUME, {"layout": "block"}) as programs:
        with ThreadPoolExecutor(1) as threads, programs.control() as client:
            load = threads.submit(send, space, _RATE, _SECONDS)
            time.sleep(_WARM_S)
            trips_ms = {
                "weights, read": _trips_ms(client.weights),
                "status": _trips_ms(client.status),
                "weights, changed": _trips_ms(_changing(client)),
            }
            with asking(programs) as many:
                rate = _changes_a_second(many)
            refused = [reply for reply in many.replies.values() if not reply["ok"]]
            is_under_load = not load.done()
            sent = load.result()
        status = wait_for(lambda: _settled(programs, sent["sent"]), "all is settled", 60)
        ledger, version = status["ledger"], status["version"]
    drops = _kernel_drops(status)
    rate_offered = sent["sent"] / sent["seconds"]
    print(f"control, {rate_offered:,.0f} packets/s offered, {ledger['stored']:,} records stored, {drops} kernel drops:")
    for name, trips in trips_ms.items():
        median, most = (float(np.quantile(trips, part)) for part in (0.5, 0.99))
        print(f"  {name:16} {len(trips):5,} round trips, median {median:.2f} ms, 99 of 100 within {most:.2f} ms")
    changes = len(trips_ms["weights, changed"]) + len(many.requests)
    return [
        asked("ms of a round trip that reads, 99 of 100", float(np.quantile(trips_ms["weights, read"], 0.99)), 10),
        asked("ms of a round trip for the status, 99 of 100", float(np.quantile(trips_ms["status"], 0.99)), 10),
        asked("ms of a change, on disk, 99 of 100", float(np.quantile(trips_ms["weights, changed"], 0.99)), 10),
        asked_least("changes/s", rate, _CHANGES_A_SECOND),
        asked("changes refused, or not in force in the end", len(refused) + abs(1 + changes - version), 0),
        asked("packets that the ring had and that are not stored", sent["sent"] - drops - ledger["stored"], 0),
        asked("whether the load had ended before", float(not is_under_load), 0),
        asked("whether the ledger does not balance", float(not ledger["balanced"]), 0),
    ]


def _settled(programs: Programs, sent: float) -> dict[str, Any] | None:
    """The status once all that was sent is captured, or dropped by the kernel, and nothing is in flight."""
    status = programs.status()
    ledger = status["ledger"]
    done = ledger["captured"] + _kernel_drops(status) >= sent and ledger["in_flight"] == 0
    return status if done else None


def _kernel_drops(status: dict[str, Any]) -> int:
    return sum(int(listener["kernel_drops"]) for listener in status["listeners"].values())


def _trips_ms(ask: Callable[[], object]) -> list[float]:
    trips = []
    end_s = time.monotonic() + _EACH_S
    while (begun_s := time.monotonic()) < end_s:
        ask()
        trips.append((time.monotonic() - begun_s) * 1000)
        time.sleep(0.002)
    return trips


def _changing(client: ControlClient) -> Callable[[], dict[str, Any]]:
    """Changes the weights at each call."""
    weights = {"a": 30, "b": 70}

    def change() -> dict[str, Any]:
        weights["a"], weights["b"] = weights["b"], weights["a"]
        return client.weights(weights)

    return change


def _changes_a_second(many: Asking) -> float:
    """Ask for changes at the rate, a bounded number of them on their way; gives the rate at which they are made."""
    begun_s = time.monotonic()
    number = 0
    while (passed_s := time.monotonic() - begun_s) < _EACH_S:
        while number < passed_s * _OFFERED_A_SECOND and many.waiting < _MOST_WAITING:
            number += 1
            many.ask(command="weights", weights={"a": number % 100, "b": 100 - number % 100}, by="bench")
        many.take_replies()
        time.sleep(0.001)
    many.wait()
    return number / (time.monotonic() - begun_s)
