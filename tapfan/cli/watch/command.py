"""`tapfan watch` itself."""

import os
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Annotated

import typer

from tapfan.cli.change_options import By, login_name
from tapfan.cli.consoles import PERIOD_S, console, has_keyboard, has_screen, write_block
from tapfan.cli.invocation import Config, OutputClosedError, fail, reach_of
from tapfan.cli.watch import layout, signals
from tapfan.cli.watch.asker import Asker
from tapfan.cli.watch.events import Events
from tapfan.cli.watch.loop import Loop
from tapfan.cli.watch.picture import Picture
from tapfan.cli.watch.state import State
from tapfan.cli.watch.terminal import Terminal, TerminalGoneError
from tapfan.control import MAX_BY, ControlClient
from tapfan.keys import of_control
from tapfan.program import EXIT_USAGE, CannotRunError

_EXIT_CODES = "Exit codes: 0 it was quit, 2 a bad argument or configuration. A router that is away is waited for."
_WIDE = 160  # columns, of an output that is no terminal
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")  # what Python itself sets as LC_CTYPE where the locale is C (PEP 538)

ReadOnly = Annotated[bool, typer.Option("--read-only", help="Without the keys that change something.")]

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog=_EXIT_CODES)
def watch(read_only: ReadOnly = False, by: By = None, config: Config = None) -> None:
    """Show writers, listeners and events live, with keys that change weights and states; ? shows these.

    Without a terminal, or with TERM=dumb, it prints all of it every 2 s.
    """
    reach = reach_of(config)
    try:
        key = of_control(reach)
        events = Events(reach.endpoint("events"), key)
        client = ControlClient.of(reach)
    except CannotRunError as error:
        fail(str(error), EXIT_USAGE)
    picture = Picture(ascii_only=not (has_utf8(os.environ) and _is_utf8(sys.stdout.encoding)))
    may_change = not read_only and (key is None or key.role != "read")
    state = State(by=(by or login_name())[:MAX_BY], read_only=not may_change)
    with closing(events), suppress(KeyboardInterrupt, OutputClosedError), signals.caught() as caught:
        _run(Loop(events, Asker(client, caught.writable), caught, picture, state), picture, state)


def _run(loop: Loop, picture: Picture, state: State) -> None:
    shown = console()
    if has_screen(shown) and has_keyboard():
        keyboard, output = sys.stdin.fileno(), sys.stdout.fileno()
        with suppress(TerminalGoneError), Terminal(keyboard, output, shown) as terminal:
            loop.run(terminal)
        return
    width = shown.width if shown.is_terminal else _WIDE

    def show(now_s: float) -> None:
        write_block(line.plain.rstrip() for line in layout.block(picture, state, width, now_s))

    loop.run_plain(show, PERIOD_S)


def has_utf8(environment: Mapping[str, str]) -> bool:
    """Whether the locale, and not only Python, says that the terminal shows UTF-8."""
    if environment.get("LC_ALL"):
        return _is_utf8(environment["LC_ALL"])
    kind, language = environment.get("LC_CTYPE", ""), environment.get("LANG", "")
    return _is_utf8(language if kind in ("", *_COERCED) else kind)


def _is_utf8(locale: str) -> bool:
    return locale.lower().replace("-", "").endswith("utf8")
