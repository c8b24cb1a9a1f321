"""What the tests of the router share."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Where state is kept; nothing half written may be left beside it."""
    kept = tmp_path / "state.json"
    yield kept
    assert not kept.with_suffix(".new").is_file()
