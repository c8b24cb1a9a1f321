"""Moments and windows of time as people type them; in ns since the epoch, exactly as typed."""

import re
from dataclasses import dataclass
from datetime import datetime

from tapfan import durations
from tapfan.bounds import MAX_TIMESTAMP_NS

VALID = (
    'a moment such as "2026-11-26T14:03:05.25" (local time), "2026-11-26T13:03:05Z", '
    '"1795698185.25" (seconds since 1970) or "5m" (that long ago)'
)
_NS_A_S = 1_000_000_000
_EPOCH = re.compile(r"(?P<whole>[0-9]{1,10})(?:\.(?P<fraction>[0-9]{1,9}))?")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_SPAN = "a moment from 1970 to 2286"
_ISO = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,](?P<fraction>[0-9]{1,9}))?)?)"
    r" ?(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)


def moment_ns(text: str, now_ns: int) -> int:
    """The moment. Raises ValueError, saying what is valid."""
    if epoch := _EPOCH.fullmatch(text):
        moment = int(epoch["whole"]) * _NS_A_S + _fraction_ns(epoch["fraction"])
    elif iso := _ISO.fullmatch(text):
        time = re.split("[.,]", iso["time"] or "00:00")[0]
        try:
            seconds = int(datetime.fromisoformat(f"{iso['date']}T{time}{iso['zone'] or ''}").timestamp())
        except (ValueError, OverflowError, OSError) as error:  # no such day or time, or none that can be converted
            raise ValueError(f"must be {VALID}") from error
        moment = seconds * _NS_A_S + _fraction_ns(iso["fraction"])
    elif _NUMBER.fullmatch(text):
        raise ValueError(
            f"must be {_SPAN}; in seconds since 1970 from 0 to 9999999999, with up to 9 digits after the point"
        )
    else:
        try:
            moment = now_ns - duration_ns(text.removesuffix(" ago"))
        except ValueError as error:
            raise ValueError(f"must be {VALID}") from error
    if not 0 <= moment <= MAX_TIMESTAMP_NS:
        raise ValueError(f"must be {_SPAN}")
    return moment


def duration_ns(text: str) -> int:
    """The duration. Raises ValueError, saying what is valid."""
    try:
        return round(durations.seconds(text) * _NS_A_S)
    except OverflowError as error:
        raise ValueError(f"must be {durations.VALID}") from error


def _fraction_ns(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))


@dataclass(frozen=True)
class Window:
    """What --last, --since and --until say; without any of them, all that there is."""

    last: str | None = None
    since: str | None = None
    until: str | None = None

    def bounds(self, now_ns: int) -> tuple[int | None, int | None]:
        """The first moment in the window, and the first one after it; None where it is open.

        Raises ValueError, naming the option that is bad and what is valid.
        """
        if self.last is not None:
            if self.since is not None or self.until is not None:
                raise ValueError(f"--last {self.last!r}: ends now; give --since and --until in its place")
            return max(0, now_ns - self._last_ns(self.last)), None
        since, until = self._between(now_ns)
        if since is not None and until is not None and until <= since:
            raise ValueError(f"--until {self.until!r}: must be after --since {self.since!r}")
        return since, until

    def bounds_later(self, now_ns: int) -> tuple[int | None, int | None]:
        """The same of a window that was good before: nothing may be left of it, as what is so long ago moves on."""
        if self.last is not None:
            return self.bounds(now_ns)
        since, until = self._between(now_ns)
        return (min(since, until) if since is not None and until is not None else since), until

    def _between(self, now_ns: int) -> tuple[int | None, int | None]:
        since = None if self.since is None else _read("--since", self.since, now_ns)
        return since, None if self.until is None else _read("--until", self.until, now_ns)

    @staticmethod
    def _last_ns(text: str) -> int:
        try:
            last_ns = duration_ns(text)
        except ValueError as error:
            raise ValueError(f"--last {text!r}: {error}") from error
        if not last_ns:
            raise ValueError(f"--last {text!r}: must be more than 0")
        return last_ns

    def __str__(self) -> str:
        if self.since is not None or self.until is not None:
            parts = (("since", self.since), ("until", self.until))
            return " ".join(f"{word} {text}" for word, text in parts if text is not None)
        return f"in the last {self.last}" if self.last else "that are kept"


def _read(option: str, text: str, now_ns: int) -> int:
    try:
        return moment_ns(text, now_ns)
    except ValueError as error:
        raise ValueError(f"{option} {text!r}: {error}") from error
