"""The router's loop: batches and reports in from listeners, shares out to writers, acknowledgements back."""

import math
import secrets
import time
from collections.abc import Callable
from logging import INFO, WARNING

import zmq

from router import changes
from router.access import IO_THREADS, Access
from router.changes import Request
from router.commits import Commits
from router.events import Events
from router.history import Entry, History
from router.house import House, Rules, Writer
from router.intent import Intent, configured
from router.joining import Joining
from router.ledger import LedgerFile
from router.listeners import REPORT_PERIOD_S, Listener
from router.requests import Answer, Read, Requests, split_envelope
from router.saved import ControlFile
from router.status import history, status
from tapfan import rights, rundir, sockets
from tapfan.bounds import MAX_MESSAGE_BYTES
from tapfan.control import COMMANDS, Command, ControlError
from tapfan.logs import Logger, Repeated
from tapfan.messages import Gap, ListenerReport, Stored, WriterReport, cut, read_message
from tapfan.reach import ENDPOINTS, EndpointName
from tapfan.settings import Settings
from tapfan.stopping import Stop
from tapfan.wire import WireError, read_batch, unpack

_POLL_MS = 100  # how soon a stop is noticed
_DRAIN_S = 3.0  # at a stop, the longest wait until what has come in is stored
_WHOLE_BELOW = 256  # records of a share that goes from a writer that is down to another: more of them are split anew
_PATIENCE = 4  # looks: writers whose Redis servers come back together are up within a second or two of each other
_MESSAGES_A_TURN = 64  # of one socket, so that no socket holds up the others
_REQUESTS_A_TURN = 16
# After each message of shares there is a rest, in which more shares come together for the next: a message costs more
# than the shares in it, most of that in waking up who sends it, who takes it, and who takes the answer.
_REST_S = 0.0005
_LONGEST_REST_S = 0.02  # and no record waits for longer
# Replies wait for a client that is slow, and then are dropped. One that reads gets all as long as half as many requests
# are on their way: ZeroMQ hears of what was read when that is half of what there is room for. A request of some
# megabytes still gets the reply that says that it is too large.
_CONTROL = sockets.Bounds(to_send=256, to_take=64, frame_bytes=MAX_MESSAGE_BYTES + 2**16)
_EVENTS = sockets.Bounds(to_send=1000, to_take=64, frame_bytes=1024)


def serve(settings: Settings, log: Logger, stop: Stop) -> None:
    """Route until asked to stop. Raises CannotRunError."""
    rights.take_on(settings)
    with rundir.locked(settings.run_dir, "router"), zmq.Context(IO_THREADS) as context:
        router = Router(settings, log, context)
        log.info("ready", **{name: settings.bound(name) for name in ENDPOINTS})
        try:
            while not stop:
                router.turn()
            router.finish()
        finally:
            context.destroy()


