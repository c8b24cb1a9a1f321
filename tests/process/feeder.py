"""A listener of the test's own: real batches to a real router, of the sizes and at the moments that a test chooses."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import zmq

from listener.outbox import Limits, Outbox
from listener.spool import Spool
from tapfan import sockets
from tapfan.batch import Records
from tapfan.endpoints import packed
from tapfan.logs import open_log
from tapfan.messages import Acknowledgement, PacketCounts, read_message
from tapfan.wire import unpack
from tests.process.running import Programs, wait_for


def records(count: int, timestamp_ns: int | None = None) -> Records:
    """Records captured now, or then, all from one source."""
    made = Records.empty(count)
    made.timestamp[:] = time.time_ns() if timestamp_ns is None else timestamp_ns
    made.source[:] = np.frombuffer(packed("192.0.2.1"), np.uint8)
    made.destination[:] = np.frombuffer(packed("192.0.2.2"), np.uint8)
    made.source_port[:], made.destination_port[:], made.flags[:], made.segments[:] = 40_000, 9000, 0x10, 1
    return made


class Feeder:
    """Sends records as the listener `feeder` does, and takes the acknowledgements."""

    def __init__(self, socket: sockets.Socket, spool: Spool) -> None:
        self.socket = socket
        self.outbox = Outbox("feeder", "0123abcd", spool, Limits(10**6, 10**9, 300))

    def send(self, batch: Records) -> None:
        """Send one batch."""
        self.outbox.add(batch)
        self.exchange()

    def exchange(self) -> bool:
        """Take what the router says, send what is unsent, and report; True when all is acknowledged."""
        while (frames := sockets.received(self.socket)) is not None:
            message = read_message(unpack(b"".join(frames)))
            assert isinstance(message, Acknowledgement)
            self.outbox.take_acknowledgement(message)
        for report in self.outbox.reports("capture", PacketCounts()):
            sockets.sent(self.socket, report.pack())
        while (unsent := self.outbox.next_unsent()) is not None and sockets.sent(self.socket, unsent):
            self.outbox.mark_sent()
        return self.outbox.is_empty

    def wait_acknowledged(self) -> None:
        """Wait until everything sent is stored or expired."""
        wait_for(self.exchange, "everything sent is acknowledged")


@contextmanager
def feeder(programs: Programs) -> Iterator[Feeder]:
    """A feeder connected to the router."""
    with zmq.Context() as context:
        spool = Spool(programs.folder / "feeder.db", 10**9, open_log("feeder"))
        made = Feeder(sockets.connected(context, zmq.DEALER, programs.endpoint("records"), b"feeder"), spool)
        try:
            wait_for(
                lambda: made.exchange() and "feeder" in programs.status()["listeners"], "the router knows the feeder"
            )
            yield made
        finally:
            context.destroy(linger=0)
