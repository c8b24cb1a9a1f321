"""The `tapfan` command: `tapfan status` and `check`, and those of the modules that are registered here."""

from importlib import metadata
from typing import Annotated

import typer

from tapfan.cli import checks, keys, membership, reading, steering, tables
from tapfan.cli.asking import CHANGE_EXIT_CODES, EXIT_CODES, WAIT_EXIT_CODES, asking, show
from tapfan.cli.examples import epilog
from tapfan.cli.invocation import Config, Json, fail, printable, settings_of
from tapfan.cli.watch import command as watch_command
from tapfan.program import EXIT_FAILED

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


@app.command(epilog=epilog("status", EXIT_CODES))
def status(config: Config = None, as_json: Json = False) -> None:
    """Show writers, listeners, and the ledger of what was captured and stored."""
    with asking(config) as client:
        result = client.status()
    show(result, as_json, tables.status)


app.command(epilog=watch_command.EXIT_CODES)(watch_command.watch)
app.command(epilog=epilog("weights", CHANGE_EXIT_CODES))(steering.weights)
app.command(epilog=epilog("drain", WAIT_EXIT_CODES))(steering.drain)
app.command(epilog=epilog("maint", WAIT_EXIT_CODES))(steering.maint)
app.command(epilog=epilog("ready", CHANGE_EXIT_CODES))(steering.ready)
app.command(epilog=epilog("ttl", CHANGE_EXIT_CODES))(steering.ttl)
app.command(epilog=epilog("undo", CHANGE_EXIT_CODES))(steering.undo)
app.command(epilog=epilog("history", EXIT_CODES))(steering.history)
app.command(epilog=membership.ADD_EPILOG)(membership.add)
app.command(epilog=membership.REMOVE_EPILOG)(membership.remove)
app.command(epilog=reading.EXIT_CODES)(reading.query)
app.command(epilog=reading.EXIT_CODES)(reading.top)
app.command(epilog=reading.ENDLESS_EXIT_CODES)(reading.follow)
app.add_typer(keys.app, name="keys")


@app.command(epilog="Exit codes: 0 it can run, 1 something on this host is missing, 2 the configuration is bad.")
def check(config: Config = None, as_json: Json = False) -> None:
    """Check the configuration and this host, and say what would run."""
    result = checks.check(settings_of(config))
    show(result, as_json, tables.check)
    if result["problems"]:
        fail(printable("; ".join(result["problems"])), EXIT_FAILED)


def main() -> None:
    """Run the command."""
    app(prog_name="tapfan")


if __name__ == "__main__":
    main()
