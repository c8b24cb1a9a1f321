"""What went wrong while reading. For several threads."""

import threading
from collections import Counter


class Report:
    """Servers that could not be read, by their titles, and what was skipped, by reason.

    `so`: what comes of it that a server cannot be read.
    """

    def __init__(self, so: str = "the answer is partial") -> None:
        self._so = so
        self.skipped: Counter[str] = Counter()
        self._failed: dict[str, str] = {}
        self._lock = threading.Lock()

    def skip(self, reason: str, count: int = 1) -> None:
        """Count what is no record of ours."""
        if count:
            with self._lock:
                self.skipped[reason] += count

    def fail(self, title: str, reason: str) -> None:
        """Note that a server cannot be read."""
        with self._lock:
            self._failed[title] = reason

    def mend(self, title: str) -> None:
        """Note that it can be read again."""
        with self._lock:
            self._failed.pop(title, None)

    def has_failed(self, title: str) -> bool:
        """Whether that server cannot be read."""
        with self._lock:
            return title in self._failed

    @property
    def problems(self) -> dict[str, str]:
        """A text for each of them, by its title."""
        with self._lock:
            return {title: f"{title} {reason}; {self._so}" for title, reason in sorted(self._failed.items())}

    @property
    def reasons(self) -> str:
        """All of them in one text."""
        with self._lock:
            return "; ".join(f"{title} {reason}" for title, reason in sorted(self._failed.items()))
