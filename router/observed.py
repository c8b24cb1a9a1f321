"""What was really stored: the shares over the last 10 seconds, minute and five minutes, and the rate."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable

SPANS_S = {"10s": 10, "1m": 60, "5m": 300}
_RATE_S = 10


class _Window:
    """The sums of some of the last whole seconds, by writer; so a look at it costs the same however long it is."""

    def __init__(self) -> None:
        self.sums: Counter[str] = Counter()
        self._seconds: deque[tuple[int, Counter[str]]] = deque()

    def add(self, second: int, counts: Counter[str]) -> None:
        self._seconds.append((second, counts))
        self.sums.update(counts)

    def forget(self, before: int) -> None:
        """Leave out the seconds before that one."""
        while self._seconds and self._seconds[0][0] < before:
            self.sums.subtract(self._seconds.popleft()[1])
            self.sums = +self.sums  # without those that have nothing left

    def forget_writer(self, writer: str) -> None:
        """Count as if it had never stored anything."""
        for _, counts in self._seconds:
            counts.pop(writer, None)
        self.sums.pop(writer, None)


class Observed:
    """Counts records by writer and second, for five minutes. Times are seconds of any one clock that goes on."""

    def __init__(self) -> None:
        self._second = 0
        self._current: Counter[str] = Counter()
        self._windows = {span: _Window() for span in SPANS_S}
        self._rates = _Window()

    def count(self, writer: str, records: int, now_s: float) -> None:
        """So many records of a writer were stored now."""
        self._turn_to(int(now_s))
        self._current[writer] += records

    def forget(self, writer: str) -> None:
        """Forget a writer that is gone: another one may come under its name."""
        self._current.pop(writer, None)
        for window in (*self._windows.values(), self._rates):
            window.forget_writer(writer)

    def shares(self, writers: Iterable[str], now_s: float) -> dict[str, dict[str, float | None]]:
        """By writer and span, its part of all that was stored in the span, of 1; None where nothing was."""
        self._turn_to(int(now_s))
        result: dict[str, dict[str, float | None]] = {writer: {} for writer in writers}
        for span, window in self._windows.items():
            counts = window.sums + self._current
            total = counts.total()
            for writer, parts in result.items():
                parts[span] = round(counts[writer] / total, 6) if total else None
        return result

    def rates(self, now_s: float) -> defaultdict[str, float]:
        """By writer, the records/s that were stored over the last ten whole seconds."""
        self._turn_to(int(now_s))
        return defaultdict(float, {writer: count / _RATE_S for writer, count in self._rates.sums.items()})

    def _turn_to(self, second: int) -> None:
        if second == self._second:
            return
        if self._current:
            for window in (*self._windows.values(), self._rates):
                window.add(self._second, self._current)
            self._current = Counter()
        self._second = second
        for span, length_s in SPANS_S.items():
            self._windows[span].forget(second - length_s + 1)
        self._rates.forget(second - _RATE_S)
