"""`python -m bench.sink ENDPOINT`: stores nothing and acknowledges everything, to measure a listener alone."""

import sys

import zmq

from tapfan import sockets
from tapfan.messages import Acknowledgement, ListenerReport, read_message
from tapfan.wire import read_batch, unpack


def main() -> None:
    """Acknowledge until killed."""
    context: zmq.Context[sockets.Socket] = zmq.Context()
    socket = sockets.bound(context, zmq.ROUTER, sys.argv[1])
    ends: dict[str, int] = {}
    report = 0
    while True:
        address, message = socket.recv_multipart()
        content = unpack(message)
        if content["kind"] == "batch":
            batch = read_batch(content)
            stream = batch.stream
            ends[stream] = batch.end
        else:
            received = read_message(content)
            assert isinstance(received, ListenerReport)
            report, stream = received.number, received.stream
        end = ends.get(stream, 0)
        acknowledgement = Acknowledgement(
            stream=stream, acknowledged=end, lost={}, expected=end, report=report, sent=end, ttl_ms=300_000
        )
        sockets.sent(socket, address, acknowledgement.pack())


if __name__ == "__main__":
    main()
