"""The loop: keys, events and answers in, the screen and requests out."""

import signal
import time
from collections.abc import Callable

import zmq

from tapfan.cli.asking import refusal
from tapfan.cli.watch import layout, signals
from tapfan.cli.watch.asker import Answer, Asker
from tapfan.cli.watch.changes import Changes
from tapfan.cli.watch.events import Events
from tapfan.cli.watch.keys import ESCAPE_DELAY_S, Keys
from tapfan.cli.watch.picture import Picture
from tapfan.cli.watch.state import State
from tapfan.cli.watch.terminal import Terminal
from tapfan.cli.watch.words import cleaned
from tapfan.control import ControlError, ControlTimeoutError
from tapfan.program import CannotRunError

_ASK_AFTER_S = 1.5  # without a snapshot; that is how the first picture is asked for, too
_HISTORY = 100  # entries
_CAN_BE_FORCED = "nobody_left"
_REDRAW = "ctrl+l"
_TICK_S = 0.5
_DRAW_S = 0.05  # at most so often for what comes in, however much it is


class Loop:
    """What a live screen and a plain output have in common: what comes in from the router, and what is asked of it."""

    def __init__(self, events: Events, asker: Asker, caught: signals.Signals, picture: Picture, state: State) -> None:
        self._events = events
        self._asker = asker
        self._caught = caught
        self._picture = picture
        self._state = state
        self._changes = Changes()
        self._has_history = False
        self._poller = zmq.Poller()
        self._poller.register(events.socket, zmq.POLLIN)
        self._poller.register(caught.readable, zmq.POLLIN)

    def run_plain(self, show: Callable[[float], None], period_s: float) -> None:
        """Show the picture once a period, from when there is one or a reason why there is none."""
        next_s = 0.0
        while True:
            now_s = time.monotonic()
            self._look(now_s)
            if now_s >= next_s and (self._has_history or self._picture.problem):
                show(now_s)
                next_s = max(next_s + period_s, now_s + period_s / 2)
            self._poller.poll(_wait_ms(next_s - now_s if next_s > now_s else _TICK_S))
            if self._caught.received() & signals.ENDS:
                return
            self._take_in(time.monotonic())

    def run(self, terminal: Terminal) -> None:
        """Show the screen until it is quit."""
        keys = Keys()
        self._poller.register(terminal.keyboard, zmq.POLLIN)
        next_s = drawn_s = typed_s = time.monotonic()
        while not self._state.has_quit:
            now_s = time.monotonic()
            self._look(now_s)
            if now_s >= next_s:
                self._draw(terminal, now_s)
                drawn_s, next_s = now_s, now_s + _TICK_S
            until_s = min(next_s, typed_s + ESCAPE_DELAY_S) if keys.is_inside else next_s
            ready = dict(self._poller.poll(_wait_ms(max(0.0, until_s - now_s))))
            now_s = time.monotonic()
            # Keys first: they were pressed in the sight of the screen as it is now.
            if terminal.keyboard in ready:
                data = terminal.typed()
                if not data:
                    return
                pressed, typed_s = keys.feed(data), now_s
            else:
                pressed = keys.pause() if keys.is_inside and now_s - typed_s >= ESCAPE_DELAY_S else []
            if pressed:
                self._press(pressed, terminal)
                next_s = now_s
            arrived = self._caught.received()
            if arrived & signals.ENDS:
                return
            if arrived:
                self._obey(arrived, terminal)
                next_s = now_s
            if self._take_in(now_s):
                next_s = min(next_s, drawn_s + _DRAW_S)

    def _draw(self, terminal: Terminal, now_s: float) -> None:
        self._state.settle(self._picture)
        terminal.draw(layout.screen(self._picture, self._state, *terminal.size, now_s))
        self._state.shown_version = self._picture.version

    def _obey(self, arrived: set[signal.Signals], terminal: Terminal) -> None:
        if signal.SIGTSTP in arrived:
            terminal.leave()
            signals.suspend()
        if arrived & {signal.SIGTSTP, signal.SIGCONT}:
            terminal.enter()
        terminal.forget()

    def _press(self, keys: list[str], terminal: Terminal) -> None:
        if _REDRAW in keys:
            terminal.forget()
        for key in keys:
            change = self._state.press(key, self._picture)
            if change is None:
                continue
            if self._picture.is_stale(time.monotonic()) or self._picture.status is None:
                self._state.say("not asked: nobody knows what is in force, as the router does not answer", "bad")
            elif self._changes.ask(change, self._state.shown_version):
                self._state.say(f"asked: {change.title}")
            else:
                self._state.say("not asked: too many changes wait for the router", "bad")
        self._send()

    def _send(self) -> None:
        if request := self._changes.next():
            self._asker.ask(*request)

    def _look(self, now_s: float) -> None:
        """Ask for what events do not bring: the first picture, the history, and whether anybody is there."""
        if self._picture.age_s(now_s) > _ASK_AFTER_S:
            self._asker.look("status")
        elif not self._has_history or self._picture.misses_entries:
            self._asker.look("history", limit=_HISTORY)

    def _take_in(self, now_s: float) -> bool:
        """Take what came from the router; whether there was any."""
        status, entries = self._events.received()
        for entry in entries:
            self._picture.take_entry(entry)
        if status is not None:
            self._picture.take_status(status, now_s)
        answers = self._asker.answers()
        for answer in answers:
            self._take_answer(answer, now_s)
        return status is not None or bool(entries) or bool(answers)

    def _take_answer(self, answer: Answer, now_s: float) -> None:
        if answer.is_change:
            self._take_outcome(answer, now_s)
        elif answer.error is not None:
            self._picture.problem = self._clean(_text(answer.error))
        elif answer.result is not None and answer.command == "status":
            self._picture.take_status(answer.result, now_s)
        elif answer.result is not None:
            self._has_history = True
            self._picture.take_history(answer.result["entries"])

    def _take_outcome(self, answer: Answer, now_s: float) -> None:
        """A change was made, or was not."""
        if answer.result is not None:
            self._picture.take_view(answer.result, now_s)
            change = self._changes.made(answer.result["version"])
            self._state.say(f"done: {change.title}, version {answer.result['version']}", "good")
            self._send()
            return
        change, code = self._changes.failed(), answer.error.code if isinstance(answer.error, ControlError) else ""
        message = self._clean(_text(answer.error))
        self._state.read_only |= code == "forbidden"
        if code == _CAN_BE_FORCED:
            self._state.offer(change, message)
        else:
            self._state.say(f"{change.title}: {message}", "bad")
        self._asker.look("status")

    def _clean(self, text: str) -> str:
        return str(cleaned(text, ascii_only=self._picture.ascii_only))


def _wait_ms(wait_s: float) -> int:
    return int(min(wait_s, _TICK_S) * 1000) + 1


def _text(error: Exception | None) -> str:
    """What to show of an error. Raises it if it is a bug."""
    if isinstance(error, ControlError):
        is_conflict = error.code == "version_conflict"
        return f"{error.message}; look, and press again if you still want it" if is_conflict else refusal(error)
    if isinstance(error, ControlTimeoutError | CannotRunError) or error is None:
        return str(error)
    raise error
