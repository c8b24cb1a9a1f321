"""The parts of the screen, each as lines of text: the picture in, lines out."""

import time
from typing import Any

from rich.text import Text

from tapfan import durations, redis_warnings
from tapfan.cli import entries
from tapfan.cli.watch import words
from tapfan.cli.watch.picture import Picture
from tapfan.cli.watch.state import State
from tapfan.cli.watch.tables import Column, Row, table

_BAD, _NOTABLE = "bold red", "yellow"
_ABSENT = "reports no more; see `supervisorctl status`"
_SPOOLING = "more is not stored yet than its window holds, the rest waits in its spool on disk"
_WRITERS = (
    Column("writer", 0, is_right=False),
    Column("state", 1, is_right=False, least=5),
    Column("health", 2, is_right=False, least=6),
    Column("set", 3),
    Column("eff", 6, least=4),  # the weight that counts now: on a ramp, of one that is back, of one that gets nothing
    Column("target", 4, least=6),  # the share that this makes
    Column("10s", 5, least=6),  # the share that it got
    Column("1m", 11, least=6),
    Column("rec/s", 7, least=6),
    Column("flight", 8),
    Column("memory", 9),
    Column("rtt ms", 10),
)
_STATE, _HEALTH = 1, 2
_LISTENERS = (
    Column("listener", 0, is_right=False),
    Column("source", 6, is_right=False),
    Column("health", 2, is_right=False, least=8),
    Column("rec/s", 1, least=7),
    Column("kernel drops", 3),
    Column("flight", 4),
    Column("spooled", 5),
    Column("captured", 7),
)


def head(picture: Picture, state: State, now_s: float, where: str = "") -> Text:
    """How old it is, the version, the rate of all; `where`: which writers are on the screen, if not all."""
    line = Text("tapfan", "bold")
    line.append(f" {time.strftime('%H:%M:%S')}")
    if picture.is_stale(now_s):
        line.append(f"  STALE {words.left(picture.age_s(now_s))}", _BAD)
    if where:
        line.append(f"  {where}")
    if picture.status is not None:
        line.append(f"  version {picture.version}  {words.rate(picture.status.get('rate'))} rec/s")
        line.append(f"  ttl {durations.text(picture.status['ttl'])}")
    if state.over_s is not None:
        line.append(f"  changes over {durations.text(state.over_s)}", _NOTABLE)
    if state.read_only:
        line.append("  read only")
    return line


def problem(picture: Picture) -> list[Text]:
    """Why nothing newer comes; one line, however long."""
    return [Text(picture.problem, _BAD)] if picture.problem else []


def ramps(picture: Picture, now_s: float) -> list[Text]:
    """The ramp with its time left, and the writers that come back step by step."""
    if picture.status is None:
        return []
    lines = []
    if ramp := picture.status["ramp"]:
        moves = [
            f"{name} {words.weight(before)} -> {words.weight(ramp['to'][name])}"
            for name, before in ramp["from"].items()
            if ramp["to"].get(name, before) != before
        ]
        left = words.left(ramp["left"] - picture.age_s(now_s))
        lines.append(Text(f"ramp {left} left of {durations.text(ramp['over'])}: {', '.join(moves)}", _NOTABLE))
    back = {name: each["rampup_left"] for name, each in picture.writers.items() if each["rampup_left"] is not None}
    if back:
        texts = (f"{name} {words.left(left - picture.age_s(now_s))} left" for name, left in back.items())
        lines.append(Text(f"ramping up: {', '.join(texts)}", _NOTABLE))
    return lines


