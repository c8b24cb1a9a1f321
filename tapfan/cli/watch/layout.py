"""The whole screen: the sections, and which of them give way where there is no room for all.

In what order they get their lines: the head, the chosen writer, the message or question, the problem, ramps, the keys,
more writers, then a line or two of notes, ledger, listeners and events, then more of each. So the events give way
first, then the listeners, and of many writers those are shown that are around the chosen one.
"""

from rich.cells import cell_len, chop_cells
from rich.text import Text

from tapfan.cli.watch import guide, sections
from tapfan.cli.watch.picture import Picture
from tapfan.cli.watch.state import State

_TONES = {"good": "bold green", "bad": "bold red", "plain": "bold"}
_ALL = 10_000  # lines
# What each section has after each step, if there is room; a section has no more than it asks for.
_STEPS = (
    ("head", 1),
    ("writers", 2),
    ("message", 1),
    ("problem", 1),
    ("ramps", 1),
    ("keys", 1),
    ("writers", 4),
    ("problem", 3),
    ("notes", 1),
    ("ledger", 1),
    ("listeners", 2),
    ("events", 3),
    ("message", 3),
    ("ramps", 2),
    ("writers", 9),
    ("gap 1", 1),
    ("gap 2", 1),
    ("gap 3", 1),
    ("details", 1),
    ("notes", 3),
    ("events", 6),
    ("listeners", 5),
    ("writers", _ALL),
    ("notes", _ALL),
    ("listeners", _ALL),
    ("events", _ALL),
)
_UPPER: tuple[str, ...] = ("head", "problem", "ramps", "gap 1", "writers", "details", "notes", "gap 2")
_UPPER += ("ledger", "listeners", "gap 3", "events")
_LOWER = ("message", "keys")
_TITLED = ("listeners", "events")  # whose first line says nothing without a second one
_PLAIN_EVENTS = 6


def screen(picture: Picture, state: State, width: int, height: int, now_s: float) -> list[Text]:
    """Exactly `height` lines, none wider than `width` cells."""
    if state.mode == "help":
        shown, state.top = guide.lines(width, height, state.top, read_only=state.read_only)
        return shown + [Text("")] * (height - len(shown))
    wanted = _sections(picture, state, width, now_s)
    lines = _lines_for({name: len(section) for name, section in wanted.items()}, height)
    state.page = max(1, lines["writers"] - 1)
    wanted["writers"], where = _around(wanted["writers"], list(picture.writers), state, state.page)
    wanted["head"] = [_cut(sections.head(picture, state, now_s, where), width)]
    upper, lower = ([line for name in part for line in wanted[name][: lines[name]]] for part in (_UPPER, _LOWER))
    return upper + [Text("")] * (height - len(upper) - len(lower)) + lower


def block(picture: Picture, state: State, width: int, now_s: float) -> list[Text]:
    """The same for an output that no key goes with: as many lines as there are."""
    wanted = _sections(picture, state, width, now_s, is_live=False)
    wanted["events"] = wanted["events"][:_PLAIN_EVENTS]
    return [line for name in _UPPER for line in wanted[name]]


def _sections(
    picture: Picture, state: State, width: int, now_s: float, *, is_live: bool = True
) -> dict[str, list[Text]]:
    """All that there is to show; what is long and important has several lines, the rest is cut."""
    chosen = state.chosen if is_live else None
    gap = [Text("")]
    cut = {
        "head": [sections.head(picture, state, now_s)],
        "ramps": sections.ramps(picture, now_s),
        "details": sections.details(picture, chosen),
        "notes": sections.notes(picture, chosen),
        "ledger": sections.ledger(picture),
        "events": sections.events(picture),
    }
    return {name: [_cut(line, width) for line in lines] for name, lines in cut.items()} | {
        "problem": [part for line in sections.problem(picture) for part in _folded(line, width)],
        "writers": sections.writers(picture, chosen, width),
        "listeners": sections.listeners(picture, width),
        "message": _folded(_message(picture, state), width),
        "keys": [guide.short(width, read_only=state.read_only)],
        "gap 1": gap,
        "gap 2": gap,
        "gap 3": gap,
    }


def _lines_for(wanted: dict[str, int], height: int) -> dict[str, int]:
    """How many lines each section has; their sum is at most the height."""
    lines = dict.fromkeys(wanted, 0)
    room = height
    for name, most in _STEPS:
        more = min(max(0, min(wanted[name], most) - lines[name]), room)
        if lines[name] + more == 1 and name in _TITLED:
            continue
        lines[name] += more
        room -= more
    return lines


def _around(lines: list[Text], names: list[str], state: State, rows: int) -> tuple[list[Text], str]:
    """The titles, and the rows around the chosen writer; which of how many these are, if not all."""
    titles, *all_rows = lines
    if len(all_rows) <= rows:
        state.top = 0
        return lines, ""
    at = names.index(state.chosen) if state.chosen in names else 0
    state.top = max(0, at - rows + 1, min(state.top, at, len(all_rows) - rows))
    return [
        titles,
        *all_rows[state.top : state.top + rows],
    ], f"writers {state.top + 1}-{state.top + rows} of {len(names)}"


def _message(picture: Picture, state: State) -> Text:
    if question := state.question(picture):
        return Text(question, "bold")
    return Text(state.message, _TONES[state.tone])


def _cut(line: Text, width: int) -> Text:
    if line.cell_len <= width:
        return line
    cut = line.copy()
    cut.truncate(width - 1)
    cut.append("~")
    return cut


def _folded(line: Text, width: int) -> list[Text]:
    """The text in as many lines as it takes, broken at spaces where that leaves no line half empty."""
    if not line.plain:
        return []
    lines, rest = [], line.plain
    while cell_len(rest) > width:
        part = chop_cells(rest, width)[0]
        space = part.rfind(" ")
        at = space if space > len(part) // 2 else len(part)  # not far before the end for the sake of a path
        lines.append(rest[:at])
        rest = rest[at:].lstrip()
    return [Text(text, line.style) for text in (*lines, rest)]
