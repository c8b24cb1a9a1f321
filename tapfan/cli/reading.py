"""The commands that read what is stored: `tapfan query`, `tapfan top`, `tapfan follow`."""

import select
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import typer

from tapfan.batch import Records
from tapfan.cli import filters, options, output, ranking, watching
from tapfan.cli.filters import Filters
from tapfan.cli.invocation import (
    Config,
    Json,
    OutputClosedError,
    asked_to_stop,
    ctrl_c_kills,
    fail,
    printable,
    settings_of,
    usage,
    warn,
    write,
)
from tapfan.cli.lacking import lacking, skipped
from tapfan.cli.moments import Window
from tapfan.program import EXIT_FAILED
from tapfan.reader import Query, Reader, ReaderError
from tapfan.settings import Settings

EXIT_PARTIAL = 3
_EXIT_CODES = (
    "Exit codes: 0 done, 1 failed (no Redis answers), 2 a bad argument or configuration, "
    "3 done in part: not every Redis answers."
)
_ENDLESS_EXIT_CODES = "Exit codes: 0 ended by Ctrl-C, 1 failed (no Redis answers), 2 a bad argument or configuration."

_POLL_S = 0.2  # how long Ctrl-C, or that nobody reads the output any more, may go unnoticed

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog=_EXIT_CODES)
def query(
    *,
    last: options.Last = None,
    since: options.Since = None,
    until: options.Until = None,
    source: options.Sources = None,
    destination: options.Destinations = None,
    port: options.Port = None,
    flags: options.Flags = None,
    limit: options.Limit = None,
    form: options.Form = None,
    config: Config = None,
) -> None:
    """Show the records in time order: all that are kept, or those of a time.

    The time is --last, or --since and --until; of those, the ones to which all other options apply.
    """
    settings = settings_of(config)
    with usage():
        chosen = Filters.read(source, destination, port, flags)
        bounds = Window(last, since, until).bounds(time.time_ns())
        most = filters.count("--limit", limit)
        text = output.writer(_form(form))
    with ctrl_c_kills(), _reader(settings) as reader:
        with suppress(OutputClosedError), closing(reader.batches(chosen.query(*bounds), most)) as stored:
            has_any = False
            for records in stored:
                write(text(records))
                has_any = True
            if not has_any:
                write(text(Records.empty()))
        _end(reader)


@app.command(epilog=_EXIT_CODES)
def top(
    *,
    by: options.By = "source",
    last: options.Last = None,
    since: options.Since = None,
    until: options.Until = None,
    number: options.Number = "20",
    watch: options.Watch = False,
    source: options.Sources = None,
    destination: options.Destinations = None,
    port: options.Port = None,
    flags: options.Flags = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show who had most packets, of all that are kept or in a time.

    The time is --last, or --since and --until; of those, the packets to which all other options apply.
    """
    settings = settings_of(config)
    with usage():
        chosen = Filters.read(source, destination, port, flags)
        window = Window(last, since, until)
        window.bounds(time.time_ns())
        most = filters.count("-n", number) or 0
        kind = filters.choice("--by", by, ranking.BY)
        if watch and as_json:
            raise ValueError("--watch: shows tables; leave out --json, or call it again and again")

    def asked() -> Query:
        return chosen.query(*window.bounds_later(time.time_ns()))

    if watch:
        with _reader(settings) as reader, suppress(OutputClosedError):
            watching.watch(reader, asked, kind, most, str(window))
        return
    with ctrl_c_kills(), _reader(settings) as reader:
        with suppress(OutputClosedError):
            found = reader.top(asked(), kind, most)
            if as_json:
                shown = [ranking.as_json(found, kind, reader.problems, reader.skipped)]
            else:
                shown = [*ranking.rows(found, kind), ranking.summary(found, kind, str(window))]
            write("".join(f"{line}\n" for line in shown))
        _end(reader)


@app.command(epilog=_ENDLESS_EXIT_CODES)
def follow(
    *,
    source: options.Sources = None,
    destination: options.Destinations = None,
    port: options.Port = None,
    flags: options.Flags = None,
    form: options.Form = None,
    config: Config = None,
) -> None:
    """Show records as they are stored, until Ctrl-C."""
    settings = settings_of(config)
    with usage():
        chosen = Filters.read(source, destination, port, flags)
        text = output.writer(_form(form))
    with asked_to_stop() as stop, _reader(settings) as reader:
        with suppress(OutputClosedError), closing(reader.follow(chosen.query(), lambda: bool(stop), _POLL_S)) as stored:
            known: set[str] = set()
            for records in stored:
                write(text(records))
                known = _tell_changes(known, reader)
                if _is_closed():
                    break
        for line in skipped(reader):
            warn(line)


def _tell_changes(known: set[str], reader: Reader) -> set[str]:
    """Warn once of each Redis that does not answer, and say when all do again; gives those that do not."""
    failed = reader.failed
    for title, problem in failed.items():
        if title not in known:
            warn(printable(problem))
    if known and not failed:
        typer.echo("tapfan: every Redis answers again", err=True)
    return set(failed)


def _is_closed() -> bool:
    """Whether whoever read the output has gone, which a write would tell with the next record only."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _form(given: str | None) -> output.Form:
    if given is None:
        return "table" if sys.stdout.isatty() else "json"
    return filters.choice("--format", given, output.FORMS)


@contextmanager
def _reader(settings: Settings) -> Iterator[Reader]:
    """A reader of all that is configured; without any Redis, the command ends."""
    try:
        with Reader(settings) as reader:
            yield reader
    except ReaderError as error:
        fail(printable(str(error)), EXIT_FAILED)


def _end(reader: Reader) -> None:
    """Say what the answer lacks, and end the command."""
    for problem in lacking(reader):
        warn(problem)
    raise typer.Exit(EXIT_PARTIAL if reader.problems else 0)
