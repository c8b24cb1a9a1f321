"""Logs: one line an event, a name plus fields, to standard error; never one a record."""

import logging
import sys
import time
from collections.abc import Callable
from math import inf
from typing import Any

import structlog

Logger = structlog.typing.FilteringBoundLogger
_MOST_KINDS = 64  # of warnings, told apart at a time


def open_log(program: str) -> Logger:
    """Set logging up for this process and give its logger: coloured on a terminal, logfmt elsewhere."""
    renderer: structlog.typing.Processor = structlog.processors.LogfmtRenderer(
        key_order=["timestamp", "level", "program", "event"]
    )
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda: structlog.WriteLogger(sys.stderr),  # as it is then: a progress bar puts itself in front
    )
    logger: Logger = structlog.get_logger(program=program)
    return logger


class Repeated:
    """Warnings that may come by the thousand: each kind is told at once, then counted and told once a period.

    A kind is an event, and whom it is about where that is said, so that nobody's are hidden behind another's; of very
    many at a time, the others are told as one.
    """

    def __init__(self, log: Logger, period_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._period_s = period_s
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}
        self._untold: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}  # how many, and the last one's fields
        self.counts: dict[str, int] = {}

    def warn(self, event: str, about: str = "", **fields: Any) -> None:
        """Count the event, and log it unless that happened less than a period ago."""
        self.count(event)
        kind = (event, about)
        if kind not in self._told and len(self._told) >= _MOST_KINDS:
            kind = (event, "")
        count, _ = self._untold.get(kind, (0, {}))
        self._untold[kind] = (count + 1, fields)
        self.tell()

    def count(self, event: str) -> None:
        """Count the event, which is told in another way."""
        self.counts[event] = self.counts.get(event, 0) + 1

    def tell(self) -> None:
        """Log what was counted and whose period is over; to be called now and then, for the last of a row."""
        now = self._clock()
        for kind in [kind for kind in self._untold if now - self._told.get(kind, -inf) >= self._period_s]:
            count, fields = self._untold.pop(kind)
            self._log.warning(kind[0], count=count, **fields)
            self._told[kind] = now
        if len(self._told) >= _MOST_KINDS:
            self._told = {kind: told for kind, told in self._told.items() if now - told < self._period_s}
