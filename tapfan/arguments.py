"""What starting a program has in common: its arguments and its configuration."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tapfan.program import bad_usage
from tapfan.settings import Settings, SettingsError, load

_SUPERVISED = "SUPERVISOR_ENABLED"  # which supervisord sets for what it starts
_LOOK_S = 1.0


def arguments(
    program: str, description: str, options: Callable[[argparse.ArgumentParser], None] | None = None, **positional: str
) -> tuple[Settings, argparse.Namespace]:
    """Parse `--config`, the options and the positional arguments, and load the settings.

    `options` adds some to the parser. Ends the process when something is bad; but under supervisord, which would give
    up one that dies while its configuration is being edited, it waits until that is valid.
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
    if _is_supervised():
        return _valid(program, chosen.config), chosen
    try:
        return load(chosen.config), chosen
    except SettingsError as error:
        bad_usage(program, error)


def _is_supervised() -> bool:
    """Whether supervisord has started this: the leader of a group, as each of its programs is, without a terminal.

    The variable alone says little: what is run below such a program inherits it.
    """
    return _SUPERVISED in os.environ and os.getpgrp() == os.getpid() and not sys.stdin.isatty()


def _valid(program: str, config: Path | None) -> Settings:
    """The settings as soon as they are valid; each problem on the way is told once."""
    told = ""
    while True:
        try:
            return load(config)
        except SettingsError as error:
            if str(error) != told:
                # Importing it takes longer than all the rest, and it hardly ever has a use here.
                from tapfan.logs import open_log  # noqa: PLC0415

                told = str(error)
                open_log(program).error("bad_configuration", problem=told, then="starts when it is mended")
        time.sleep(_LOOK_S)
