"""The shares that were really stored over the last 10 seconds, minute and five minutes."""

from collections import Counter, deque
from collections.abc import Iterable

SPANS_S = {"10s": 10, "1m": 60, "5m": 300}


class Observed:
    """Counts records by writer and second, for five minutes. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, Counter[str]]] = deque()

    def count(self, writer: str, records: int, now_s: float) -> None:
        """So many records of a writer were stored now."""
        second = int(now_s)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
            while self._seconds[0][0] <= second - max(SPANS_S.values()):
                self._seconds.popleft()
        self._seconds[-1][1][writer] += records

    def shares(self, writers: Iterable[str], now_s: float) -> dict[str, dict[str, float | None]]:
        """By writer and span, its part of all that was stored in the span, of 1; None where nothing was."""
        result: dict[str, dict[str, float | None]] = {writer: {} for writer in writers}
        for span, length_s in SPANS_S.items():
            counts: Counter[str] = Counter()
            for second, stored in self._seconds:
                if second > int(now_s) - length_s:
                    counts += stored
            total = counts.total()
            for writer, parts in result.items():
                parts[span] = round(counts[writer] / total, 6) if total else None
        return result
