"""A capture file through the whole pipeline, from its first packet to where all of its records are stored."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from listener.files.links import SUPPORTED
from listener.files.opening import CaptureFile
from listener.reading import FileSource
from listener.service import serve
from tapfan.logs import Logger
from tapfan.program import CannotRunError
from tapfan.settings import Settings
from tapfan.stopping import Stop

NAME = "file"  # of the listener that reads one, beside those that capture


def replay(settings: Settings, log: Logger, stop: Stop, file: CaptureFile, rebase: bool) -> None:
    """Read the file to its end, or until asked to stop. Raises CannotRunError, also when the end cannot be read."""
    begun_s = time.monotonic()
    with _progress() as show:
        source = FileSource(file, settings, rebase, log, show)
        serve(settings, log, stop, lambda *_: (source, None))
    seconds = time.monotonic() - begun_s
    counts = source.counts()
    records = counts.seen - sum(counts.skipped.values())
    log.info(
        "file_read" if source.has_ended else "stopped_before_the_end_of_the_file",
        packets=counts.seen,
        records=records,
        **{f"skipped_{reason}": count for reason, count in counts.skipped.items()},
        seconds=round(seconds, 1),
        records_per_s=round(records / seconds),
    )
    if stop:
        raise CannotRunError(
            "stopped before all was stored; what waits in the spool goes first at the next `python -m listener --read`"
        )
    if source.problem:
        raise CannotRunError(f"{source.problem}; what is before that was read")
    if counts.seen and counts.skipped.get("link_type") == counts.seen:
        raise CannotRunError(f"{file.name}: of no packet is the link type supported: {SUPPORTED}")


@contextmanager
def _progress() -> Iterator[Callable[[FileSource], None]]:
    """Gives what shows, on a terminal, how far a file has been read."""
    columns = BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.fields[packets]:,} packets")
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None, packets=0)
        yield lambda source: progress.update(
            task, total=source.size, completed=source.position, packets=source.counts().seen
        )
