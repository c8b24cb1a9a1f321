"""The `status` command: what the router knows, for people and for programs."""

from collections.abc import Iterator
from typing import Any

from router.house import Earlier, House, Listener


def status(house: House, now_s: float) -> dict[str, Any]:
    """Writers, listeners and the ledger: captured = stored + expired + dropped + in flight + spooled."""
    listeners = {name: _listener_status(streams, house.earlier[name], now_s) for name, streams in _by_name(house)}
    ledger: dict[str, Any] = {
        key: sum(entry[key] for entry in listeners.values())
        for key in ("captured", "stored", "expired", "dropped", "in_flight", "spooled")
    }
    # Counted from both ends: what the streams took in, less what is settled, must be what the lanes hold.
    in_lanes = sum(writer.lane.in_flight for writer in house.writers.values())
    in_streams = sum(entry.stream.in_flight for entry in house.listeners.values())
    ledger["balanced"] = in_lanes == in_streams
    return {
        "version": house.weights.version,
        "writers": _writers_status(house, now_s),
        "listeners": listeners,
        "ledger": ledger,
    }


def _by_name(house: House) -> Iterator[tuple[str, list[Listener]]]:
    names = dict.fromkeys(listener.report.name for listener in house.listeners.values())
    for name in names:
        yield name, [listener for listener in house.listeners.values() if listener.report.name == name]


def _listener_status(streams: list[Listener], earlier: Earlier, now_s: float) -> dict[str, Any]:
    """The sum over a listener's streams; the last is the running one, the others are of earlier starts.

    What an earlier start had captured and not sent died with it, and counts as dropped.
    """
    last = streams[-1]
    stored = earlier.stored + sum(entry.stream.stored for entry in streams)
    expired = earlier.expired + sum(entry.stream.expired for entry in streams)
    dropped = earlier.dropped + sum(entry.unsent for entry in streams[:-1])
    in_flight = last.unsent + sum(entry.stream.in_flight for entry in streams)
    return {
        "source": last.report.source,
        "health": last.health(now_s),
        "captured": stored + expired + dropped + in_flight,
        "kernel_drops": earlier.kernel_drops + sum(entry.report.kernel_drops for entry in streams),
        "undecoded": last.report.undecoded,
        "stored": stored,
        "in_flight": in_flight,
        "spooled": 0,
        "expired": expired,
        "dropped": dropped,
    }


def _writers_status(house: House, now_s: float) -> dict[str, Any]:
    shares = house.weights.shares()
    observed = house.observed.shares(house.writers, now_s)
    return {
        name: {
            "redis": writer.redis,
            "configured": house.weights.configured[name],
            "weight": house.weights.current[name],
            "share": shares[name],
            "observed": observed[name],
            "state": "ready",
            "health": writer.health(now_s),
            "reason": writer.report.reason if writer.report else "has not reported yet",
            "stored": writer.lane.stored,
            "in_flight": writer.lane.in_flight,
        }
        for name, writer in house.writers.items()
    }
