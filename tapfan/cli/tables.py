"""What the command shows to people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tapfan import durations, redis_warnings
from tapfan.cli.invocation import printable

_LISTENER_REASONS = {
    "spooling": "more is not stored yet than its window holds, the rest waits in its spool on disk; see the writers",
    "absent": "reports no more; see `supervisorctl status`",
}
_UNLIMITED = 1000  # characters; more than any table of counts has


def status(result: Mapping[str, Any], console: Console) -> None:
    """Writers, listeners, and the ledger."""
    spans = next(iter(result["writers"].values()))["observed"]
    writers = _table(
        "writer", ">weight", ">config", ">share", *(f">{span}" for span in spans), ">stored", ">in flight", "health"
    )
    for name, writer in result["writers"].items():
        writers.add_row(
            name,
            _weight(writer["weight"]),
            _weight(writer["configured"]),
            _percent(writer["share"]),
            *(_percent(part) for part in writer["observed"].values()),
            f"{writer['stored']:,}",
            f"{writer['in_flight']:,}",
            writer["health"],
        )
    _print_whole(writers, console)
    for name, writer in result["writers"].items():
        if writer["health"] != "up":
            reason = writer["reason"] or "reports no more; see `supervisorctl status`"
            _say(f"{name} ({writer['redis']}) is {writer['health']}: {reason}", console)
    _say(f"ttl: records live {durations.text(result['ttl'])} from their capture on", console)
    _print_memory(result["writers"], console)
    console.print()
    columns = ("captured", "stored", "in_flight", "spooled", "lost", "kernel_drops")
    titles = (">" + column.replace("_", "\n") for column in columns)  # in two lines, to fit into 80 columns
    listeners = _table("listener", "source", *titles, "health")
    for name, listener in result["listeners"].items():
        counts = listener | {"lost": sum(listener["lost"].values())}
        listeners.add_row(name, listener["source"], *(f"{counts[column]:,}" for column in columns), listener["health"])
    if result["listeners"]:
        _print_whole(listeners, console)
        for name, listener in result["listeners"].items():
            if listener["packets"]["skipped"]:
                _say(_skipped(name, listener["packets"]), console)
            if listener["health"] in _LISTENER_REASONS:
                _say(f"{name} is {listener['health']}: {_LISTENER_REASONS[listener['health']]}", console)
    else:
        console.print("no listener has reported yet")
    console.print()
    _say(_ledger(result["ledger"]), console)
    if result["ledger"]["lost"]:
        lost = {reason.replace("_", " "): count for reason, count in result["ledger"]["lost"].items()}
        _say(f"lost: {_counts(lost)}", console)
    if result["warnings"]:
        _say(f"warnings of the router, in its log: {_counts(result['warnings'])}", console)


def weights(result: Mapping[str, Any], console: Console) -> None:
    """The weights in force, beside those of the configuration."""
    table = _table("writer", ">weight", ">share", ">configured")
    for name, weight in result["weights"].items():
        table.add_row(name, _weight(weight), _percent(result["shares"][name]), _weight(result["configured"][name]))
    console.print(table)
    console.print(f"version {result['version']}")


def ttl(result: Mapping[str, Any], console: Console) -> None:
    """The time to live in force, beside that of the configuration."""
    console.print(f"records live {durations.text(result['ttl'])}; configured: {durations.text(result['configured'])}")


def check(result: Mapping[str, Any], console: Console) -> None:
    """What would run."""
    table = _table("process", "what it does")
    for process in result["processes"]:
        table.add_row(*map(printable, (process["command"], process["does"])))
    console.print(table)
    for note in result["notes"]:
        _say(f"note: {note}", console)
    for warning in result["warnings"]:
        _say(f"warning: {warning}", console)
    if not result["problems"]:
        console.print("the configuration is valid")


def _say(text: str, console: Console) -> None:
    """One line, however long; it may quote what a Redis said."""
    console.print(printable(text), soft_wrap=True)


def _print_memory(writers: Mapping[str, Any], console: Console) -> None:
    """What the records will need in each Redis, and what could make it lose some."""
    projections = {name: writer["projection"] for name, writer in writers.items() if writer["projection"]}
    if projections:
        needs = ", ".join(f"{name} {redis_warnings.need(projection)}" for name, projection in projections.items())
        _say(f"memory: {needs}", console)
    for name, writer in writers.items():
        for text in writer["warnings"]:
            _say(f"warning: {name} ({writer['redis']}): {text}", console)


def _skipped(name: str, packets: Mapping[str, Any]) -> str:
    """What of the packets that a listener's process saw gave no record."""
    skipped = {reason.replace("_", " "): count for reason, count in packets["skipped"].items()}
    return f"{name} saw {packets['seen']:,} packets, and skipped {sum(skipped.values()):,} of them: {_counts(skipped)}"


def _table(*columns: str) -> Table:
    """A table without lines, as `docker ps` prints it; columns that begin with ">" are aligned to the right."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table


def _print_whole(table: Table, console: Console) -> None:
    """Print the table as wide as it is: a terminal too narrow breaks its lines, but no count is ever cut."""
    table.width = console.measure(table, options=console.options.update_width(_UNLIMITED)).maximum
    console.print(table, soft_wrap=True)


def _ledger(ledger: Mapping[str, Any]) -> str:
    parts: Sequence[str] = [
        f"{ledger[key]:,} {key.replace('_', ' ')}" for key in ("stored", "expired", "dropped", "in_flight", "spooled")
    ]
    verdict = "balanced" if ledger["balanced"] else "NOT BALANCED"
    return f"ledger: {ledger['captured']:,} captured = {' + '.join(parts)} ({verdict})"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in counts.items())


def _weight(weight: float) -> str:
    return f"{weight:.15g}"


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{part:.1%}"
