"""What is known of the router: its newest status, the newest entries of the history, and when they came."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tapfan.cli.watch.words import cleaned

STALE_AFTER_S = 3.0  # three snapshots that did not come
_MAX_ENTRIES = 100
_RATES_OVER_S = 10.0
_OWN_LEADS_S = 2.0  # how long a snapshot from before our own last change may still come


class Picture:
    """Newest is what came last; times are of a monotonic clock, in seconds.

    `ascii_only`: whether other characters are replaced. `problem`: why nothing newer comes, as far as known.
    """

    def __init__(self, *, ascii_only: bool = False) -> None:
        self.status: dict[str, Any] | None = None
        self.entries: list[dict[str, Any]] = []  # newest first
        self.problem = ""
        self.ascii_only = ascii_only
        self._received_s = -float("inf")
        self._own_version, self._own_s = 0, -float("inf")
        self._counts: deque[tuple[float, dict[str, tuple[int, int]]]] = deque()  # captured and kernel drops

    @property
    def version(self) -> int:
        """Of what is in force; 0 before anything came."""
        return int(self.status["version"]) if self.status else 0

    @property
    def writers(self) -> dict[str, dict[str, Any]]:
        """The writers' status by name."""
        return self.status["writers"] if self.status else {}

    def age_s(self, now_s: float) -> float:
        """How long ago the status came."""
        return now_s - self._received_s

    def is_stale(self, now_s: float) -> bool:
        """Whether newer ones should have come."""
        return self.status is not None and self.age_s(now_s) > STALE_AFTER_S

    def take_status(self, status: Mapping[str, Any], now_s: float) -> None:
        """A status came."""
        if status["version"] < self._own_version and now_s - self._own_s < _OWN_LEADS_S:
            return  # it was on its way when our own change was made
        self.status, self._received_s, self.problem = cleaned(status, ascii_only=self.ascii_only), now_s, ""
        counts = {name: (each["captured"], each["kernel_drops"]) for name, each in self.status["listeners"].items()}
        if self._counts and any(counts.get(name, (0,))[0] < each[0] for name, each in self._counts[-1][1].items()):
            self._counts.clear()  # another router, which knows less
        self._counts.append((now_s, counts))
        while now_s - self._counts[0][0] > _RATES_OVER_S:
            self._counts.popleft()

    def take_view(self, view: Mapping[str, Any], now_s: float) -> None:
        """Our own change was made; the status that shows it all is yet to come."""
        self._own_version, self._own_s = view["version"], now_s
        if self.status is not None and view["version"] > self.version:
            self.status["version"], self.status["ttl"], self.status["ramp"] = view["version"], view["ttl"], view["ramp"]
            for name, writer in self.writers.items():
                writer["weight"] = view["weights"].get(name, writer["weight"])
                writer["state"] = view["states"].get(name, writer["state"])
                writer["share"] = view["shares"].get(name, writer["share"])

    def take_entry(self, entry: Mapping[str, Any]) -> None:
        """The history grew."""
        told = cleaned(entry, ascii_only=self.ascii_only)
        if told not in self.entries:
            self.entries = [told, *self.entries[: _MAX_ENTRIES - 1]]

    def take_history(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """The newest entries, newest first, in place of those that are here."""
        self.entries = [cleaned(entry, ascii_only=self.ascii_only) for entry in entries[:_MAX_ENTRIES]]

    @property
    def misses_entries(self) -> bool:
        """Whether the newest entry of the router's history is not here."""
        newest = self.status["changed"] if self.status else None
        return newest is not None and newest not in self.entries

    def listener_rates(self, name: str) -> tuple[float | None, int]:
        """Of a listener, over the last seconds: records/s captured, and kernel drops."""
        known = [(at_s, counts[name]) for at_s, counts in self._counts if name in counts]
        if not known or known[0][0] == known[-1][0]:  # those that were taken in one look came at one time
            return None, 0
        (begun_s, (captured, drops)), (end_s, (captured_later, drops_later)) = known[0], known[-1]
        return (captured_later - captured) / (end_s - begun_s), max(0, drops_later - drops)
