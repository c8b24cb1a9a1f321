"""What the person at the screen has chosen, and what a key does: a key in, a change to ask for out."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tapfan.cli import entries
from tapfan.cli.arguments import weight_vector
from tapfan.cli.change_options import over_seconds
from tapfan.cli.watch import words
from tapfan.cli.watch.changes import Change
from tapfan.cli.watch.picture import Picture
from tapfan.control import AUTOMATIC
from tapfan.durations import text as duration_text

Mode = Literal["list", "weight", "ramp", "undo", "force", "help"]
Tone = Literal["good", "bad", "plain"]

_MAX_INPUT = 30
_STATES = {"d": "drain", "m": "maint", "r": "ready"}
_STEPS = {"+": 1, "=": 1, "-": -1}  # "=" is "+" without shift on most keyboards
_READ_ONLY = "read only: weights and states cannot be changed here"


@dataclass
class State:
    """`shown_version`: the one on the screen; `page`: how many writers it has; `by`: who makes the changes."""

    by: str
    read_only: bool = False
    mode: Mode = "list"
    chosen: str | None = None  # a writer
    top: int = 0  # the first writer, or line of the help, on the screen
    text: str = ""  # what was typed after a question
    over_s: float | None = None  # how long the next changes of weights take
    message: str = ""
    tone: Tone = "plain"
    shown_version: int = 0
    page: int = 1
    has_quit: bool = False
    _refused: Change | None = None  # that can be forced
    _position: int = field(default=0, repr=False)  # of the chosen writer

    def say(self, message: str, tone: Tone = "plain") -> None:
        """Show that, until something else is to be shown."""
        self.message, self.tone = message, tone

    def settle(self, picture: Picture) -> None:
        """See to it that a writer is chosen that there is: the same, or the one in its place."""
        names = list(picture.writers)
        if self.chosen not in names:
            self.chosen = names[min(self._position, len(names) - 1)] if names else None
        if self.chosen is not None:
            self._position = names.index(self.chosen)

    def press(self, key: str, picture: Picture) -> Change | None:
        """Do what the key says; gives what is to be asked of the router."""
        self.settle(picture)
        if self.mode == "help":
            self._scroll_help(key)
            return None
        if self.mode in ("undo", "force"):
            return self._decided(key in ("y", "Y"))
        return self._type(key) if self.mode in ("weight", "ramp") else self._command(key, picture)

    def offer(self, refused: Change, message: str) -> None:
        """Show why a change was refused, and ask whether to force it, unless another question is open."""
        self.say(f"{refused.title}: {message}", "bad")
        if self.mode == "list":
            self.mode, self._refused = "force", refused

    def _decided(self, yes: bool) -> Change | None:
        mode, self.mode = self.mode, "list"
        if not yes:
            self.say("nothing undone" if mode == "undo" else "not forced: nothing changed")
        elif mode == "undo":
            return self._change("undo", {}, "undo")
        elif self._refused is not None:
            return replace(self._refused, arguments={**self._refused.arguments, "force": True}, step=None)
        return None

    def _command(self, key: str, picture: Picture) -> Change | None:
        if key == "q":
            self.has_quit = True
        elif key == "?":
            self.mode, self.top = "help", 0
        elif key in ("up", "k", "down", "j", "page up", "page down", "home", "g", "end", "G"):
            self._move(key, list(picture.writers))
        elif self.read_only:
            self.say(_READ_ONLY, "bad")
        elif key == "o":
            self._question("ramp")
        elif key == "u":
            self._question("undo")
        elif key == "c":
            return self._cancel(picture)
        elif self.chosen is not None:
            return self._change_chosen(key, self.chosen)
        return None

    def _change_chosen(self, key: str, name: str) -> Change | None:
        if key in _STEPS:
            return Change.of_step(name, _STEPS[key], self._options())
        if key in _STATES:
            return self._change("state", {"states": {name: _STATES[key]}}, f"{name} {_STATES[key]}")
        if key == "w":
            self._question("weight")
        return None

    def _move(self, key: str, names: list[str]) -> None:
        if not names:
            return
        last = len(names) - 1
        moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -self.page, "page down": self.page}
        moves |= {"home": -last, "g": -last, "end": last, "G": last}
        self._position = max(0, min(self._position + moves[key], last))
        self.chosen = names[self._position]
        self.say("")

    def _scroll_help(self, key: str) -> None:
        if key in ("up", "k", "down", "j"):
            self.top = max(0, self.top + (1 if key in ("down", "j") else -1))
        else:
            self.mode, self.top = "list", 0

    def _question(self, mode: Mode) -> None:
        self.mode, self.text = mode, ""
        self.say("")

    def _type(self, key: str) -> Change | None:
        if key == "enter":
            return self._answered()
        if key == "escape":
            self.mode = "list"
        elif key == "ctrl+u":
            self.text = ""
        elif key == "backspace":
            self.text = self.text[:-1]
        elif len(key) == 1 and key.isascii() and len(self.text) < _MAX_INPUT:
            self.text += key
        return None

    def _answered(self) -> Change | None:
        mode, text, self.mode = self.mode, self.text.strip(), "list"
        try:
            if mode == "ramp":
                self._set_over(text)
            elif text and self.chosen is not None:
                vector = weight_vector([f"{self.chosen}={text}"])
                return self._change("weights", {"weights": vector} | self._ramp(), f"{self.chosen} {text}")
        except ValueError as error:
            self.say(str(error).removeprefix("--over "), "bad")
        return None

    def _set_over(self, text: str) -> None:
        self.over_s = None if text in ("", "0", "0s") else over_seconds(text)
        how = "at once" if self.over_s is None else f"over {duration_text(self.over_s)}"
        self.say(f"weights change {how} from now on")

    def _cancel(self, picture: Picture) -> Change | None:
        if picture.status is None or not picture.status["ramp"]:
            self.say("no ramp runs")
            return None
        return self._change("weights", {"cancel": True}, "end the ramp")

    def _change(self, command: str, arguments: dict[str, Any], title: str) -> Change:
        return Change(command, arguments | {"by": self.by}, title)

    def _options(self) -> dict[str, Any]:
        return self._ramp() | {"by": self.by}

    def _ramp(self) -> dict[str, Any]:
        return {} if self.over_s is None else {"over": self.over_s}

    def question(self, picture: Picture) -> str:
        """What is asked for at the bottom of the screen, with what was typed; empty when nothing is."""
        if self.mode == "weight" and self.chosen in picture.writers:
            writer = picture.writers[self.chosen]
            now = f"now {words.weight(writer['weight'])}, configured {words.weight(writer['configured'])}"
            return f"weight of {self.chosen} ({now}; 30, +10, -10, 50%): {self.text}_"
        if self.mode == "ramp":
            return f"change weights over (60s, 10m; nothing: at once): {self.text}_"
        if self.mode == "undo":
            return f"undo {_last_change(picture)}? y/n"
        if self.mode == "force":
            return f"{self.message} y/n"
        return ""


def _last_change(picture: Picture) -> str:
    """The change that an undo takes back."""
    entry = next((entry for entry in picture.entries if entry["by"] != AUTOMATIC), None)
    if entry is None:
        return "the last change"
    return f"version {entry['version']} of {entries.who(entry)} ({entries.what(entry)})"
