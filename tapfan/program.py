"""What starting a program has in common: its arguments, its configuration and its exit codes."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tapfan.settings import Settings, SettingsError, load

EXIT_FAILED = 1  # something that may be better at the next start: a port in use, a right missing
EXIT_USAGE = 2  # the configuration or the arguments must be changed first


class CannotRunError(Exception):
    """Raised when a program cannot start or go on though its configuration is valid; its text says what to do."""


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
