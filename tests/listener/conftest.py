"""What the tests of the listener share."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.typing import EventDict

from tapfan.logs import Logger
from tests.listener.spooling import DISK_BYTES, Spools
from tests.listener.starts import Starts


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


@pytest.fixture
def spools(tmp_path: Path, log: Logger) -> Iterator[Spools]:
    """Spools on a file in a folder of its own."""
    made = Spools(tmp_path, log)
    yield made
    made.close()


@pytest.fixture
def starts(spools: Spools) -> Starts:
    """Starts of the listener's outbox on that file."""
    return Starts(spools)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that is all of a small disk."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small(disk: Path, log: Logger) -> Iterator[Spools]:
    """Spools on a small disk."""
    made = Spools(disk, log)
    yield made
    made.close()
