"""The `tapfan` command: `tapfan status`, `weights`, `ttl` and `check`, and those of `tapfan.cli.reading`."""

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tapfan.cli import checks, reading, tables
from tapfan.cli.arguments import weight_vector
from tapfan.cli.invocation import Config, Json, fail, printable, settings_of
from tapfan.control import ControlClient, ControlError, ControlTimeoutError
from tapfan.program import EXIT_FAILED, EXIT_USAGE

EXIT_CODES = "Exit codes: 0 done, 1 no answer from the router, 2 a bad argument, value or configuration."

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tapfan {metadata.version('tapfan')}")
        raise typer.Exit


@app.callback(epilog="Exit codes: 0 done, 1 failed, 2 a bad argument or configuration; see COMMAND --help.")
def tapfan(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Watch and steer tapfan, which keeps who talked to a TCP service in the last minutes in Redis."""


@app.command(epilog=EXIT_CODES)
def status(config: Config = None, as_json: Json = False) -> None:
    """Show writers, listeners, and the ledger of what was captured and stored."""
    result = _ask(config, lambda client: client.status())
    _print(result, as_json, tables.status)


@app.command(epilog=EXIT_CODES)
def weights(
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=WEIGHT]...", help="New weights, such as a=30 b=70.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the weights, or set those given: all at once or, when one is refused, none."""
    try:
        vector = weight_vector(changes) if changes else None
    except ValueError as error:
        fail(str(error), EXIT_USAGE)
    result = _ask(config, lambda client: client.weights(vector))
    _print(result, as_json, tables.weights)


@app.command(epilog=EXIT_CODES)
def ttl(
    duration: Annotated[str | None, typer.Argument(metavar="[DURATION]", help="The new one, such as 10m.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show how long a record lives, from its capture on, or set it for the records to come."""
    result = _ask(config, lambda client: client.ttl(duration))
    _print(result, as_json, tables.ttl)


@app.command(epilog="Exit codes: 0 it can run, 1 something on this host is missing, 2 the configuration is bad.")
def check(config: Config = None, as_json: Json = False) -> None:
    """Check the configuration and this host, and say what would run."""
    result = checks.check(settings_of(config))
    _print(result, as_json, tables.check)
    if result["problems"]:
        fail(printable("; ".join(result["problems"])), EXIT_FAILED)


app.command(epilog=reading.EXIT_CODES)(reading.query)
app.command(epilog=reading.EXIT_CODES)(reading.top)
app.command(epilog=reading.ENDLESS_EXIT_CODES)(reading.follow)


def _ask(config: Path | None, ask: Callable[[ControlClient], dict[str, Any]]) -> dict[str, Any]:
    settings = settings_of(config)
    try:
        with ControlClient(settings.endpoint("control"), settings.control.timeout) as client:
            return ask(client)
    except ControlTimeoutError as error:
        fail(str(error), EXIT_FAILED)
    except ControlError as error:
        fail(error.message, EXIT_FAILED if error.code == "internal" else EXIT_USAGE)


def _print(result: dict[str, Any], as_json: bool, render: Callable[[dict[str, Any], Console], None]) -> None:
    if as_json:
        print(json.dumps(result))  # noqa: T201 (the command's output)
    else:
        # What is in brackets or between colons is part of an address, not rich's markup.
        render(result, Console(markup=False, emoji=False, highlight=False))


def main() -> None:
    """Run the command."""
    app(prog_name="tapfan")


if __name__ == "__main__":
    main()
