"""`python -m bench.fanout_writers ENDPOINT NAME…`: writers that store nothing and say so, in one process."""

import sys
import time
from collections.abc import Sequence

import zmq

from tapfan import sockets
from tapfan.messages import Mark, WriterReport, read_message
from tapfan.wire import read_shares, unpack
from writers.inbox import Inbox, stored_messages
from writers.storing import StoredShare

_REPORT_PERIOD_S = 0.5


class _Writer:
    """One of them: reports, takes shares in order, and acknowledges each turn's."""

    def __init__(self, name: str, socket: sockets.Socket) -> None:
        self.socket = socket
        self._name = name
        self._inbox = Inbox()

    def report(self) -> None:
        """Say how far it is."""
        report = WriterReport(
            name=self._name,
            redis="",
            weight=1.0,
            rampup_s=0.0,
            healthy=True,
            reason="",
            round_trip_us=None,
            used_memory=None,
            max_memory=None,
            router=self._inbox.router,
            expected=self._inbox.expected,
            mark=self._inbox.mark,
            sent=self._inbox.sent,
        )
        sockets.sent(self.socket, report.pack())

    def turn(self) -> None:
        """Take what has come."""
        stored = []
        while (frames := sockets.received(self.socket)) is not None:
            content = unpack(frames[0])
            if content["kind"] == "shares":
                router, first, shares = read_shares(content)
                for number in self._inbox.take_shares(router, first, len(shares)):
                    stored.append(StoredShare(router, number, len(shares[number - first]), 0))
                continue
            mark = read_message(content)
            assert isinstance(mark, Mark)
            if self._inbox.take_mark(mark):
                self.report()
            for message in self._inbox.unconfirmed:
                sockets.sent(self.socket, message.pack())
        for message in stored_messages(self._name, stored):
            self._inbox.add_stored(message)
            sockets.sent(self.socket, message.pack())


def _serve(endpoint: str, names: Sequence[str]) -> None:
    """Serve until killed."""
    context: zmq.Context[sockets.Socket] = zmq.Context()
    writers = {}
    poller = zmq.Poller()
    for name in names:
        socket = sockets.connected(context, zmq.DEALER, endpoint, f"{name}.01234567".encode())
        poller.register(socket, zmq.POLLIN)
        writers[socket] = _Writer(name, socket)
    next_report_s = 0.0
    while True:
        for socket, _ in poller.poll(100):
            writers[socket].turn()
        if time.monotonic() >= next_report_s:
            next_report_s = time.monotonic() + _REPORT_PERIOD_S
            for writer in writers.values():
                writer.report()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2:])
