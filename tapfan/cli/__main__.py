"""The `tapfan` command: what is said before the name of one of its commands."""

from importlib import metadata
from typing import Annotated

import typer

from tapfan.cli.commands import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


def main() -> None:
    """Run the command."""
    app(prog_name="tapfan")


if __name__ == "__main__":
    main()
