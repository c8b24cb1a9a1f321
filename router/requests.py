"""Control requests: bytes in, bytes out, whatever comes in. The client is `tapfan.control`."""

from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from tapfan.control import ControlError
from tapfan.logs import Logger
from tapfan.values import shown
from tapfan.wire import WireError, unpack

MAX_REQUEST_BYTES = 64 * 1024
_MAX_ID_BYTES = 64

Handler = Callable[[dict[str, Any]], dict[str, Any]]


def split_envelope(frames: Sequence[bytes]) -> tuple[Sequence[bytes], bytes]:
    """What a reply must begin with, and the request, of a message from a REQ socket (ZeroMQ RFC 28).

    The envelope ends with an empty frame; a message without one gets its reply to where it came from, too.
    """
    end = frames.index(b"", 1) + 1 if b"" in frames[1:-1] else 1
    return frames[:end], b"".join(frames[end:])


class Requests:
    """Answers requests by the handlers of their commands; a handler gets the arguments and gives the result."""

    def __init__(self, handlers: dict[str, Handler], log: Logger) -> None:
        self._handlers = handlers
        self._log = log

    def reply(self, message: bytes) -> bytes:
        """The reply to a request. Never raises."""
        request_id = None
        try:
            if len(message) > MAX_REQUEST_BYTES:
                raise ControlError("too_large", f"a request of {len(message)} bytes; at most {MAX_REQUEST_BYTES}")
            request = unpack(message)
            request_id = self._id(request)
            return _packed({"id": request_id, "ok": True, "result": self._handle(request)})
        except WireError as error:
            refusal = _refusal(request_id, "bad_request", f"the request is {error}")
        except ControlError as error:
            refusal = _refusal(request_id, error.code, error.message)
        except Exception as error:  # a bug must not leave a client without a reply, nor put a traceback on the wire
            self._log.exception("request_failed")
            refusal = _refusal(request_id, "internal", f"the router failed ({type(error).__name__}); see its log")
        return _packed(refusal)

    def _id(self, request: dict[str, Any]) -> str | int | None:
        request_id = request.pop("id", None)
        if isinstance(request_id, bool) or not isinstance(request_id, str | int | None):
            raise ControlError("bad_request", "id must be text or an integer")
        if isinstance(request_id, str) and len(request_id.encode(errors="replace")) > _MAX_ID_BYTES:
            raise ControlError("bad_request", f"id must have at most {_MAX_ID_BYTES} bytes")
        return request_id

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request.pop("command", None)
        handler = self._handlers.get(command) if isinstance(command, str) else None
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise ControlError("unknown_command", f"no command is {shown(command)}; there are: {known}")
        return handler(request)


def _refusal(request_id: str | int | None, code: str, message: str) -> dict[str, Any]:
    return {"id": request_id, "ok": False, "error": {"code": code, "message": message}}


def _packed(answer: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(answer)
    return packed
