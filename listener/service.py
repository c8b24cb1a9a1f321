"""The listener's loop: records from the source into batches, batches to the router, kept until it has them stored."""

import secrets
import time
from collections.abc import Callable

import zmq

from listener.outbox import Limits, Outbox
from listener.pacing import Pacing
from listener.server import Server
from listener.sources import NEEDED, Source, open_source
from listener.spool import Spool
from tapfan import keys, rights, rundir, sockets
from tapfan.batch import Records
from tapfan.bounds import MAX_RECORDS
from tapfan.logs import Logger, Repeated
from tapfan.messages import Acknowledgement, PacketCounts, read_message
from tapfan.program import CannotRunError
from tapfan.sections import ListenerSettings
from tapfan.settings import Settings
from tapfan.stopping import Stop
from tapfan.wire import WireError, unpack

_REPORT_PERIOD_S = 0.5
_POLL_MS = 100  # how soon a stop is noticed
_DRAIN_POLL_S = 0.01
_DRAIN_S = 0.05  # beyond the linger, for what was captured just before the stop
_SILENCE_S = 3 * _REPORT_PERIOD_S  # a router that answers no report for so long is not waited for at a stop
_LONG_SILENCE_S = 10 * _REPORT_PERIOD_S  # that is told
_LOOK_RECORDS = 4 * MAX_RECORDS  # taken from the source before what has come from the router is looked at
_MOST_READS = 64  # likewise, however few records they give
_MANY_RECORDS = 4096  # of both IP versions, which are then worth two batches
# Of one that can wait: with what a last chunk of a file adds, they are one batch, so that none has to be spooled.
_WAITING_RECORDS = MAX_RECORDS // 2


Opener = Callable[[ListenerSettings, Logger], tuple[Source, Server | None]]


def serve(settings: Settings, log: Logger, stop: Stop, opener: Opener = open_source) -> None:
    """Listen until asked to stop, or all is stored; then see that the rest gets stored. Raises CannotRunError."""
    chosen = settings.listener
    rights.take_on(settings, keep=NEEDED)
    with rundir.locked(settings.run_dir, f"listener-{chosen.name}"), zmq.Context() as context:
        spool = Spool(settings.run_dir / f"spool-{chosen.name}.db", chosen.spool_bytes, log)
        limits = Limits(chosen.window_records, chosen.window_bytes, settings.ttl)
        outbox = Outbox(chosen.name, secrets.token_hex(4), spool, limits, always=chosen.spool == "always")
        if outbox.unsettled:
            log.info("spool_found", records=outbox.unsettled, then="they are sent first")
        source, server = opener(chosen, log)
        rights.give_up(settings, log)
        if server:
            server.start()
        listener = Listener(settings, outbox, source, server, log, context)
        log.info("ready", stream=outbox.stream)
        try:
            try:
                while not stop and not (source.has_ended and outbox.is_empty):
                    listener.check()
                    listener.turn()
            finally:
                is_settled = listener.finish()
            if source.can_wait and not is_settled:
                raise CannotRunError(
                    "stopped before all that was read is stored; the rest is in the spool, and goes first the next time"
                )
        finally:
            source.close()
            context.destroy()
            spool.close()


