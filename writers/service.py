"""A writer's loop: shares and marks in from the router, reports and acknowledgements back."""

import secrets
import time

import zmq

from tapfan import keys, rights, rundir, sockets
from tapfan.logs import Logger, Repeated
from tapfan.messages import Mark, WriterReport, cut, read_message
from tapfan.sections import WriterSettings
from tapfan.settings import Settings
from tapfan.stopping import Stop
from tapfan.wire import WireError, read_shares, unpack
from writers.cluster import store_for
from writers.concerns import ConcernLog, concerns
from writers.inbox import Inbox, stored_messages
from writers.layouts import Share, shaping
from writers.load import projection
from writers.store import CONFIRM_S
from writers.storing import STOP_TIMEOUT_S, Health, StoredShare, Storing

_REPORT_PERIOD_S = 0.5
_GATHER_S = 0.005  # while there is more to store, the least time between two messages that some is
_POLL_MS = 100  # how soon a stop is noticed


def serve(name: str, settings: Settings, log: Logger, stop: Stop) -> None:
    """Write to the Redis of the writer with that name until asked to stop. Raises CannotRunError."""
    rights.take_on(settings)
    with rundir.locked(settings.run_dir, f"writer-{name}"), zmq.Context() as context:
        writer = Writer(settings.writer(name), settings, log, context)
        log.info("ready", redis=settings.writer(name).redacted)
        try:
            while not stop:
                writer.turn()
        finally:
            writer.close()
            context.destroy()


class Writer:
    """Moves messages between the router and the thread that stores."""

    def __init__(
        self, writer: WriterSettings, settings: Settings, log: Logger, context: zmq.Context[sockets.Socket]
    ) -> None:
        self._settings = writer
        self._log = log
        self._repeated = Repeated(log)
        self._inbox = Inbox()
        self._unsaid: list[StoredShare] = []  # what is stored and not said to be yet
        self._next_say_s = 0.0
        self._concerns = ConcernLog(log, writer.redacted)
        self._health = Health(False, "connecting")
        # A replica's answer is waited for apart from Redis's own.
        self._patience_s = _REPORT_PERIOD_S + (CONFIRM_S if writer.confirm == "replica" else 0.0)
        self._next_report_s = time.monotonic() + _REPORT_PERIOD_S  # unless Redis is known to be up before
        # An identity of its own for each start: the router must not take two for one while the first still closes.
        identity = f"{writer.name}.{secrets.token_hex(4)}".encode()
        key = keys.of_writer(writer)
        endpoint = settings.endpoint("shares")
        self._socket, self._refusals = sockets.watched(context, zmq.DEALER, endpoint, identity, key)
        layout = settings.layout_of(writer)
        self._storing = Storing(store_for(writer, layout), shaping(layout, settings.listener.linger))
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._storing.ready_fd, zmq.POLLIN)

    def turn(self) -> None:
        """Wait for messages or outcomes, handle them, and report when it is time."""
        until_s = min(self._next_report_s, self._next_say_s) if self._unsaid else self._next_report_s
        left_ms = round((until_s - time.monotonic()) * 1000)
        self._poller.poll(max(0, min(_POLL_MS, left_ms)))
        if not self._storing.runs:
            raise RuntimeError("the storing thread ended; why is told above")
        self._handle_outcomes()
        while (frames := sockets.received(self._socket)) is not None:
            try:
                self._handle_message(b"".join(frames))
            except WireError as error:
                self._repeated.warn("bad_message", problem=str(error))
        if time.monotonic() >= self._next_report_s:
            self._report()

    def close(self) -> None:
        """Stop storing, and acknowledge what was stored; the router keeps the rest."""
        if not self._storing.stop():
            self._log.warning("redis_holds_up_the_stop", waited_s=STOP_TIMEOUT_S)
        self._handle_outcomes()
        self._say_stored()

    def _handle_message(self, message: bytes) -> None:
        content = unpack(message)
        if content.get("kind") == "shares":
            router, first, shares = read_shares(content)
            for number in self._inbox.take_shares(router, first, len(shares)):
                share = shares[number - first]
                self._storing.add(Share(router, number, share.ttl_ms, share))
            return
        mark = read_message(content)
        if not isinstance(mark, Mark):
            raise WireError(f"{mark.kind}: not from a router")
        changed = self._inbox.take_mark(mark)
        self._storing.want(mark.router, mark.base)
        if changed:
            self._log.info("router_found", router=mark.router)
            self._report()
        for stored in self._inbox.unconfirmed:
            sockets.sent(self._socket, stored.pack())

    def _handle_outcomes(self) -> None:
        for outcome in self._storing.outcomes():
            if isinstance(outcome, Health):
                self._take_health(outcome)
            else:
                self._unsaid.append(outcome)
        if self._unsaid:
            is_all = self._unsaid[-1].number + 1 == self._inbox.expected
            if is_all or time.monotonic() >= self._next_say_s:
                self._say_stored()

    def _say_stored(self) -> None:
        """Tell the router what is stored and was not said to be yet."""
        if not self._unsaid:
            return
        for stored in stored_messages(self._settings.name, self._unsaid):
            self._inbox.add_stored(stored)
            sockets.sent(self._socket, stored.pack())
        self._unsaid.clear()
        self._next_say_s = time.monotonic() + _GATHER_S

    def _take_health(self, health: Health) -> None:
        before, self._health = self._health, health
        if health.healthy and not before.healthy:
            self._log.info("redis_up", redis=self._settings.redacted)
        if health.reason and health.reason != before.reason:
            self._log.warning("redis_down", redis=self._settings.redacted, problem=health.reason, then="keeps trying")
        if health.healthy != before.healthy:
            self._report()

    def _report(self) -> None:
        self._next_report_s = time.monotonic() + _REPORT_PERIOD_S
        self._say_stored()  # before what may make the router give them to others
        healthy, reason = self._health.healthy, self._health.reason
        if (unanswered_s := self._storing.unanswered_s) > self._patience_s:
            healthy, reason = False, f"no answer for {unanswered_s:.1f} s"
        vitals = self._health.vitals
        projected = projection(self._storing.load.measured(), vitals)
        warnings = concerns(vitals, projected)
        if refusal := self._refusals.newest():
            self._repeated.warn("router_refuses", problem=refusal, then="tries again")
        self._concerns.tell(warnings)
        report = WriterReport(
            name=self._settings.name,
            redis=cut(self._settings.redacted),
            weight=self._settings.weight,
            rampup_s=self._settings.rampup,
            healthy=healthy,
            reason=reason,
            round_trip_us=vitals.round_trip_us if vitals else None,
            used_memory=vitals.used_memory if vitals else None,
            max_memory=vitals.max_memory if vitals else None,
            projection=projected,
            warnings=list(warnings.values()),
            router=self._inbox.router,
            expected=self._inbox.expected,
            mark=self._inbox.mark,
            sent=self._inbox.sent,
        )
        sockets.sent(self._socket, report.pack())
        self._repeated.tell()
