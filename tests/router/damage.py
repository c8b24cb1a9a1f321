"""Files of the run directory that are damaged, or something else, and what becomes of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from structlog.testing import capture_logs

FOREIGN = (b"", b"\0" * 4096, b"{", b"\xff\xfe", b"[]", b"null", b'{"name": "of something else"}')
_LONGEST_PROBLEM = 300


@contextmanager
def set_aside(path: Path, content: bytes, event: str) -> Iterator[None]:
    """In the block, the file with this content is set aside, beside an earlier one, which is told as the event."""
    path.write_bytes(content)
    earlier, aside = path.with_suffix(".damaged"), path.with_suffix(".damaged.1")
    earlier.write_text("an earlier one")
    with capture_logs() as lines:
        yield
    (line,) = lines
    assert (line["event"], line["log_level"], line["moved_to"]) == (event, "error", str(aside))
    assert 0 < len(line["problem"]) < _LONGEST_PROBLEM
    assert (earlier.read_text(), aside.read_bytes(), path.exists()) == ("an earlier one", content, False)