class Router:
    """Moves messages between the sockets and the house."""

    def __init__(self, settings: Settings, log: Logger, context: zmq.Context[sockets.Socket]) -> None:
        wanted = configured(settings)
        control_file = ControlFile(settings.run_dir / "control.json", wanted, log)
        intent, past, remembered = control_file.load(time.time())
        self._house = House(
            intent,
            wanted.ttl_ms,
            secrets.token_hex(4),
            Rules(settings.router.rise, settings.router.fall, whole_below=_WHOLE_BELOW, patience=_PATIENCE),
            past,
            time.time(),
        )
        self._house.restore(remembered, time.monotonic())
        self._ledger = LedgerFile(settings.run_dir / "ledger.json", log)
        self._ledger.restore(self._house)
        self._log = log
        self._repeated = Repeated(log)
        self._health: dict[str, str] = {}
        self._next_look_s = 0.0
        reads: dict[Command, Read] = dict.fromkeys(COMMANDS, lambda _arguments: self._house.view())
        reads |= {"status": self._status, "history": lambda arguments: history(self._house, arguments)}
        self._requests = Requests(reads, self._change, log)
        self._records = sockets.bound(context, zmq.ROUTER, settings.bound("records"))
        self._shares = sockets.bound(context, zmq.ROUTER, settings.bound("shares"))
        # Speaks REP's protocol. zmq.REP itself loses the reply after a peer's bytes that were not ZeroMQ's.
        self._control = sockets.bound(context, zmq.ROUTER, settings.bound("control"), _CONTROL)
        self._subscribers = sockets.bound(context, zmq.XPUB, settings.bound("events"), _EVENTS)
        self._access = Access(settings, context, log, self._repeated)
        self._access.open("records", self._records)
        self._access.open("shares", self._shares)
        self._access.open("control", self._control)
        self._access.open("events", self._subscribers)
        self._events = Events(self._subscribers, lambda: self._status({}), self._repeated)
        self._commits = Commits(self._house, control_file.save, self._repeated)
        self._joining = Joining(self._house, self._commits, self._repeated)
        self._poller = zmq.Poller()
        self._resting = zmq.Poller()  # what is waited for during a rest, too
        for source in (self._control, self._subscribers, self._commits.wake, *self._access.sockets):
            self._poller.register(source, zmq.POLLIN)
            self._resting.register(source, zmq.POLLIN)
        for socket in (self._records, self._shares):
            self._poller.register(socket, zmq.POLLIN)
        self._rests_until_s = 0.0
        self._has_more = False  # whether there may be more messages than the last turn has taken

    def finish(self) -> None:
        """Take no more batches, and see stored what has come in: the rest is split anew after the next start."""
        self._poller.unregister(self._records)
        deadline_s = time.monotonic() + _DRAIN_S
        while self._house.draining and time.monotonic() < deadline_s:
            self.turn()
        self._commits.close()
        self._tell_entries()
        self._ledger.save(self._house)

    def turn(self) -> None:
        """Wait for messages, and handle some of each socket's."""
        ready = self._wait()
        self._access.turn(ready, time.monotonic())
        if self._control in ready:
            for sender, frames in self._messages(self._control, _REQUESTS_A_TURN):
                self._answer(sender, frames)
        if self._commits.wake in ready:
            self._commits.settle()
        if self._subscribers in ready and (too_much := self._events.subscribe()) is not None:
            self._access.end("events", too_much, "it subscribes to too much", time.monotonic())
        self._house.tick(time.time(), time.monotonic())
        tell: dict[int, Listener] = {}
        self._has_more = False
        if self._shares in ready:
            self._drain("shares", self._shares, lambda address, message: self._from_writer(address, message, tell))
        if self._records in ready:
            self._drain("records", self._records, lambda address, message: self._from_listener(address, message, tell))
        for listener in tell.values():
            sockets.sent(self._records, listener.address, listener.acknowledgement(self._house.ttl_ms).pack())
        self._send_shares()
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + REPORT_PERIOD_S
            self._house.look(time.monotonic())
            self._ledger.save(self._house)
            self._commits.look()
            self._repeated.tell()
            self._tell_health()
        self._tell_entries()
        self._events.look(time.monotonic())

    def _wait(self) -> dict[sockets.Socket | int, int]:
        """What can be read: requests at once, data when there is no rest."""
        rest_ms = math.ceil((self._rests_until_s - time.monotonic()) * 1000)
        if rest_ms > 0 and not self._has_more:
            return dict(self._resting.poll(min(rest_ms, _POLL_MS)))
        return dict(self._poller.poll(0 if self._has_more else _POLL_MS))

    def _messages(self, socket: sockets.Socket, most: int = _MESSAGES_A_TURN) -> list[tuple[zmq.Frame, list[bytes]]]:
        """The next messages of a socket, each with what knows its sender."""
        messages = []
        for _ in range(most):
            message = sockets.received_from(socket)
            if message is None:
                break
            messages.append(message)
        else:
            self._has_more = True
        return messages

    def _drain(self, name: EndpointName, socket: sockets.Socket, handle: Callable[[bytes, bytes], None]) -> None:
        for sender, frames in self._messages(socket):
            if not self._access.lets_in(name, sender):
                continue
            try:
                if len(frames) != 2:
                    raise WireError(f"{len(frames) - 1} frames, not 1")
                handle(frames[0], frames[1])
            except WireError as error:
                self._repeated.warn("bad_message", problem=str(error), peer=frames[0].hex()[:40])

    def _from_listener(self, address: bytes, message: bytes, tell: dict[int, Listener]) -> None:
        content = unpack(message)
        if content.get("kind") == "batch":
            self._house.take_batch(read_batch(content))
            return
        report = read_message(content)
        if isinstance(report, Gap):
            told = self._house.take_gap(report)
        elif isinstance(report, ListenerReport):
            told = self._house.take_listener_report(report, address, time.monotonic())
        else:
            raise WireError(f"{report.kind}: not from a listener")
        if told:
            tell[id(told)] = told

    def _from_writer(self, address: bytes, message: bytes, tell: dict[int, Listener]) -> None:
        content = read_message(unpack(message))
        if isinstance(content, Stored):
            for listener in self._house.take_stored(content, time.monotonic()):
                tell[id(listener)] = listener
        elif isinstance(content, WriterReport):
            mark = self._house.take_writer_report(content, address)
            if mark is not None:
                sockets.sent(self._shares, address, mark.pack())
            self._joining.take(content, address)
        else:
            raise WireError(f"{content.kind}: not from a writer")

    def _tell_health(self) -> None:
        """Log whose health is other than it was."""
        now_s = time.monotonic()
        health = {f"writer {name}": writer.health.text for name, writer in self._house.writers.items()}
        names = {entry.report.name for entry in self._house.listeners.values()}
        health |= {f"listener {name}": self._house.current(name).health(now_s) for name in sorted(names)}
        for name, state in health.items():
            if state != self._health.get(name, "absent"):
                self._log.log(INFO if state == "up" else WARNING, "health", of=name, now=state)
        self._health = health

    def _send_shares(self) -> None:
        """Send what is unsent, unless this is a rest."""
        if time.monotonic() < self._rests_until_s:
            return
        sent = sum(self._send_shares_to(writer) for writer in self._house.writers.values())
        self._rests_until_s = time.monotonic() + min(sent * _REST_S, _LONGEST_REST_S)

    def _send_shares_to(self, writer: Writer) -> int:
        """Send to a writer that has reported, and give how many messages; what its connection lost is unsent again."""
        sent = 0
        while writer.is_connected and (message := writer.lane.next_unsent()):
            if not sockets.sent(self._shares, writer.address, message):
                writer.is_connected = False
                break
            writer.lane.mark_sent()
            sent += 1
        return sent

    def _status(self, arguments: dict[str, object]) -> dict[str, object]:
        _no_arguments(arguments)
        return status(self._house, time.monotonic()) | {"warnings": self._repeated.counts}

    def _answer(self, sender: zmq.Frame, frames: list[bytes]) -> None:
        """Have a request answered; a reply for which a client has no room any more, or that is gone, is dropped."""
        envelope, request = split_envelope(frames)

        def send(reply: bytes) -> None:
            sockets.sent(self._control, *envelope, reply)

        try:
            peer = self._access.peer(sender, time.monotonic())
        except ControlError as refusal:
            self._requests.refuse(refusal, send)
            return
        if len(frames) > sockets.MAX_FRAMES:
            self._requests.refuse(ControlError("too_large", f"more than {sockets.MAX_FRAMES} frames"), send)
        else:
            self._requests.handle(request, peer, send)

    def _change(self, request: Request, answer: Answer) -> None:
        repeated = False

        def apply(intent: Intent, past: History) -> tuple[Intent, Entry | None]:
            nonlocal repeated
            repeated = changes.is_repeated(past, request)
            return changes.apply(intent, past, request, self._house.in_flight)

        self._commits.stage(apply, lambda refusal: answer(refusal or self._house.view(repeated)))

    def _tell_entries(self) -> None:
        """Log and publish what is new in the history."""
        entries = self._house.take_entries()
        if any(entry.is_note for entry in entries):
            self._commits.house_changed()
        self._events.changed(entries)
        for entry in entries:
            if entry.kind != "health":  # which is logged of listeners as well, see `_tell_health`
                told = cut("; ".join(map(str, entry.changes)))
                self._log.info("changed", version=entry.version, kind=entry.kind, by=entry.by, changes=told)


def _no_arguments(arguments: dict[str, object]) -> None:
    if arguments:
        raise ControlError("bad_request", f"status takes no arguments, not {', '.join(arguments)[:100]}")
