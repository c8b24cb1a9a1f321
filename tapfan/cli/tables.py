"""What `tapfan status` and `tapfan check` show to people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from tapfan import durations, redis_warnings
from tapfan.cli import control_tables, entries
from tapfan.cli.invocation import printable
from tapfan.cli.showing import counted, percent, plain_table, print_whole, say, weight_text

_LISTENER_REASONS = {
    "spooling": "more is not stored yet than its window holds, the rest waits in its spool on disk; see the writers",
    "absent": "reports no more; see `supervisorctl status`",
}
_LEAVING = ("drain", "maint")


def status(result: Mapping[str, Any], console: Console) -> None:
    """Writers, listeners, and the ledger."""
    _print_writers(result["writers"], console)
    if result["ramp"]:
        say(f"{control_tables.ramp(result['ramp'])}; now {_effective(result['writers'])}", console)
    say(f"ttl: records live {durations.text(result['ttl'])} from their capture on", console)
    _print_memory(result["writers"], console)
    if result["changed"]:
        say(f"last change: {entries.line(result['changed'])}", console)
    console.print()
    if result["listeners"]:
        _print_listeners(result["listeners"], console)
    else:
        console.print("no listener has reported yet")
    console.print()
    say(_ledger(result["ledger"]), console)
    if result["ledger"]["lost"]:
        lost = {reason.replace("_", " "): count for reason, count in result["ledger"]["lost"].items()}
        say(f"lost: {counted(lost)}", console)
    if result["warnings"]:
        say(f"warnings of the router, in its log: {counted(result['warnings'])}", console)


def check(result: Mapping[str, Any], console: Console) -> None:
    """What would run."""
    processes = plain_table("process", "what it does")
    for process in result["processes"]:
        processes.add_row(*map(printable, (process["command"], process["does"])))
    console.print(processes)
    for note in result["notes"]:
        say(f"note: {note}", console)
    for warning in result["warnings"]:
        say(f"warning: {warning}", console)
    if not result["problems"]:
        console.print("the configuration is valid")


def _print_writers(writers: Mapping[str, Any], console: Console) -> None:
    spans = next(iter(writers.values()))["observed"]
    # "in flight" is in two lines, to fit into 80 columns.
    titles = (">weight", ">config", ">share", *(f">{span}" for span in spans), ">stored", ">in\nflight")
    shown = plain_table("writer", *titles, "state", "health")
    for name, writer in writers.items():
        shown.add_row(
            name,
            weight_text(writer["weight"]),
            weight_text(writer["configured"]),
            percent(writer["share"]),
            *(percent(part) for part in writer["observed"].values()),
            f"{writer['stored']:,}",
            f"{writer['in_flight']:,}",
            writer["state"],
            writer["health"],
        )
    print_whole(shown, console)
    for name, writer in writers.items():
        if writer["health"] != "up":
            reason = writer["reason"] or "reports no more; see `supervisorctl status`"
            say(f"{name} ({writer['redis']}) is {writer['health']}: {reason}", console)
        if writer["state"] in _LEAVING:
            say(f"{name} is in {writer['state']}: {_leaving(name, writer['in_flight'])}", console)
        if writer["rampup_left"]:
            told = f"gets as much as a weight of {weight_text(writer['effective'])} would"
            say(f"{name} is coming back: it {told}, and all in {control_tables.left(writer['rampup_left'])}", console)


def _leaving(name: str, in_flight: int) -> str:
    if in_flight:
        return f"no new records; {in_flight:,} are still in flight"
    return f"no new records, and nothing in flight; `tapfan ready {name}` ends it"


def _effective(writers: Mapping[str, Any]) -> str:
    """What each writer's weight comes to at this moment."""
    return ", ".join(f"{name} {weight_text(round(writer['effective'], 3))}" for name, writer in writers.items())


def _print_listeners(listeners: Mapping[str, Any], console: Console) -> None:
    columns = ("captured", "stored", "in_flight", "spooled", "lost", "kernel_drops")
    titles = (">" + column.replace("_", "\n") for column in columns)  # in two lines, to fit into 80 columns
    shown = plain_table("listener", "source", *titles, "health")
    for name, listener in listeners.items():
        numbers = listener | {"lost": sum(listener["lost"].values())}
        shown.add_row(name, listener["source"], *(f"{numbers[column]:,}" for column in columns), listener["health"])
    print_whole(shown, console)
    for name, listener in listeners.items():
        if listener["packets"]["skipped"]:
            say(_skipped(name, listener["packets"]), console)
        if listener["health"] in _LISTENER_REASONS:
            say(f"{name} is {listener['health']}: {_LISTENER_REASONS[listener['health']]}", console)


def _print_memory(writers: Mapping[str, Any], console: Console) -> None:
    """What the records will need in each Redis, and what could make it lose some."""
    projections = {name: writer["projection"] for name, writer in writers.items() if writer["projection"]}
    if projections:
        needs = ", ".join(f"{name} {redis_warnings.need(projection)}" for name, projection in projections.items())
        say(f"memory: {needs}", console)
    for name, writer in writers.items():
        for text in writer["warnings"]:
            say(f"warning: {name} ({writer['redis']}): {text}", console)


def _skipped(name: str, packets: Mapping[str, Any]) -> str:
    """What of the packets that a listener's process saw gave no record."""
    skipped = {reason.replace("_", " "): count for reason, count in packets["skipped"].items()}
    return f"{name} saw {packets['seen']:,} packets, and skipped {sum(skipped.values()):,} of them: {counted(skipped)}"


def _ledger(ledger: Mapping[str, Any]) -> str:
    parts: Sequence[str] = [
        f"{ledger[key]:,} {key.replace('_', ' ')}" for key in ("stored", "expired", "dropped", "in_flight", "spooled")
    ]
    verdict = "balanced" if ledger["balanced"] else "NOT BALANCED"
    return f"ledger: {ledger['captured']:,} captured = {' + '.join(parts)} ({verdict})"
