"""The help: every key, and what it does."""

from rich.text import Text

from tapfan.cli.watch.words import clipped

_KEYS = (
    ("up, k", "the writer above"),
    ("down, j", "the writer below"),
    ("page up, down", "a page of writers"),
    ("g, G", "first, last writer"),
    ("+", "1 more weight"),
    ("-", "1 less weight"),
    ("w", "ask for a weight"),
    ("o", "ask for a ramp time"),
    ("c", "end the ramp where it is"),
    ("d", "drain: no new records"),
    ("m", "maint: may be stopped"),
    ("r", "ready: gets its share"),
    ("u", "undo the last change"),
    ("Ctrl-L", "draw it all anew"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit"),
)
_READ_ONLY_KEYS = ("up, k", "down, j", "page up, down", "g, G", "Ctrl-L", "?", "q, Ctrl-C")
_COLUMN = 39
_TITLE = "tapfan watch: keys (up, down scroll; any other key closes)"
_SHORT = (
    "j/k choose  +/- w weight  o ramp  d drain  m maint  r ready  u undo  ? help  q quit",
    "j/k choose +/- w weight o ramp d drain m maint r ready u undo ? help q quit",
    "j k +/- w weight d drain m maint r ready ? help q quit",
    "+/- w weight d m r state ? help q quit",
    "? help q quit",
)
_SHORT_READ_ONLY = ("j/k choose  ? help  q quit",)


def lines(width: int, height: int, top: int, *, read_only: bool) -> tuple[list[Text], int]:
    """The help from that line on, in two columns where there is room; and from which line on, as there may be less."""
    shown = [f"{key:13} {does}" for key, does in _KEYS if not read_only or key in _READ_ONLY_KEYS]
    columns = 2 if width >= 2 * _COLUMN else 1
    rows = -(-len(shown) // columns)
    texts = ["".join(f"{text:{_COLUMN}}" for text in shown[number::rows]).rstrip() for number in range(rows)]
    top = max(0, min(top, rows - (height - 1)))
    title = Text(clipped(_TITLE, width), "bold")
    return [title, *(Text(clipped(text, width)) for text in texts[top : top + height - 1])], top


def short(width: int, *, read_only: bool) -> Text:
    """The keys in one line."""
    texts = _SHORT_READ_ONLY if read_only else _SHORT
    return Text(next((text for text in texts if len(text) <= width), clipped(texts[-1], width)), "dim")
