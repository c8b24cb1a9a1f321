"""The commands `status` and `history`: what the router knows, for people and for programs."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from router.history import MAX_ENTRIES
from router.house import House, Writer
from router.listeners import Listener
from tapfan.control import ControlError
from tapfan.losses import Losses, dropped, expired
from tapfan.messages import ListenerReport
from tapfan.skips import malformed
from tapfan.values import shown


def status(house: House, now_s: float) -> dict[str, Any]:
    """Writers, listeners and the ledger: captured = stored + expired + dropped + in flight + spooled."""
    listeners = {name: _listener_status(house, name, streams, now_s) for name, streams in _by_name(house)}
    ledger: dict[str, Any] = {
        key: sum(entry[key] for entry in listeners.values())
        for key in ("captured", "stored", "expired", "dropped", "in_flight", "spooled")
    }
    lost: Losses = Counter()
    for entry in listeners.values():
        lost.update(entry["lost"])
    ledger["lost"] = dict(lost)
    # Counted from both ends: what the streams took in, less what is settled, must be what the lanes hold.
    in_lanes = sum(writer.lane.in_flight for writer in house.writers.values()) + house.held
    in_streams = sum(entry.stream.in_flight for entry in house.listeners.values())
    ledger["balanced"] = in_lanes == in_streams
    writers = _writers_status(house, now_s)
    newest = house.history.newest
    return {
        "version": house.intent.version,
        "ttl": house.ttl_ms / 1000,
        "ramp": house.steering.ramp_view(),
        "changed": newest.told() if newest else None,
        "rate": sum(writer["rate"] for writer in writers.values()),
        "writers": writers,
        "listeners": listeners,
        "ledger": ledger,
    }


def history(house: House, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The newest entries of the history, the newest first. Raises ControlError."""
    limit = arguments.get("limit", MAX_ENTRIES)
    if arguments.keys() - {"limit"}:
        raise ControlError("bad_request", f'history takes {{"limit": 1 to {MAX_ENTRIES}}}, or nothing')
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_ENTRIES:
        raise ControlError("bad_request", f"limit must be a whole number from 1 to {MAX_ENTRIES}, not {shown(limit)}")
    return {"version": house.intent.version, "entries": [entry.told() for entry in house.history.entries(limit)]}


def _by_name(house: House) -> Iterator[tuple[str, list[Listener]]]:
    names = dict.fromkeys(listener.report.name for listener in house.listeners.values())
    for name in names:
        yield name, [listener for listener in house.listeners.values() if listener.report.name == name]


def _listener_status(house: House, name: str, streams: list[Listener], now_s: float) -> dict[str, Any]:
    """The sum over a listener's streams: the one that it captures into, and those of its earlier starts.

    What an earlier start had captured, and neither sent nor left in the spool, died with it and counts as dropped.
    """
    earlier, current = house.earlier[name], house.current(name)
    stored = earlier.stored + sum(entry.stream.stored for entry in streams)
    lost = earlier.lost.copy()
    in_flight = spooled = 0
    for entry in streams:
        lost.update(entry.stream.lost)
        in_flight += entry.stream.in_flight
        if house.has_ended(entry):
            lost[house.loss(entry)] += entry.unsent
        else:
            in_flight += entry.unsent - entry.spooled
            spooled += entry.spooled
    lost = +lost  # without the reasons that there were none for
    return {
        "source": current.report.source,
        "health": current.health(now_s),
        "captured": stored + lost.total() + in_flight + spooled,
        "kernel_drops": earlier.kernel_drops + sum(entry.report.packets.kernel_drops for entry in streams),
        "packets": _packets_status(current.report),
        "stored": stored,
        "in_flight": in_flight,
        "spooled": spooled,
        "expired": expired(lost),
        "dropped": dropped(lost),
        "lost": dict(lost),
    }


def _packets_status(report: ListenerReport) -> dict[str, Any]:
    """What the listener's running process saw: seen = records + kernel_drops + skipped + unread."""
    packets = report.packets
    settled = report.captured + packets.kernel_drops + sum(packets.skipped.values())
    return {
        "seen": packets.seen,
        "records": report.captured,
        "kernel_drops": packets.kernel_drops,
        "skipped": packets.skipped,
        "malformed": malformed(packets.skipped),
        "unread": packets.seen - settled if report.source != "accept" else 0,
        "ring_freezes": packets.ring_freezes,
    }


def _writers_status(house: House, now_s: float) -> dict[str, Any]:
    shares = house.weights.shares()
    observed = house.observed.shares(house.writers, now_s)
    rates = house.observed.rates(now_s)
    members = house.intent.members
    return {
        name: {
            "redis": members[name].redis,
            "configured": members[name].configured,
            "weight": members[name].weight,
            "effective": float(house.weights.effective.get(name, 0)),
            "share": shares.get(name, 0.0),
            "observed": observed[name],
            "rate": rates[name],
            "state": members[name].state,
            "rampup_left": house.steering.rampup_left_s(name),
            "joined": members[name].came == "joined",
            "health": writer.health.text,
            "reason": _reason(writer),
            "round_trip_ms": _milliseconds(writer.report.round_trip_us) if writer.report else None,
            "used_memory": writer.report.used_memory if writer.report else None,
            "max_memory": writer.report.max_memory if writer.report else None,
            "projection": _projection(writer),
            "warnings": writer.report.warnings if writer.report else [],
            "stored": writer.lane.stored,
            "in_flight": writer.lane.in_flight,
        }
        for name, writer in house.writers.items()
    }


def _reason(writer: Writer) -> str:
    """Why a writer is not up."""
    if writer.report is None:
        return "has not reported yet"
    if writer.health.text == "down" and writer.report.healthy:
        return "takes records again, but not for long enough yet"
    return writer.report.reason


def _projection(writer: Writer) -> dict[str, Any] | None:
    """What its records will need in its Redis."""
    told = writer.report.projection if writer.report else None
    return told.model_dump() if told else None


def _milliseconds(duration_us: int | None) -> float | None:
    return None if duration_us is None else duration_us / 1000
