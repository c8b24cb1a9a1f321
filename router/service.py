"""The router's loop: batches and reports in from listeners, shares out to writers, acknowledgements back."""

import secrets
import time
from collections.abc import Callable
from logging import INFO, WARNING

import zmq

from router.health import Health
from router.house import REPORT_PERIOD_S, House, Listener, Writer
from router.lanes import Lane
from router.ledger import LedgerFile
from router.requests import Requests, split_envelope
from router.status import status
from router.weights import Weights
from tapfan import rights, rundir, sockets
from tapfan.control import ControlError
from tapfan.logs import Logger, Repeated
from tapfan.messages import Gap, ListenerReport, Stored, WriterReport, read_message
from tapfan.settings import Settings
from tapfan.stopping import Stop
from tapfan.wire import WireError, read_batch, unpack

_POLL_MS = 100  # how soon a stop is noticed
_DRAIN_S = 3.0  # at a stop, the longest wait until what has come in is stored
_WHOLE_BELOW = 256  # records of a share that goes from a writer that is down to another: more of them are split anew
_PATIENCE = 4  # looks: writers whose Redis servers come back together are up within a second or two of each other
_MESSAGES_A_TURN = 64  # of one socket, so that no socket holds up the others


def serve(settings: Settings, log: Logger, stop: Stop) -> None:
    """Route until asked to stop. Raises CannotRunError."""
    rights.take_on(settings)
    with rundir.locked(settings.run_dir, "router"), zmq.Context() as context:
        router = Router(settings, log, context)
        log.info("ready", **{name: settings.endpoint(name) for name in ("records", "shares", "control")})
        try:
            while not stop:
                router.turn()
            router.finish()
        finally:
            context.destroy()


class Router:
    """Moves messages between the sockets and the house."""

    def __init__(self, settings: Settings, log: Logger, context: zmq.Context[sockets.Socket]) -> None:
        epoch = secrets.token_hex(4)
        self._configured_ttl_s = settings.ttl
        self._house = House(
            Weights({writer.name: writer.weight for writer in settings.writers}),
            {
                writer.name: Writer(writer.redacted, Lane(epoch), Health(settings.router.rise, settings.router.fall))
                for writer in settings.writers
            },
            round(settings.ttl * 1000),
            whole_below=_WHOLE_BELOW,
            patience=_PATIENCE,
        )
        self._ledger = LedgerFile(settings.run_dir / "ledger.json", log)
        self._ledger.restore(self._house)
        self._log = log
        self._repeated = Repeated(log)
        self._health: dict[str, str] = {}
        self._next_look_s = 0.0
        self._requests = Requests({"status": self._status, "ttl": self._ttl, "weights": self._weights}, log)
        self._records = sockets.bound(context, zmq.ROUTER, settings.endpoint("records"))
        self._shares = sockets.bound(context, zmq.ROUTER, settings.endpoint("shares"))
        # Speaks REP's protocol. zmq.REP itself loses the reply after a peer's bytes that were not ZeroMQ's.
        self._control = sockets.bound(context, zmq.ROUTER, settings.endpoint("control"))
        self._poller = zmq.Poller()
        for socket in (self._records, self._shares, self._control):
            self._poller.register(socket, zmq.POLLIN)

    def finish(self) -> None:
        """Take no more batches, and see stored what has come in: the rest is split anew after the next start."""
        self._poller.unregister(self._records)
        deadline_s = time.monotonic() + _DRAIN_S
        while self._house.draining and time.monotonic() < deadline_s:
            self.turn()
        self._ledger.save(self._house)

    def turn(self) -> None:
        """Wait for messages, and handle some of each socket's."""
        ready = dict(self._poller.poll(_POLL_MS))
        if self._control in ready:
            for frames in self._messages(self._control):
                envelope, request = split_envelope(frames)
                sockets.sent(self._control, *envelope, self._requests.reply(request))
        tell: dict[int, Listener] = {}
        if self._shares in ready:
            self._drain(self._shares, lambda address, message: self._from_writer(address, message, tell))
        if self._records in ready:
            self._drain(self._records, lambda address, message: self._from_listener(address, message, tell))
        for listener in tell.values():
            sockets.sent(self._records, listener.address, listener.acknowledgement(self._house.ttl_ms).pack())
        for writer in self._house.writers.values():
            self._send_shares(writer)
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + REPORT_PERIOD_S
            self._house.look(time.monotonic())
            self._ledger.save(self._house)
            self._repeated.tell()
            self._tell_health()

    def _messages(self, socket: sockets.Socket) -> list[list[bytes]]:
        """The next messages of a socket."""
        messages = []
        for _ in range(_MESSAGES_A_TURN):
            frames = sockets.received(socket)
            if frames is None:
                break
            messages.append(frames)
        return messages

    def _drain(self, socket: sockets.Socket, handle: Callable[[bytes, bytes], None]) -> None:
        for frames in self._messages(socket):
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
            listener = self._house.take_stored(content, time.monotonic())
            if listener:
                tell[id(listener)] = listener
        elif isinstance(content, WriterReport):
            mark = self._house.take_writer_report(content, address)
            if mark is None:
                self._repeated.warn("unknown_writer", writer=content.name)
                return
            sockets.sent(self._shares, address, mark.pack())
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

    def _send_shares(self, writer: Writer) -> None:
        """Send what is unsent, to a writer that has reported; what its connection lost comes back as unsent."""
        while writer.address and (message := writer.lane.next_unsent()):
            if not sockets.sent(self._shares, writer.address, message):
                writer.address = None
                return
            writer.lane.mark_sent()

    def _status(self, arguments: dict[str, object]) -> dict[str, object]:
        _no_arguments(arguments)
        return status(self._house, time.monotonic()) | {"warnings": self._repeated.counts}

    def _ttl(self, arguments: dict[str, object]) -> dict[str, object]:
        before_ms = self._house.ttl_ms
        result = self._house.change_ttl(arguments)
        if self._house.ttl_ms != before_ms:
            self._log.info("ttl_changed", before=f"{before_ms / 1000:g}s", now=f"{result['ttl']:g}s")
        return result | {"configured": self._configured_ttl_s}

    def _weights(self, arguments: dict[str, object]) -> dict[str, object]:
        before = self._house.weights.current
        result = self._house.change_weights(arguments)
        if self._house.weights.current is not before:
            self._log.info("weights_changed", version=result["version"], before=before, now=result["weights"])
        return result


def _no_arguments(arguments: dict[str, object]) -> None:
    if arguments:
        raise ControlError("bad_request", f"status takes no arguments, not {', '.join(arguments)[:100]}")
