"""Where records come from: capturing, or accepting where capturing is not allowed."""

from typing import Protocol

from listener.accepting import AcceptSource
from listener.capture.source import CaptureSource
from listener.server import Server
from tapfan.batch import Records
from tapfan.logs import Logger
from tapfan.messages import PacketCounts, SourceKind
from tapfan.program import CannotRunError
from tapfan.rights import Capability
from tapfan.sections import ListenerSettings

NEEDED = frozenset({Capability.NET_RAW, Capability.NET_BIND_SERVICE})  # by open_source: to capture, and for low ports
_HOW_TO_ALLOW = (
    "capturing needs CAP_NET_RAW: run as root, or `setcap cap_net_raw+ep` a copy of the Python interpreter, "
    'or set source = "accept" and serve = "discard" or "forward" under [listener], to record what the listener accepts'
)


class Source(Protocol):
    """Gives records as they come. Not for several threads."""

    @property
    def kind(self) -> SourceKind:
        """How the records are made."""

    @property
    def can_wait(self) -> bool:
        """Whether what is not read now is still there later, however long that is."""

    @property
    def has_ended(self) -> bool:
        """Whether there will be no more records."""

    def descriptors(self) -> list[int]:
        """To be polled for reading."""

    def read(self) -> Records | None:
        """The next records; None when there are none now."""

    def check(self) -> None:
        """To be called now and then. Raises CannotRunError when there will be no more records."""

    def counts(self) -> PacketCounts:
        """What became of the packets since the start."""

    def stop(self) -> None:
        """Take in no more; what has come in is still to be read, a moment later."""

    def close(self) -> None:
        """Give everything back."""


def open_source(settings: ListenerSettings, log: Logger) -> tuple[Source, Server | None]:
    """The source that the settings ask for, and what is to serve the endpoints, if anything. Raises CannotRunError.

    What serves has its sockets, and is to be started when the rights to open them are given up. Capturing begins before
    serving, so that the first connection's first packet is captured.
    """
    capture = _capture(settings, log)
    if capture is None:
        server = Server(settings, log, records=True)
        log.info("source_chosen", source="accept", listen=_listen(settings), serve=settings.serve)
        return AcceptSource(server.pipe), server
    log.info(
        "source_chosen",
        source="capture",
        listen=_listen(settings),
        serve=settings.serve,
        interfaces=",".join(capture.interfaces),
        ring_bytes=capture.ring_bytes,
    )
    if settings.serve == "none":
        return capture, None
    try:
        return capture, Server(settings, log, records=False)
    except CannotRunError:
        capture.close()
        raise


def _capture(settings: ListenerSettings, log: Logger) -> CaptureSource | None:
    """The capturing source; None where it is not wanted, or not allowed and not insisted on."""
    if settings.source == "accept":
        return None
    try:
        return CaptureSource(settings, log)
    except PermissionError as error:
        if settings.must_capture:
            raise CannotRunError(_HOW_TO_ALLOW) from error
        log.warning("capture_not_allowed", problem=_HOW_TO_ALLOW, then="accepts the connections itself")
        return None


def _listen(settings: ListenerSettings) -> str:
    return ",".join(map(str, settings.listen))
