"""Durations as people write them: "5m", "20ms", "1h30m", or a number of seconds."""

import re

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
VALID = 'a duration such as "5m", "90s", "1h30m" or "20ms"'


def seconds(text: str | int | float) -> float:
    """The duration in seconds; a bare number is seconds. Raises ValueError, saying what is valid."""
    if isinstance(text, bool):
        raise ValueError(f"must be {VALID}")
    if isinstance(text, int | float):
        try:
            return float(text)
        except OverflowError as error:
            raise ValueError(f"must be {VALID}") from error
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"must be {VALID}")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def text(duration_s: float) -> str:
    """The shortest of the forms that `seconds` reads, in one unit: 300.0 is "5m"."""
    for unit in ("d", "h", "m", "s"):
        count = duration_s / _UNIT_SECONDS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    milliseconds = f"{duration_s * 1000:.3f}".rstrip("0").rstrip(".")
    return f"{milliseconds}ms"
