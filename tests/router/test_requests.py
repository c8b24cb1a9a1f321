"""Control requests: whatever bytes come in, a reply goes out that the client can read, and nothing leaks."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import CapturingLogger

from router.requests import MAX_REQUEST_BYTES, Requests, split_envelope
from router.weights import Weights
from tapfan.control import ControlError
from tapfan.logs import Logger
from tests.tapfan.strategies import anything, nested

_LONGEST_MESSAGE = 300


def _fail(arguments: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError(f"the secret is hunter2 {arguments}")


def _refuse(arguments: dict[str, Any]) -> dict[str, Any]:
    raise ControlError("bad_mood", f"not with {len(arguments)} arguments")


def _set(arguments: dict[str, Any]) -> dict[str, Any]:
    Weights({"a": 1}).change(arguments)
    return {}


_HANDLERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "echo": lambda arguments: arguments,
    "fail": _fail,
    "refuse": _refuse,
    "set": _set,
    "too_large": lambda _: {"captured": 2**64},
    "unpackable": lambda _: {"what": object()},
}


def _requests(log: CapturingLogger | None = None) -> Requests:
    return Requests(_HANDLERS, cast(Logger, log or CapturingLogger()))


def _reply(message: bytes, log: CapturingLogger | None = None) -> dict[str, Any]:
    """The reply, which has one of the two forms."""
    reply: dict[str, Any] = msgpack.unpackb(_requests(log).reply(message))
    if reply["ok"] is True:
        assert reply.keys() == {"id", "ok", "result"}
        return reply
    assert reply["ok"] is False
    assert reply.keys() == {"id", "ok", "error"}
    assert reply["error"].keys() == {"code", "message"}
    assert 0 < len(reply["error"]["message"]) < _LONGEST_MESSAGE
    return reply


def _ask(**request: Any) -> dict[str, Any]:
    return _reply(msgpack.packb(request))


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xc1")
@example(b"GET / HTTP/1.1\r\n\r\n")
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\x81\xa2id\xd6\xff\0\0\0\0")
def test_any_bytes_get_a_reply(message: bytes) -> None:
    assert _reply(message)["ok"] is False


@given(anything)
def test_any_msgpack_gets_a_reply(content: Any) -> None:
    _reply(msgpack.packb(content))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": anything,
            "command": st.one_of(st.sampled_from([*_HANDLERS, "other"]), anything),
            "weights": anything,
            "a": anything,
        },
    )
)
def test_any_request_gets_a_reply(request: dict[str, Any]) -> None:
    reply = _ask(**request)
    given_id = request.get("id")
    assert reply["id"] in (given_id, None)
    assert reply["ok"] is False or request["command"] in _HANDLERS


def test_a_result_comes_back_under_the_id_and_the_handler_sees_only_arguments() -> None:
    assert _ask(id="7", command="echo", a=1, b=[2]) == {"id": "7", "ok": True, "result": {"a": 1, "b": [2]}}


@pytest.mark.parametrize("request_id", [None, 0, -1, 2**64 - 1, "", "x" * 64, "é" * 32])
def test_text_and_integers_are_ids(request_id: Any) -> None:
    assert _ask(id=request_id, command="echo") == {"id": request_id, "ok": True, "result": {}}


@pytest.mark.parametrize("request_id", [True, 1.5, b"7", [7], {"id": 7}, "x" * 65, "é" * 33])
def test_what_is_no_id_is_refused_and_not_sent_back(request_id: Any) -> None:
    reply = _ask(id=request_id, command="echo")
    assert (reply["id"], reply["error"]["code"]) == (None, "bad_request")
    assert reply["error"]["message"].startswith("id must")


@pytest.mark.parametrize("command", ["", "Echo", "echo ", "x" * 10_000, None, 7, True, b"echo", ["echo"], {"echo": 1}])
def test_an_unknown_command_is_refused_with_those_that_there_are(command: Any) -> None:
    error = _ask(id=1, command=command)["error"]
    assert error["code"] == "unknown_command"
    assert ", ".join(sorted(_HANDLERS)) in error["message"]


def test_a_request_without_a_command_is_refused() -> None:
    assert _ask(id=1)["error"]["code"] == "unknown_command"


@pytest.mark.parametrize("content", [None, 1, "status", ["status"], {1: 2}, {b"command": "echo"}])
def test_what_is_no_map_is_refused(content: Any) -> None:
    reply = _reply(msgpack.packb(content))
    assert (reply["id"], reply["error"]["code"]) == (None, "bad_request")
    assert reply["error"]["message"].startswith("the request is not ")


def test_the_longest_request_passes_and_a_longer_one_is_refused_before_it_is_unpacked() -> None:
    frame = len(msgpack.packb({"id": 1, "command": "echo", "a": "x" * 60_000})) - 60_000
    longest = msgpack.packb({"id": 1, "command": "echo", "a": "x" * (MAX_REQUEST_BYTES - frame)})
    assert len(longest) == MAX_REQUEST_BYTES
    assert _reply(longest)["ok"]
    reply = _reply(longest + b"\0")
    assert (reply["id"], reply["error"]["code"]) == (None, "too_large")
    assert "65537 bytes; at most 65536" in reply["error"]["message"]


def test_a_refusal_by_the_handler_comes_with_its_code_and_message() -> None:
    assert _ask(id=1, command="refuse", a=1)["error"] == {"code": "bad_mood", "message": "not with 1 arguments"}


def test_a_handler_that_fails_is_logged_and_neither_its_text_nor_its_trace_is_sent() -> None:
    log = CapturingLogger()
    message = msgpack.packb({"id": 1, "command": "fail", "a": "mine"})
    reply = _requests(log).reply(message)
    assert msgpack.unpackb(reply) == {
        "id": 1,
        "ok": False,
        "error": {"code": "internal", "message": "the router failed (RuntimeError); see its log"},
    }
    assert not any(leak in reply for leak in (b"hunter2", b"mine", b"Traceback", b".py"))
    assert [call.method_name for call in log.calls] == ["exception"]


@pytest.mark.parametrize("command", ["too_large", "unpackable"])
def test_a_result_that_cannot_be_packed_is_an_internal_error(command: str) -> None:
    log = CapturingLogger()
    reply = _reply(msgpack.packb({"id": 1, "command": command}), log)
    assert (reply["id"], reply["error"]["code"]) == (1, "internal")
    assert [call.method_name for call in log.calls] == ["exception"]


@pytest.mark.parametrize("depth", [10, 300, 900, 1000, 1020, 2000, 60_000])
@pytest.mark.parametrize("key", ["id", "command", "a"])
def test_nesting_of_any_depth_is_the_clients_fault_and_not_the_routers(key: str, depth: int) -> None:
    reply = _reply(nested({"command": "set"}, key, depth))
    assert reply["error"]["code"] in ("bad_request", "unknown_command", "bad_weight")


@pytest.mark.parametrize(
    ("frames", "envelope", "request_frame"),
    [
        ([b"peer", b"", b"ask"], [b"peer", b""], b"ask"),
        ([b"peer", b"id", b"", b"ask"], [b"peer", b"id", b""], b"ask"),
        ([b"peer", b"", b"as", b"k"], [b"peer", b""], b"ask"),
        ([b"peer", b"", b"ask", b"", b""], [b"peer", b""], b"ask"),
        ([b"peer", b"ask"], [b"peer"], b"ask"),
        ([b"peer", b""], [b"peer"], b""),
        ([b"", b"", b"ask"], [b"", b""], b"ask"),
        ([b"", b"ask"], [b""], b"ask"),
        ([b"peer"], [b"peer"], b""),
    ],
)
def test_a_reply_begins_with_what_came_before_the_request(
    frames: Sequence[bytes], envelope: Sequence[bytes], request_frame: bytes
) -> None:
    assert split_envelope(frames) == (envelope, request_frame)
