"""The options of the commands that read."""

from typing import Annotated

import typer

Last = Annotated[str | None, typer.Option(metavar="DURATION", help="Captured in the last 60s, 5m, 1h30m …")]
Since = Annotated[
    str | None,
    typer.Option(metavar="MOMENT", help="Captured then or later: 2026-11-26T14:03:05, 1795698185.25, or 5m (ago)."),
]
Until = Annotated[str | None, typer.Option(metavar="MOMENT", help="Captured before then.")]
Sources = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="CIDR", help="From this address or network; of several, from any of them."),
]
Destinations = Annotated[
    list[str] | None,
    typer.Option("--destination", metavar="CIDR", help="To this address or network; of several, to any of them."),
]
Port = Annotated[str | None, typer.Option(metavar="PORT", help="From or to this port.")]
Flags = Annotated[
    str | None, typer.Option(metavar="LETTERS", help="With all these TCP flags, of FSRPAUEC: SA is SYN and ACK.")
]
Limit = Annotated[str | None, typer.Option(metavar="N", help="Only the newest N, in time order.")]
Form = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="table|json|csv", help="Default: a table on a terminal, JSON lines for a file or pipe."
    ),
]
By = Annotated[
    str, typer.Option(metavar="WHAT", help="What to count by: source, destination, pair, or the destination's port.")
]
Number = Annotated[str, typer.Option("-n", metavar="N", help="How many to show.")]
Watch = Annotated[bool, typer.Option("--watch", help="Show it anew every 2 s, until Ctrl-C.")]
