"""Control requests: bytes in, bytes out, whatever comes in. The client is `tapfan.control`."""

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgpack

from router.access import Peer
from router.changes import Request, is_change
from tapfan.control import COMMANDS, Command, ControlError
from tapfan.logs import Logger
from tapfan.values import shown
from tapfan.wire import WireError, unpack

MAX_REQUEST_BYTES = 64 * 1024
_MAX_ID_BYTES = 64
_DIGEST_BYTES = 16
_LOCAL = "local"  # whose a change is that does not say so and came without a key

Send = Callable[[bytes], object]
Outcome = dict[str, Any] | ControlError
Answer = Callable[[Outcome], None]
Read = Callable[[dict[str, Any]], dict[str, Any]]


def split_envelope(frames: Sequence[bytes]) -> tuple[Sequence[bytes], bytes]:
    """What a reply must begin with, and the request, of a message from a REQ socket (ZeroMQ RFC 28).

    The envelope ends with an empty frame; a message without one gets its reply to where it came from, too.
    """
    end = frames.index(b"", 1) + 1 if b"" in frames[1:-1] else 1
    return frames[:end], b"".join(frames[end:])


class Requests:
    """Answers requests: what only reads at once, by the function of its command; a change whenever it is made.

    `reads`: get the arguments and give the result; those of commands that can do both only get what changes nothing.
    `change`: makes a change, and calls what it is given with the result, then or later.
    """

    def __init__(self, reads: Mapping[Command, Read], change: Callable[[Request, Answer], None], log: Logger) -> None:
        self._reads = reads
        self._change = change
        self._log = log

    def handle(self, message: bytes, peer: Peer, send: Send) -> None:
        """Have the one reply to a request sent, now or later, whatever it is. Never raises."""
        request_id: str | int | None = None

        def answer(outcome: Outcome) -> None:
            send(self._reply(request_id, outcome))

        try:
            if len(message) > MAX_REQUEST_BYTES:
                raise ControlError("too_large", f"a request of {len(message)} bytes; at most {MAX_REQUEST_BYTES}")
            arguments = unpack(message)
            request_id = _id(arguments)
            self._dispatch(_command(arguments), arguments, request_id, peer, answer)
        except WireError as error:
            answer(ControlError("bad_request", f"the request is {error}"))
        except ControlError as error:
            answer(error)
        except Exception as error:  # a bug must not leave a client without a reply, nor put a traceback on the wire
            self._log.exception("request_failed")
            answer(_internal(error))

    def refuse(self, refusal: ControlError, send: Send) -> None:
        """Have a refusal sent in the place of a request's result, for a request that is not even read."""
        send(self._reply(None, refusal))

    def _dispatch(
        self, command: Command, arguments: dict[str, Any], request_id: str | int | None, peer: Peer, answer: Answer
    ) -> None:
        if not is_change(command, arguments):
            answer(self._reads[command](arguments))
            return
        if peer.role != "admin":
            raise ControlError("forbidden", f"{command}: the key {peer.name} may only read")
        digest = _digest({"command": command, **arguments})
        by = peer.name or _LOCAL
        self._change(Request(command, arguments, request_id, digest, by, peer.name, time.time()), answer)

    def _reply(self, request_id: str | int | None, outcome: Outcome) -> bytes:
        if not isinstance(outcome, ControlError):
            try:
                return _packed({"id": request_id, "ok": True, "result": outcome})
            except (TypeError, ValueError, OverflowError) as error:
                self._log.exception("request_failed")
                outcome = _internal(error)
        return _packed({"id": request_id, "ok": False, "error": {"code": outcome.code, "message": outcome.message}})


def _internal(error: Exception) -> ControlError:
    return ControlError("internal", f"the router failed ({type(error).__name__}); see its log")


def _id(request: dict[str, Any]) -> str | int | None:
    """The request's id, taken out of it."""
    request_id = request.pop("id", None)
    if isinstance(request_id, bool) or not isinstance(request_id, str | int | None):
        raise ControlError("bad_request", "id must be text or an integer")
    if isinstance(request_id, str) and len(request_id.encode(errors="replace")) > _MAX_ID_BYTES:
        raise ControlError("bad_request", f"id must have at most {_MAX_ID_BYTES} bytes")
    return request_id


def _command(request: dict[str, Any]) -> Command:
    """The request's command, taken out of it."""
    given = request.pop("command", None)
    for command in COMMANDS:
        if given == command:
            return command
    raise ControlError("unknown_command", f"no command is {shown(given)}; there are: {', '.join(COMMANDS)}")


def _digest(request: dict[str, Any]) -> str:
    """What tells a request from others, in whatever order its maps are written."""
    try:
        return blake2b(_packed(_in_order(request)), digest_size=_DIGEST_BYTES).hexdigest()
    except (ValueError, RecursionError) as error:
        raise ControlError("bad_request", "the request is nested too deeply") from error


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value, key=repr)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def _packed(content: Any) -> bytes:
    packed: bytes = msgpack.packb(content)
    return packed
