"""What the commands that steer show to people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from tapfan import durations
from tapfan.cli import entries
from tapfan.cli.invocation import printable
from tapfan.cli.showing import percent, plain_table, print_whole, say, weight_text

_MOST_UNDONE = 10  # changes that are told, of an undo of many


def view(result: Mapping[str, Any], console: Console) -> None:
    """The weights and states in force, beside the weights of the configuration."""
    shown = plain_table("writer", ">weight", ">share", ">configured", "state")
    for name, weight in result["weights"].items():
        share, configured = percent(result["shares"][name]), weight_text(result["configured"][name])
        shown.add_row(name, weight_text(weight), share, configured, result["states"][name])
    print_whole(shown, console)
    if result["ramp"]:
        say(ramp(result["ramp"]), console)
    console.print(f"version {result['version']}")


def ttl(result: Mapping[str, Any], console: Console) -> None:
    """The time to live in force, beside that of the configuration."""
    told = f"records live {durations.text(result['ttl'])}; configured: {durations.text(result['configured_ttl'])}"
    console.print(told)


def undo(result: Mapping[str, Any], console: Console) -> None:
    """Whose changes were taken back, and all that an undo may have changed: weights, states and the time to live."""
    undone = result["undone"]
    for entry in undone[:_MOST_UNDONE]:
        say(f"took back {entries.line(entry)}", console)
    if len(undone) > _MOST_UNDONE:
        say(f"and {len(undone) - _MOST_UNDONE} more: see `tapfan history`", console)
    ttl(result, console)
    view(result, console)


def history(result: Mapping[str, Any], console: Console) -> None:
    """The entries, the newest first; each is one line, as `grep` wants it, which a terminal folds under its column."""
    shown = plain_table(">version", "when", "by", "what")
    for entry in result["entries"]:
        texts = (entries.when(entry), entries.who(entry), entries.what(entry))
        shown.add_row(str(entry["version"]), *map(printable, texts))
    if console.is_terminal:
        shown.columns[-1].overflow = "fold"
        console.print(shown)
    else:
        print_whole(shown, console)


def ramp(running: Mapping[str, Any]) -> str:
    """Where the weights are on their way to, and how long that still takes."""
    ends = {name: (running["from"].get(name), weight) for name, weight in running["to"].items()}
    moved = (
        f"{name} {weight_text(a)} -> {weight_text(b)}" for name, (a, b) in ends.items() if a is not None and a != b
    )
    return f"ramp: {', '.join(moved)}: {left(running['left'])} of {durations.text(running['over'])} left"


def left(duration_s: float) -> str:
    """How long something still takes, to the second: "59m59s"; never nothing."""
    minutes, seconds = divmod(max(1, round(duration_s)), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if count)
