"""What the tests of `tapfan` share: a configuration file of their own, whatever the environment says."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

WRITERS = """
[[writers]]
name = "a"
redis = "redis://127.0.0.1:7101/0"
weight = 30

[[writers]]
name = "b"
redis = "redis://127.0.0.1:7102/0"
weight = 70
"""

Configure = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.startswith("TAPFAN_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Writes a configuration file and gives its path."""

    def write(text: str) -> Path:
        file = tmp_path / "tapfan.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write