def writers(picture: Picture, chosen: str | None, width: int) -> list[Text]:
    """The titles, and a row for each."""
    rows = [
        Row(
            (
                name,
                writer["state"],
                writer["health"],
                words.weight(writer["weight"]),
                words.weight(writer["effective"]),
                words.percent(writer["share"]),
                words.percent(writer["observed"].get("10s")),
                words.percent(writer["observed"].get("1m")),
                words.rate(writer["rate"]),
                words.count(writer["in_flight"]),
                words.memory(writer["used_memory"], writer["max_memory"]),
                words.milliseconds(writer["round_trip_ms"]),
            ),
            {
                _STATE: "" if writer["state"] == "ready" else _NOTABLE,
                _HEALTH: "green" if writer["health"] == "up" else _BAD,
            },
            is_chosen=name == chosen,
        )
        for name, writer in picture.writers.items()
    ]
    return table(_WRITERS, rows, width)


def details(picture: Picture, chosen: str | None) -> list[Text]:
    """One line: the rest of what there is to know of the writer that is chosen."""
    if chosen not in picture.writers:
        return []
    writer = picture.writers[chosen]
    exact = f"{writer['weight']:.15g}"
    weight = "" if exact == words.weight(writer["weight"]) else f"weight {exact}, "
    configured = f"configured {writer['configured']:.15g}"
    needs = f", {redis_warnings.need(writer['projection'])}" if writer["projection"] else ""
    joined = ", joined by itself" if writer["joined"] else ""
    counts = f"{writer['stored']:,} stored{needs}{joined}"
    return [Text(f"{chosen}: {writer['redis']}, {weight}{configured}, {counts}")]


def notes(picture: Picture, chosen: str | None) -> list[Text]:
    """What is not as it should be, a line each; of the writer that is chosen first."""
    names = sorted(picture.writers, key=lambda name: name != chosen)
    lines = [
        Text(f"{name} is {picture.writers[name]['health']}: {picture.writers[name]['reason'] or _ABSENT}", _BAD)
        for name in names
        if picture.writers[name]["health"] != "up"
    ]
    lines += [
        Text(f"warning: {name}: {warning}", _NOTABLE) for name in names for warning in picture.writers[name]["warnings"]
    ]
    for name, listener in _listeners(picture).items():
        if listener["health"] in ("spooling", "absent"):
            reason = _SPOOLING if listener["health"] == "spooling" else _ABSENT
            lines.append(Text(f"{name} is {listener['health']}: {reason}", _BAD))
    return lines


def ledger(picture: Picture) -> list[Text]:
    """One line, the verdict first."""
    if picture.status is None:
        return []
    counts = picture.status["ledger"]
    parts = [
        f"{counts[key]:,} {key.replace('_', ' ')}"
        for key in ("stored", "expired", "dropped", "in_flight", "spooled")
        if counts[key] or key in ("stored", "in_flight")
    ]
    line = Text("ledger: ")
    line.append("balanced" if counts["balanced"] else "NOT BALANCED", "" if counts["balanced"] else _BAD)
    line.append(f", {counts['captured']:,} captured = {' + '.join(parts)}")
    return [line]


def listeners(picture: Picture, width: int) -> list[Text]:
    """The titles, and a row for each; kernel drops in all, and in the last seconds."""
    rows = []
    for name, listener in _listeners(picture).items():
        rate, drops = picture.listener_rates(name)
        texts = (
            name,
            listener["source"],
            listener["health"],
            words.rate(rate),
            words.count(listener["kernel_drops"]) + (f" (+{words.count(drops)})" if drops else ""),
            words.count(listener["in_flight"]),
            words.count(listener["spooled"]),
            words.count(listener["captured"]),
        )
        is_well = listener["health"] in ("up", "done")
        rows.append(Row(texts, {2: "green" if is_well else _BAD, 4: _BAD if drops else ""}))
    return table(_LISTENERS, rows, width) if rows else []


def events(picture: Picture) -> list[Text]:
    """A title, and a line for each entry of the history, newest first."""
    if not picture.entries:
        return []
    lines = (
        f"  {entries.when(entry)} v{entry['version']} {entries.who(entry)}: {entries.what(entry)}"
        for entry in picture.entries
    )
    return [Text("  events", "underline"), *map(Text, lines)]


def _listeners(picture: Picture) -> dict[str, dict[str, Any]]:
    return picture.status["listeners"] if picture.status else {}
