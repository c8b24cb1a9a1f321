"""The commands that steer: `tapfan weights`, `drain`, `maint`, `ready`, `ttl`, `history` and `undo`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tapfan.cli import change_options as options
from tapfan.cli import control_tables, draining
from tapfan.cli.arguments import WeightChange, weight_vector, without_effect
from tapfan.cli.asking import CHANGE_EXIT_CODES, EXIT_CODES, WAIT_EXIT_CODES, asking, change, show
from tapfan.cli.change_options import given, signed
from tapfan.cli.examples import epilog
from tapfan.cli.invocation import Config, Json, reach_of, remark, usage
from tapfan.cli.undoing import taken_back
from tapfan.control import ControlClient, ControlError, ControlTimeoutError

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Names = Annotated[list[str], typer.Argument(metavar="NAME", help="The writers, such as a b.", show_default=False)]


@app.command(epilog=epilog("weights", CHANGE_EXIT_CODES))
def weights(
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=WEIGHT",
            help="New weights: a=30; a=+10 and a=-10, more or less than now; a=50%, of the configured weight.",
        ),
    ] = None,
    *,
    over: options.Over = None,
    cancel: options.Cancel = False,
    if_version: options.IfVersion = None,
    by: options.By = None,
    reason: options.Reason = None,
    force: options.Force = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the weights, or set those given, all at once.

    When one of them is refused, none is set.
    """
    terms = given(by, reason, if_version, force=force)
    with usage():
        vector = weight_vector(changes or [])
        if cancel and (vector or over):
            raise ValueError("--cancel: ends the ramp where it is; set weights with another command")
        if not (vector or cancel) and (terms or over):
            raise ValueError("nothing to change: give weights, such as a=30, or --cancel")
        if over:
            terms["over"] = options.over_seconds(over)
    with asking(reach_of(config)) as client:
        if vector:
            _check_parts(client, vector)
            terms["weights"] = vector
        elif cancel:
            terms["cancel"] = True
        before = client.request("weights") if cancel or not terms else {}
        result = change(client, "weights", **signed(terms)) if terms else before
    show(result, as_json, control_tables.view)
    if cancel and result["version"] == before["version"]:
        remark("there was no ramp to cancel; nothing changed")


@app.command(epilog=epilog("drain", WAIT_EXIT_CODES))
def drain(
    names: Names,
    *,
    wait: options.Wait = False,
    timeout: options.Timeout = None,
    if_version: options.IfVersion = None,
    by: options.By = None,
    reason: options.Reason = None,
    force: options.Force = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give writers no new records; they store what they have.

    Their weights stay as they are, and hold again when they are ready.
    """
    terms = given(by, reason, if_version, force=force)
    _leave("drain", names, terms, wait=wait, timeout=timeout, config=config, as_json=as_json)


@app.command(epilog=epilog("maint", WAIT_EXIT_CODES))
def maint(
    names: Names,
    *,
    wait: options.Wait = False,
    timeout: options.Timeout = None,
    if_version: options.IfVersion = None,
    by: options.By = None,
    reason: options.Reason = None,
    force: options.Force = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give writers no new records: their process will be stopped.

    Or their Redis: once --wait returns, nothing is left that needs them.
    """
    terms = given(by, reason, if_version, force=force)
    _leave("maint", names, terms, wait=wait, timeout=timeout, config=config, as_json=as_json)


@app.command(epilog=epilog("ready", CHANGE_EXIT_CODES))
def ready(
    names: Names,
    *,
    if_version: options.IfVersion = None,
    by: options.By = None,
    reason: options.Reason = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give writers records again, by their weights."""
    with asking(reach_of(config)) as client:
        result = change(client, "state", states=dict.fromkeys(names, "ready"), **signed(given(by, reason, if_version)))
    show(result, as_json, control_tables.view)


@app.command(epilog=epilog("ttl", CHANGE_EXIT_CODES))
def ttl(
    duration: Annotated[str | None, typer.Argument(metavar="DURATION", help="The new one, such as 10m.")] = None,
    *,
    if_version: options.IfVersion = None,
    by: options.By = None,
    reason: options.Reason = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show how long a record lives, or set it.

    It lives so long from its capture on; what is set holds for the records to come.
    """
    terms = given(by, reason, if_version)
    with usage():
        if duration is None and terms:
            raise ValueError("nothing to change: give a duration, such as 10m")
    with asking(reach_of(config)) as client:
        result = client.request("ttl") if duration is None else change(client, "ttl", ttl=duration, **signed(terms))
    show(result, as_json, control_tables.ttl)


@app.command(epilog=epilog("history", EXIT_CODES))
def history(
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=500, help="The newest N changes.")] = 20,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show who changed what, when and why.

    Automatic changes, too; the newest first.
    """
    with asking(reach_of(config)) as client:
        result = client.request("history", limit=limit)
    show(result, as_json, control_tables.history)


@app.command(epilog=epilog("undo", CHANGE_EXIT_CODES))
def undo(
    version: Annotated[
        int | None,
        typer.Argument(metavar="VERSION", min=1, help="Have all as it was then (default: before the last change)."),
    ] = None,
    *,
    if_version: options.IfVersion = None,
    by: options.By = None,
    reason: options.Reason = None,
    force: options.Force = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Take back the last change, or all since a version.

    With VERSION, weights, states and the TTL become what they were then.

    It says whose changes these were. An undo is a change, too, with a version of its own: a second one takes it back.
    """
    terms = signed(given(by, reason, if_version, force=force) | ({} if version is None else {"version": version}))
    with asking(reach_of(config)) as client:
        since = 0 if version is None else client.history(limit=1)["version"]
        result = change(client, "undo", **terms)
        undone = _taken_back(client, terms, since)
    show(result | {"undone": undone}, as_json, control_tables.undo)
    if result["version"] == since:
        remark(f"nothing was taken back: all is as it was in version {version}")


def _leave(
    state: str,
    names: list[str],
    terms: dict[str, Any],
    *,
    wait: bool,
    timeout: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Have writers in a state in which they get no new records, and wait for what they have."""
    with usage():
        timeout_s = None if timeout is None else options.duration_seconds("--timeout", timeout)
        if timeout and not wait:
            raise ValueError("--timeout: goes with --wait")
    with asking(reach_of(config)) as client:
        result = change(client, "state", states=dict.fromkeys(names, state), **signed(terms))
        show(result, as_json, control_tables.view)
        if wait:
            draining.wait(client, names, timeout_s)


def _taken_back(client: ControlClient, asked: dict[str, Any], since: int) -> list[Mapping[str, Any]]:
    """The entries of the changes that an undo took back; none where the router, which has made it, does not tell."""
    try:
        return taken_back(client.history()["entries"], asked, since)
    except (ControlError, ControlTimeoutError):
        return []


def _check_parts(client: ControlClient, vector: dict[str, WeightChange]) -> None:
    """A part of a configured weight of 0 is 0 whatever it says, and not meant; that ends the command."""
    if any(isinstance(value, str) and value.endswith("%") for value in vector.values()):
        name = without_effect(vector, client.request("weights")["configured"])
        with usage():
            if name is not None:
                raise ValueError(f"{name}={vector[name]}: its configured weight is 0; give a number, such as {name}=10")