class Listener:
    """Moves records from the source to the router."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        source: Source,
        server: Server | None,
        log: Logger,
        context: zmq.Context[sockets.Socket],
    ) -> None:
        self._settings = settings.listener
        self._outbox = outbox
        self._source = source
        self._server = server
        self._log = log
        self._repeated = Repeated(log)
        self._pacing = Pacing(self._settings.batch_records, self._settings.linger)
        key = keys.of_listener(settings)
        endpoint = settings.endpoint("records")
        self._socket, self._refusals = sockets.watched(context, zmq.DEALER, endpoint, outbox.stream.encode(), key)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        for descriptor in source.descriptors():
            self._poller.register(descriptor, zmq.POLLIN)
        self._next_report_s = 0.0
        self._heard_s = time.monotonic()  # when the router said something
        self._has_ended = False
        self._is_known = False  # the router takes batches of a stream only once that was reported
        self._packets = PacketCounts()

    def turn(self) -> None:
        """Wait for records or acknowledgements, and handle them."""
        if pause_s := self._pacing.pause_s(time.monotonic()):
            time.sleep(pause_s)
        elif self._may_read():
            self._poller.poll(_POLL_MS)
        else:
            self._socket.poll(_POLL_MS)
        self._exchange()
        found = self._read()
        if not self._source.can_wait:
            self._pacing.found(found, time.monotonic())
        self._send_batches()
        if self._server:
            self._server.look_after()

    def check(self) -> None:
        """When it is time, report. Raises CannotRunError when the source can give no more."""
        if time.monotonic() >= self._next_report_s:
            self._report()
            self._source.check()

    def finish(self) -> bool:
        """Take no more, and deliver what was captured; what cannot be delivered now is kept for the next start.

        Gives whether all is settled.
        """
        if self._server:
            self._server.stop()
        still_s = 0.0 if self._source.has_ended else self._settings.linger + _DRAIN_S
        deadline = time.monotonic() + still_s
        while time.monotonic() < deadline or (self._server and not self._server.has_stopped()):
            time.sleep(_DRAIN_POLL_S)
            self._read()
        if not self._source.can_wait:
            self._source.stop()
            time.sleep(_DRAIN_S + self._settings.linger / 2)
            while self._read():
                pass
        self._has_ended = self._source.can_wait  # what is not read waits for another start, or there is nothing more
        now = time.monotonic()
        deadline = now + self._settings.grace
        self._heard_s = now
        self._exchange()
        self._report()
        while not self._outbox.is_empty and now < deadline and now - self._heard_s < _SILENCE_S:
            self._socket.poll(_POLL_MS)
            self._exchange()
            now = time.monotonic()
            if now >= self._next_report_s:
                self._report()
        self._report()
        if not self._outbox.is_empty:
            self._outbox.keep()
            self._log.warning(
                "stopped_with_records_in_the_spool",
                records=self._outbox.unsettled,
                then="they are sent after the next start",
                check="that the router and the writers run, and that their Redis servers answer",
            )
        return self._outbox.is_empty

    def _read(self) -> int:
        """Take what the source has as the next batches; gives how many records."""
        parts = []
        taken = 0
        most = _WAITING_RECORDS if self._source.can_wait else _LOOK_RECORDS
        for _ in range(_MOST_READS):  # also of what gives no records
            if not self._may_read() or taken >= most or (records := self._source.read()) is None:
                break
            parts.append(records)
            taken += len(records)
        for gathered in self._gathered(parts, taken):
            for start in range(0, len(gathered), MAX_RECORDS):
                self._outbox.add(gathered[start : start + MAX_RECORDS])
        return taken

    def _gathered(self, parts: list[Records], taken: int) -> list[Records]:
        """The records together; many of them by IP version, as each is packed to what all have in common."""
        if taken < _MANY_RECORDS:
            return [Records.concatenate(parts)] if taken else []
        widths = {part.source.shape[1] for part in parts}
        return [Records.concatenate([part for part in parts if part.source.shape[1] == width]) for width in widths]

    def _may_read(self) -> bool:
        """Whether to take more from the source: what can wait there is not to wait in the spool."""
        return not self._source.can_wait or self._outbox.has_room

    def _send_batches(self) -> None:
        if not self._is_known:
            return
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
            self._heard_s = time.monotonic()
            if self._outbox.take_acknowledgement(message):
                self._log.info("sends_again", stream=message.stream, first=message.expected)
        self._outbox.refill()
        self._send_batches()

    def _report(self) -> None:
        self._next_report_s = time.monotonic() + _REPORT_PERIOD_S
        had, self._packets = self._packets, self._source.counts()
        if drops := self._packets.kernel_drops - had.kernel_drops:
            self._repeated.warn("kernel_drops", packets=drops, then="more ring_bytes may help")
        if time.monotonic() - self._heard_s > _LONG_SILENCE_S:
            self._repeated.warn("router_is_silent", then="keeps what is not stored", check="that the router runs")
        if refusal := self._refusals.newest():
            self._repeated.warn("router_refuses", problem=refusal, then="keeps what is not stored, and tries again")
        for report in self._outbox.reports(self._source.kind, self._packets, self._has_ended):
            if not sockets.sent(self._socket, report.pack()):
                self._next_report_s = 0.0
            elif report.live:
                self._is_known = True
        self._repeated.tell()
