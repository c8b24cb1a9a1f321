"""A capture file through the whole pipeline, from its first packet to where all of its records are stored."""

import sys
import time
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

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
    progress = _progress()
    source = FileSource(
        file, settings, rebase, log, partial(_show, progress, progress.add_task("", total=None, packets=0))
    )
    try:
        with progress:
            serve(settings, log, stop, lambda *_: (source, None))
    finally:
        _tell(source, log, time.monotonic() - begun_s)
    counts = source.counts()
    if source.problem:
        raise CannotRunError(f"{source.problem}; what is before that was read")
    if counts.seen and counts.skipped.get("link_type") == counts.seen:
        raise CannotRunError(f"{file.name}: of no packet is the link type supported: {SUPPORTED}")


def _tell(source: FileSource, log: Logger, seconds: float) -> None:
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


def _progress() -> Progress:
    """What shows, on a terminal, how far a file has been read."""
    columns = BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TextColumn("{task.fields[packets]:,} packets")
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _show(progress: Progress, task: TaskID, source: FileSource) -> None:
    progress.update(task, total=source.size, completed=source.position, packets=source.counts().seen)
