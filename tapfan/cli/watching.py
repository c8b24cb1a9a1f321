"""`tapfan top --watch`: the ranking anew every few seconds, until Ctrl-C."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from rich.live import Live
from rich.text import Text

from tapfan.cli import ranking
from tapfan.cli.consoles import PERIOD_S, console, has_screen, write_block
from tapfan.cli.invocation import handling, printable, write
from tapfan.cli.lacking import lacking
from tapfan.reader import By, Query, Reader, ReaderError


def watch(reader: Reader, query: Callable[[], Query], by: By, most: int, window: str) -> None:
    """Show the ranking until Ctrl-C or SIGTERM: on a screen of its own, or below each other where there is none.

    `query`: the query as of now. Raises ReaderError when no Redis answers at the first time; later ones are shown.
    """
    shown = console()
    lines: list[str] = []
    with suppress(KeyboardInterrupt), handling(signal.SIGTERM, signal.default_int_handler):
        if has_screen(shown):
            with Live(console=shown, screen=True, auto_refresh=False) as live:
                for lines in _screens(reader, query, by, most, window):
                    live.update(Text("\n".join(lines), overflow="fold"), refresh=True)
        else:
            for screen in _screens(reader, query, by, most, window):
                write_block(screen)
    write("".join(f"{line}\n" for line in lines))  # what was on that screen, which is gone


def _screens(reader: Reader, query: Callable[[], Query], by: By, most: int, window: str) -> Iterator[list[str]]:
    """The lines to show, every PERIOD_S, and less often where reading takes long; the most important ones first."""
    has_begun = False
    while True:
        begun = time.monotonic()
        try:
            found = reader.top(query(), by, most)
        except ReaderError as error:
            if not has_begun:
                raise
            shown = [printable(str(error))]
        else:
            shown = [ranking.summary(found, by, window), *lacking(reader), "", *ranking.rows(found, by)]
        has_begun = True
        yield [time.strftime("%H:%M:%S"), *shown]
        took_s = time.monotonic() - begun
        time.sleep(max(PERIOD_S - took_s, took_s))
