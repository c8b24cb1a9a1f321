"""`tapfan check` itself."""

import typer

from tapfan.cli import checks, tables
from tapfan.cli.asking import show
from tapfan.cli.invocation import Config, Json, fail, printable, settings_of
from tapfan.program import EXIT_FAILED

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog="Exit codes: 0 it can run, 1 something on this host is missing, 2 the configuration is bad.")
def check(config: Config = None, as_json: Json = False) -> None:
    """Check the configuration and this host, and say what would run."""
    result = checks.check(settings_of(config))
    show(result, as_json, tables.check)
    if result["problems"]:
        fail(printable("; ".join(result["problems"])), EXIT_FAILED)
