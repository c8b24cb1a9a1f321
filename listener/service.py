"""The listener's loop: records from the source into batches, batches to the router, kept until it has them stored."""

import secrets
import time
from math import inf

import zmq

from listener.outbox import Outbox
from listener.pacing import Pacing
from listener.server import Server
from listener.sources import Source, open_source
from tapfan import rundir, sockets
from tapfan.batch import Records
from tapfan.logs import Logger, Repeated
from tapfan.messages import Acknowledgement, read_message
from tapfan.settings import ListenerSettings, Settings
from tapfan.stopping import Stop
from tapfan.wire import MAX_RECORDS, WireError, unpack

_REPORT_PERIOD_S = 0.5
_POLL_MS = 100  # how soon a stop is noticed
_DRAIN_POLL_S = 0.01
_DRAIN_S = 0.05  # beyond the linger, for what was captured just before the stop


def serve(settings: Settings, log: Logger, stop: Stop) -> None:
    """Listen until asked to stop, then see that what was captured gets stored. Raises CannotRunError."""
    chosen = settings.listener
    with rundir.locked(settings.run_dir, f"listener-{chosen.name}"), zmq.Context() as context:
        source, server = open_source(chosen, log)
        listener = Listener(chosen, settings.endpoint("records"), source, server, log, context)
        log.info("ready", stream=listener.stream)
        try:
            try:
                while not stop:
                    listener.turn()
                    listener.check()
            finally:
                listener.finish()
        finally:
            source.close()
            context.destroy()


class Listener:
    """Moves records from the source to the router."""

    def __init__(
        self,
        settings: ListenerSettings,
        endpoint: str,
        source: Source,
        server: Server | None,
        log: Logger,
        context: zmq.Context[sockets.Socket],
    ) -> None:
        self._settings = settings
        self._source = source
        self._server = server
        self._log = log
        self._repeated = Repeated(log)
        self._pacing = Pacing(settings.batch_records, settings.linger)
        self._outbox = Outbox(settings.name, secrets.token_hex(4))
        self._socket = sockets.connected(context, zmq.DEALER, endpoint, self._outbox.stream.encode())
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        for descriptor in source.descriptors():
            self._poller.register(descriptor, zmq.POLLIN)
        self._next_report_s = 0.0
        self._drops = 0

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self._outbox.stream

    @property
    def _room(self) -> int:
        """How many more records the window has room for."""
        return self._settings.window_records - self._outbox.in_flight

    def turn(self) -> None:
        """Wait for records or acknowledgements, and handle them."""
        room = self._room
        if room <= 0:
            # Not the source: it would be ready, and we are not.
            self._repeated.warn("window_full", records=self._outbox.in_flight, then="waits for acknowledgements")
            self._socket.poll(_POLL_MS)
        elif pause_s := self._pacing.pause_s(time.monotonic()):
            time.sleep(pause_s)
        else:
            self._poller.poll(_POLL_MS)
        self._exchange()
        if room > 0:
            self._pacing.found(self._read(room), time.monotonic())
            self._send_batches()
        if self._server:
            self._server.look_after()

    def check(self) -> None:
        """When it is time, report. Raises CannotRunError when the source can give no more."""
        if time.monotonic() >= self._next_report_s:
            self._report()
            self._source.check()

    def finish(self) -> None:
        """Take no more, and deliver what was captured."""
        if self._server:
            self._server.stop()
        deadline = time.monotonic() + self._settings.linger + _DRAIN_S
        while time.monotonic() < deadline or (self._server and not self._server.has_stopped()):
            time.sleep(_DRAIN_POLL_S)
            self._read()
        self._read()
        deadline = time.monotonic() + self._settings.grace
        self._exchange()
        self._report()
        while self._outbox.in_flight and time.monotonic() < deadline:
            self._socket.poll(_POLL_MS)
            self._exchange()
            if time.monotonic() >= self._next_report_s:
                self._report()
        self._report()
        if self._outbox.in_flight:
            self._log.error(
                "stopped_with_records_not_stored",
                records=self._outbox.in_flight,
                waited_s=self._settings.grace,
                check="that the router and the writers run, and that their Redis servers answer",
            )

    def _read(self, room: float = inf) -> int:
        """Take what the source has, until `room` is used up, as the next batches; gives how many records."""
        parts = []
        taken = 0
        while taken < room and (records := self._source.read()) is not None:
            parts.append(records)
            taken += len(records)
        if taken:
            gathered = Records.concatenate(parts)
            for start in range(0, taken, MAX_RECORDS):
                self._outbox.add(gathered[start : start + MAX_RECORDS])
        return taken

    def _send_batches(self) -> None:
        while (message := self._outbox.next_unsent()) is not None and sockets.sent(self._socket, message):
            self._outbox.mark_sent()

    def _exchange(self) -> None:
        """Everything between us and the router: acknowledgements in, batches and reports out."""
        while (frames := sockets.received(self._socket)) is not None:
            try:
                message = read_message(unpack(b"".join(frames)))
                if not isinstance(message, Acknowledgement):
                    raise WireError(f"{message.kind}: not from a router")
            except WireError as error:
                self._repeated.warn("bad_message", problem=str(error))
                continue
            if self._outbox.take_acknowledgement(message):
                self._log.info("sends_again", first=message.expected)
        self._send_batches()

    def _report(self) -> None:
        self._next_report_s = time.monotonic() + _REPORT_PERIOD_S
        drops = self._source.kernel_drops()
        if drops > self._drops:
            self._repeated.warn("kernel_drops", packets=drops - self._drops, then="more ring_bytes may help")
            self._drops = drops
        report = self._outbox.report(self._source.kind, drops, self._source.undecoded(), self._room <= 0)
        sockets.sent(self._socket, report.pack())
        self._repeated.tell()
