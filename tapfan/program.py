"""How a program ends that cannot start: what it says, and its exit code."""

import sys
from typing import NoReturn

EXIT_FAILED = 1  # something that may be better at the next start: a port in use, a right missing
EXIT_USAGE = 2  # the arguments must be changed first, or the configuration, unless supervisord has started it


class CannotRunError(Exception):
    """Raised when a program cannot start or go on though its configuration is valid; its text says what to do."""


def bad_usage(program: str, error: Exception) -> NoReturn:
    """End the process with the error and the exit code for bad usage."""
    _end(program, error, EXIT_USAGE)


def cannot_run(program: str, error: CannotRunError) -> NoReturn:
    """End a process that has no log with the error and the exit code for what may be better at the next start."""
    _end(program, error, EXIT_FAILED)


def _end(program: str, error: Exception, code: int) -> NoReturn:
    print(f"{program}: {error}", file=sys.stderr)  # noqa: T201 (there is no log before there is a configuration)
    sys.exit(code)
