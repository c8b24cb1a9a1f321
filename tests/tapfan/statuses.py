"""A status as a router gives it, of as many writers as a test needs."""

from typing import Any

MIB = 2**20


def status(*names: str, version: int = 7, **given: Any) -> dict[str, Any]:
    """Writers of equal weight, all of them up; `given`: other values at the top."""
    names = names or ("a", "b")
    usual = {
        "version": version,
        "ttl": 300.0,
        "rate": 14_201.3,
        "ramp": None,
        "changed": None,
        "writers": {name: writer(1 / len(names)) for name in names},
        "listeners": {"local": listener()},
        "ledger": {
            "captured": 1_204_117,
            "stored": 1_204_100,
            "expired": 0,
            "dropped": 0,
            "in_flight": 17,
            "spooled": 0,
            "lost": {},
            "balanced": True,
        },
        "warnings": {},
    }
    return usual | given


def writer(share: float = 0.5, **given: Any) -> dict[str, Any]:
    """A writer of weight 30 that gets such a share."""
    usual = {
        "redis": "redis://127.0.0.1:7101/0",
        "configured": 30.0,
        "weight": 30.0,
        "effective": 30.0,
        "share": share,
        "observed": {"10s": share, "1m": share, "5m": share},
        "state": "ready",
        "health": "up",
        "reason": "",
        "round_trip_ms": 0.213,
        "used_memory": 54 * MIB,
        "max_memory": 2048 * MIB,
        "projection": None,
        "warnings": [],
        "stored": 602_050,
        "in_flight": 8,
        "rate": 7100.6,
        "rampup_left": None,
        "joined": False,
    }
    return usual | given


def listener(**given: Any) -> dict[str, Any]:
    """A listener that is up."""
    usual = {
        "source": "capture",
        "health": "up",
        "captured": 1_204_117,
        "kernel_drops": 0,
        "packets": {"seen": 1_204_117, "skipped": {}},
        "stored": 1_204_100,
        "in_flight": 17,
        "spooled": 0,
        "expired": 0,
        "dropped": 0,
        "lost": {},
    }
    return usual | given
