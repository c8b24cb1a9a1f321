"""What starting a program has in common: its arguments, its configuration, its log and its exit codes."""

import argparse
import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tapfan.logs import Logger, open_log
from tapfan.settings import Settings, SettingsError, load
from tapfan.stopping import Stop, stop_on_signals

EXIT_FAILED = 1  # something that may be better at the next start: a port in use, a right missing
EXIT_USAGE = 2  # the configuration or the arguments must be changed first

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 32 * 2**20

Service = Callable[[Settings, Logger, Stop], None]


class CannotRunError(Exception):
    """Raised when a program cannot start or go on though its configuration is valid; its text says what to do."""


def run(name: str, service: Service, settings: Settings) -> int:
    """Run the service until it ends or a signal stops it; gives the exit code."""
    log = open_log(name)
    _keep_freed_memory()
    gc.freeze()  # what was made by importing stays: not to be looked through again and again
    with stop_on_signals() as stop:
        try:
            service(settings, log, stop)
        except CannotRunError as error:
            log.error("cannot_run", problem=str(error))
            return EXIT_FAILED
    log.info("stopped")
    return 0


def _keep_freed_memory() -> None:
    """Let glibc keep up to _KEPT_BYTES that was freed: every batch would else get new pages from the kernel."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def arguments(
    program: str, description: str, options: Callable[[argparse.ArgumentParser], None] | None = None, **positional: str
) -> tuple[Settings, argparse.Namespace]:
    """Parse `--config`, the options and the positional arguments, and load the settings.

    `options` adds some to the parser. Ends the process when something is bad.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}", description=description, epilog="exit codes: 0 stopped, 1 failed, 2 bad usage"
    )
    parser.add_argument("--config", type=Path, help="the configuration file (default: $TAPFAN_CONFIG, tapfan.toml)")
    for name, meaning in positional.items():
        parser.add_argument(name, help=meaning)
    if options:
        options(parser)
    chosen = parser.parse_args()
    try:
        return load(chosen.config), chosen
    except SettingsError as error:
        bad_usage(program, error)


def bad_usage(program: str, error: Exception) -> NoReturn:
    """End the process with the error and the exit code for bad usage."""
    _end(program, error, EXIT_USAGE)


def cannot_run(program: str, error: CannotRunError) -> NoReturn:
    """End a process that has no log with the error and the exit code for what may be better at the next start."""
    _end(program, error, EXIT_FAILED)


def _end(program: str, error: Exception, code: int) -> NoReturn:
    print(f"{program}: {error}", file=sys.stderr)  # noqa: T201 (there is no log before there is a configuration)
    sys.exit(code)
