"""What the process-level tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.running import Programs

StartPrograms = Callable[..., Programs]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartPrograms]:
    """Starts all programs with the given options (of `Programs`), and ends them after the test."""
    running: list[Programs] = []

    def start_programs(**options: Any) -> Programs:
        programs = Programs(tmp_path, **options)
        running.append(programs)
        programs.start()
        programs.wait_ready()
        return programs

    yield start_programs
    for programs in running:
        programs.close()
