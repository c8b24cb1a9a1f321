"""The commands that read what is stored: `tapfan query`, `tapfan top`, `tapfan follow`."""

import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tapfan.batch import Records
from tapfan.cli import filters, output, ranking, watching
from tapfan.cli.invocation import Config, Json, OutputClosedError, fail, settings_of, warn, write
from tapfan.cli.moments import Window
from tapfan.program import EXIT_FAILED, EXIT_USAGE
from tapfan.reader import By, Query, Reader, ReaderError
from tapfan.settings import Settings
from tapfan.stopping import stop_on_signals

EXIT_PARTIAL = 3
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_CODES = (
    "Exit codes: 0 done, 1 no Redis answers, 2 a bad argument or configuration, "
    "3 done in part: not every Redis answers."
)
ENDLESS_EXIT_CODES = "Exit codes: 0 ended by Ctrl-C, 1 no Redis answers, 2 a bad argument or configuration."

Last = Annotated[str | None, typer.Option(metavar="DURATION", help="Captured in the last 60s, 5m, 1h30m …")]
Since = Annotated[
    str | None,
    typer.Option(metavar="MOMENT", help="Captured then or later: 2026-11-26T14:03:05, 1795698185.25, or 5m (ago)."),
]
Until = Annotated[str | None, typer.Option(metavar="MOMENT", help="Captured before then.")]
Sources = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="CIDR", help="From this address or network; of several, from any of them."),
]
Destinations = Annotated[
    list[str] | None,
    typer.Option("--destination", metavar="CIDR", help="To this address or network; of several, to any of them."),
]
Port = Annotated[str | None, typer.Option(metavar="PORT", help="From or to this port.")]
Flags = Annotated[
    str | None, typer.Option(metavar="LETTERS", help="With all these TCP flags, of FSRPAUEC: SA is SYN and ACK.")
]
Limit = Annotated[str | None, typer.Option(metavar="N", help="Only the first N, in time order.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="table|json|csv", help="Default: a table on a terminal, JSON lines for a file or pipe."
    ),
]


@dataclass(frozen=True)
class _Filters:
    """The options that choose records, apart from when they were captured."""

    sources: tuple[filters.Network, ...]
    destinations: tuple[filters.Network, ...]
    port: int | None
    flags: int

    @classmethod
    def read(
        cls, source: list[str] | None, destination: list[str] | None, port: str | None, flags: str | None
    ) -> "_Filters":
        """Raises ValueError, naming the option that is bad and what is valid."""
        return cls(
            filters.networks("--source", source),
            filters.networks("--destination", destination),
            filters.port(port),
            filters.flags(flags),
        )

    def query(self, since_ns: int | None = None, until_ns: int | None = None) -> Query:
        return Query(since_ns, until_ns, self.sources, self.destinations, self.port, self.flags)


def query(
    last: Last = None,
    since: Since = None,
    until: Until = None,
    source: Sources = None,
    destination: Destinations = None,
    port: Port = None,
    flags: Flags = None,
    limit: Limit = None,
    form: Format = None,
    config: Config = None,
) -> None:
    """Show the records stored, in time order: those of the last `ttl`, unless told otherwise."""
    settings = settings_of(config)
    with _usage():
        chosen = _Filters.read(source, destination, port, flags)
        bounds = Window(settings.ttl, last, since, until).bounds(time.time_ns())
        most = filters.count("--limit", limit)
        text = output.writer(_form(form))
    with _reader(settings) as reader:
        try:
            shown = 0
            for records in reader.batches(chosen.query(*bounds)):
                part = records if most is None else records[: most - shown]
                write(text(part))
                shown += len(part)
                if shown == most:
                    break
            if not shown:
                write(text(Records.empty()))
        except OutputClosedError:
            pass
        _end(reader)


def top(
    by: Annotated[
        str, typer.Option(metavar="source|destination|pair|port", help="Whom to count; port: the destination's.")
    ] = "source",
    last: Last = None,
    since: Since = None,
    until: Until = None,
    number: Annotated[str, typer.Option("-n", metavar="N", help="How many to show.")] = "20",
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every 2 s, until Ctrl-C.")] = False,
    source: Sources = None,
    destination: Destinations = None,
    port: Port = None,
    flags: Flags = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show who sent most packets: in the last `ttl`, unless told otherwise."""
    settings = settings_of(config)
    with _usage():
        chosen = _Filters.read(source, destination, port, flags)
        window = Window(settings.ttl, last, since, until)
        window.bounds(time.time_ns())
        most = filters.count("-n", number) or 0
        kind = filters.choice("--by", by, ranking.BY)
        if watch and as_json:
            raise ValueError("--watch: shows tables; without it, --json prints JSON")
    with _reader(settings) as reader:
        try:
            if watch:
                watching.watch(reader, lambda: chosen.query(*window.bounds(time.time_ns())), kind, most, str(window))
                return
            found = reader.top(chosen.query(*window.bounds(time.time_ns())), kind, most)
            if as_json:
                write(ranking.as_json(found, kind, reader.problems, reader.skipped) + "\n")
            else:
                write("\n".join((*ranking.table(found, kind, str(window)), "")))
        except OutputClosedError:
            pass
        _end(reader)


def follow(
    source: Sources = None,
    destination: Destinations = None,
    port: Port = None,
    flags: Flags = None,
    form: Format = None,
    config: Config = None,
) -> None:
    """Show records as they are stored, until Ctrl-C."""
    settings = settings_of(config)
    with _usage():
        chosen = _Filters.read(source, destination, port, flags)
        text = output.writer(_form(form))
    with stop_on_signals() as stop, _reader(settings) as reader:
        ...


def _form(given: str | None) -> output.Form:
    if given is None:
        return "table" if sys.stdout.isatty() else "json"
    return filters.choice("--format", given, output.FORMS)


@contextmanager
def _usage() -> Iterator[None]:
    """What ends the command when an option is bad."""
    try:
        yield
    except ValueError as error:
        fail(str(error), EXIT_USAGE)


@contextmanager
def _reader(settings: Settings) -> Iterator[Reader]:
    """A reader of all that is configured; without any Redis, the command ends."""
    try:
        with Reader(settings) as reader:
            yield reader
    except ReaderError as error:
        fail(str(error), EXIT_FAILED)
    except KeyboardInterrupt as error:
        raise typer.Exit(EXIT_INTERRUPTED) from error


def _end(reader: Reader) -> None:
    """Say what the answer lacks, and end the command."""
    for problem in reader.problems:
        warn(problem)
    if reader.skipped:
        total = sum(reader.skipped.values())
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in reader.skipped.items())
        warn(f"skipped {total:,} {'key that is' if total == 1 else 'keys that are'} not ours: {reasons}")
    raise typer.Exit(EXIT_PARTIAL if reader.problems else 0)
