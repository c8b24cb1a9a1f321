"""What the tests of the listener share."""

import pytest
import structlog
from structlog.typing import EventDict

from tapfan.logs import Logger


@pytest.fixture
def events() -> list[EventDict]:
    """What `log` was told."""
    return []


@pytest.fixture
def log(events: list[EventDict]) -> Logger:
    """A log that is kept in `events`."""
    capture = structlog.testing.LogCapture()
    capture.entries = events
    logger: Logger = structlog.wrap_logger(None, [capture], structlog.make_filtering_bound_logger(0))
    return logger
