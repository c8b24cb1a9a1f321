"""`tapfan status`."""

import typer

from tapfan.cli import tables
from tapfan.cli.asking import EXIT_CODES, asking, show
from tapfan.cli.examples import epilog
from tapfan.cli.invocation import Config, Json, reach_of

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(epilog=epilog("status", EXIT_CODES))
def status(config: Config = None, as_json: Json = False) -> None:
    """Show writers, listeners, and the ledger of what was captured and stored."""
    with asking(reach_of(config)) as client:
        result = client.status()
    show(result, as_json, tables.status)
