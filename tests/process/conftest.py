"""What the process-level tests share."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.namespace import Namespace, namespace
from tests.process.running import Programs

MakePrograms = Callable[..., Programs]
StartPrograms = Callable[..., Programs]


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[MakePrograms]:
    """Makes programs with the given options (of `Programs`), not yet started, and ends them after the test."""
    made: list[Programs] = []

    def make(**options: Any) -> Programs:
        made.append(Programs(tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def space() -> Iterator[Namespace]:
    """A network namespace; skips where there may be none."""
    if os.geteuid() != 0:
        pytest.skip("a network namespace needs root")
    if shutil.which("ip") is None:
        pytest.skip("a network namespace needs the command `ip`, of the package iproute2")
    with namespace() as made:
        yield made


@pytest.fixture
def start(programs: MakePrograms) -> StartPrograms:
    """Starts all programs with the given options (of `Programs`), and waits until they are ready."""

    def start_programs(**options: Any) -> Programs:
        started = programs(**options)
        started.start()
        started.wait_ready()
        return started

    return start_programs
