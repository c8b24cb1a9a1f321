"""Timestamps, in ns since the epoch, as text."""

import time
from collections.abc import Sequence
from functools import lru_cache

_NS_A_S = 1_000_000_000
_DAY = "%Y-%m-%d"


def seconds(timestamp_ns: int) -> str:
    """A timestamp as decimal seconds since the epoch, with nine places, as in Redis."""
    digits = f"{timestamp_ns:010}"
    return f"{digits[:-9]}.{digits[-9:]}"


def local_times(timestamps_ns: Sequence[int]) -> list[str]:
    """Timestamps as local time of day, to the second; with the day before it where that is not today."""
    today = time.strftime(_DAY)
    return [_local_time(timestamp // _NS_A_S, today) for timestamp in timestamps_ns]


@lru_cache(maxsize=4096)
def _local_time(second: int, today: str) -> str:
    day, time_of_day = time.strftime(f"{_DAY} %H:%M:%S", time.localtime(second)).split(" ")
    return time_of_day if day == today else f"{day[5:]} {time_of_day}"
