"""Control requests: whatever bytes come in, a reply goes out that the client can read, and nothing leaks."""

import copy
from collections.abc import Sequence
from typing import Any, cast

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import CapturingLogger

from router.access import LOCAL, Peer
from router.changes import Request, apply, is_repeated
from router.history import History
from router.intent import Intent, Member
from router.requests import MAX_REQUEST_BYTES, Answer, Requests, split_envelope
from tapfan.control import CODES, COMMANDS
from tapfan.logs import Logger
from tests.tapfan.strategies import anything, nested

_LONGEST_MESSAGE = 300
_MEMBERS = {"a": Member("redis://a:6379/0", 30.0, 30.0), "b": Member("redis://b:6379/0", 70.0, 70.0)}
_INTENT = Intent(1, 300_000, _MEMBERS)
_ID = "0123456789abcdef"


class _Asked:
    """Requests to what operators want, without sockets and disks: a change is in force at once."""

    def __init__(self) -> None:
        self.intent = _INTENT
        self.history = History()
        self.log = CapturingLogger()
        self.made: list[Request] = []
        reads = {command: lambda arguments: {"read": arguments} for command in COMMANDS}
        self._requests = Requests(reads | {"status": self._status}, self._change, cast(Logger, self.log))

    def _status(self, arguments: dict[str, Any]) -> dict[str, Any]:
        match arguments:
            case {"fail": _}:
                raise RuntimeError(f"the secret is hunter2 {arguments}")
            case {"too_large": _}:
                return {"captured": 2**64}
            case {"unpackable": _}:
                return {"what": object()}
        return arguments

    def _change(self, request: Request, answer: Answer) -> None:
        self.made.append(request)
        repeated = is_repeated(self.history, request)
        self.intent, entry = apply(self.intent, self.history, request)
        if entry is not None:
            self.history = self.history.add(entry)
        answer({"version": self.intent.version, "repeated": repeated})

    def reply(self, message: bytes, peer: Peer = LOCAL) -> dict[str, Any]:
        """The one reply, which has one of the two forms; a refusal has changed nothing."""
        before = self.intent, copy.deepcopy(self.intent), len(self.history)
        replies: list[bytes] = []
        self._requests.handle(message, peer, replies.append)
        (packed,) = replies
        reply: dict[str, Any] = msgpack.unpackb(packed)
        if reply["ok"] is True:
            assert reply.keys() == {"id", "ok", "result"}
            return reply
        assert reply["ok"] is False
        assert reply.keys() == {"id", "ok", "error"}
        assert reply["error"].keys() == {"code", "message"}
        assert reply["error"]["code"] in CODES
        assert 0 < len(reply["error"]["message"]) < _LONGEST_MESSAGE
        assert self.intent is before[0]
        assert (self.intent, len(self.history)) == before[1:]
        return reply

    def ask(self, peer: Peer = LOCAL, /, **request: Any) -> dict[str, Any]:
        """The reply to a map."""
        return self.reply(msgpack.packb(request), peer)


def _reply(message: bytes) -> dict[str, Any]:
    return _Asked().reply(message)


def _ask(**request: Any) -> dict[str, Any]:
    return _Asked().ask(**request)


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


_numbers = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**64 - 1),
    st.sampled_from(["+10", "-10", "50%", "1e3", "NaN", "+", "%", "-0%", "9" * 400, "+" * 400]),
)
_vectors = st.dictionaries(st.sampled_from(["a", "b", "c", ""]) | st.text(max_size=5), _numbers | anything, max_size=4)


@given(
    st.fixed_dictionaries(
        {"command": st.sampled_from(COMMANDS) | anything},
        optional={
            "id": st.text(min_size=8, max_size=16) | anything,
            "weights": _vectors | anything,
            "states": st.dictionaries(st.sampled_from("ab"), st.sampled_from(["ready", "drain"]) | anything) | anything,
            "ttl": _numbers | st.sampled_from(["5m", "-5m", "10", "1e400s"]) | anything,
            "over": _numbers | st.sampled_from(["60s", "0s", "9999d"]) | anything,
            "cancel": anything,
            "force": st.booleans() | anything,
            "if_version": st.sampled_from([0, 1, 2]) | anything,
            "version": st.sampled_from([0, 1, 2]) | anything,
            "name": st.sampled_from(["a", "c", "é", "a b", "x" * 33]) | anything,
            "redis": st.sampled_from(["redis://c:1/0", "redis://:secret@c:1/0", "ftp://c", "redis://" + "c" * 9_999])
            | anything,
            "weight": _numbers | anything,
            "rampup": _numbers | anything,
            "by": anything,
            "reason": anything,
            "limit": anything,
            "other": anything,
        },
    )
)
def test_any_request_gets_a_reply_and_what_is_refused_changes_nothing(request: dict[str, Any]) -> None:
    asked = _Asked()
    reply = asked.ask(**request)
    assert reply["id"] in (request.get("id"), None)
    assert reply["ok"] is False or request["command"] in COMMANDS
    assert any(member.weight for member in asked.intent.members.values())
    if not reply["ok"]:
        assert reply["error"]["code"] != "internal", reply


def test_a_request_of_thousands_of_writers_is_refused_with_a_short_text() -> None:
    reply = _ask(id=1, command="weights", weights={f"w{i}": i for i in range(5000)})
    assert reply["error"]["code"] == "unknown_writer"


def test_megabytes_are_refused_before_they_are_unpacked() -> None:
    assert _ask(id=1, command="weights", weights={"a": "x" * 5_000_000})["error"]["code"] == "too_large"


def test_a_result_comes_back_under_the_id_and_the_handler_sees_only_arguments() -> None:
    assert _ask(id="7", command="status", a=1, b=[2]) == {"id": "7", "ok": True, "result": {"a": 1, "b": [2]}}


@pytest.mark.parametrize("command", ["status", "history", "weights", "state", "ttl"])
def test_what_only_reads_makes_no_change(command: str) -> None:
    asked = _Asked()
    assert asked.ask(id=_ID, command=command)["ok"] is True
    assert asked.made == []


def test_a_change_has_all_that_is_known_of_it() -> None:
    asked = _Asked()
    assert asked.ask(id=_ID, command="weights", weights={"a": 1}, by="ann")["result"]["version"] == 2
    (made,) = asked.made
    assert (made.command, made.arguments, made.id) == ("weights", {"weights": {"a": 1}, "by": "ann"}, _ID)
    (entry,) = asked.history
    assert (entry.by, entry.key, entry.request) == ("ann", None, _ID)


def test_whose_a_change_is_that_does_not_say_so() -> None:
    asked = _Asked()
    asked.ask(command="weights", weights={"a": 1})
    asked.ask(Peer("desk", "admin"), command="weights", weights={"a": 2})
    asked.ask(Peer("desk", "admin"), command="weights", weights={"a": 3}, by="ann")
    assert [(entry.by, entry.key) for entry in asked.history] == [("local", None), ("desk", "desk"), ("ann", "desk")]


def test_a_request_that_comes_again_is_made_once_in_whatever_order_its_maps_are() -> None:
    asked = _Asked()
    first = asked.ask(id=_ID, command="weights", weights={"a": 1, "b": 2}, by="ann")
    again = asked.ask(weights={"b": 2, "a": 1}, by="ann", command="weights", id=_ID)
    assert (first["result"], again["result"]) == (
        {"version": 2, "repeated": False},
        {"version": 2, "repeated": True},
    )
    for other in ({"weights": {"a": 1, "b": 3}}, {"weights": {"a": 2, "b": 1}}, {"ttl": 60}):
        assert asked.ask(id=_ID, command="weights", by="ann", **other)["error"]["code"] == "id_reused"


@pytest.mark.parametrize(
    "arguments",
    [{"weights": {"a": 1}}, {"over": 1}, {"cancel": True}, {"weights": {}, "force": True}, {"weights": []}],
)
def test_who_may_read_may_not_change(arguments: dict[str, Any]) -> None:
    asked, peer = _Asked(), Peer("watcher", "read")
    error = asked.ask(peer, id=_ID, command="weights", **arguments)["error"]
    assert error == {"code": "forbidden", "message": "weights: the key watcher may only read"}
    assert asked.made == []
    assert asked.ask(peer, command="weights")["ok"] is True
    assert asked.ask(peer, command="status")["ok"] is True
    for command in ("undo", "add", "remove", "state", "ttl"):
        assert asked.ask(peer, command=command, ttl=1)["error"]["code"] == "forbidden"


@pytest.mark.parametrize("request_id", [None, 0, -1, 2**64 - 1, "", "x" * 64, "é" * 32])
def test_text_and_integers_are_ids(request_id: Any) -> None:
    assert _ask(id=request_id, command="status") == {"id": request_id, "ok": True, "result": {}}


@pytest.mark.parametrize("request_id", [True, 1.5, b"7", [7], {"id": 7}, "x" * 65, "é" * 33])
def test_what_is_no_id_is_refused_and_not_sent_back(request_id: Any) -> None:
    reply = _ask(id=request_id, command="status")
    assert (reply["id"], reply["error"]["code"]) == (None, "bad_request")
    assert reply["error"]["message"].startswith("id must")


@pytest.mark.parametrize(
    "command", ["", "Status", "status ", "x" * 10_000, None, 7, True, b"status", ["undo"], {"undo": 1}]
)
def test_an_unknown_command_is_refused_with_those_that_there_are(command: Any) -> None:
    error = _ask(id=1, command=command)["error"]
    assert error["code"] == "unknown_command"
    assert ", ".join(COMMANDS) in error["message"]


def test_a_request_without_a_command_is_refused() -> None:
    assert _ask(id=1)["error"]["code"] == "unknown_command"


@pytest.mark.parametrize("content", [None, 1, "status", ["status"], {1: 2}, {b"command": "status"}])
def test_what_is_no_map_is_refused(content: Any) -> None:
    reply = _reply(msgpack.packb(content))
    assert (reply["id"], reply["error"]["code"]) == (None, "bad_request")
    assert reply["error"]["message"].startswith("the request is not ")


def test_the_longest_request_passes_and_a_longer_one_is_refused_before_it_is_unpacked() -> None:
    frame = len(msgpack.packb({"id": 1, "command": "status", "a": "x" * 60_000})) - 60_000
    longest = msgpack.packb({"id": 1, "command": "status", "a": "x" * (MAX_REQUEST_BYTES - frame)})
    assert len(longest) == MAX_REQUEST_BYTES
    assert _reply(longest)["ok"]
    reply = _reply(longest + b"\0")
    assert (reply["id"], reply["error"]["code"]) == (None, "too_large")
    assert "65537 bytes; at most 65536" in reply["error"]["message"]


def test_a_handler_that_fails_is_logged_and_neither_its_text_nor_its_trace_is_sent() -> None:
    asked = _Asked()
    reply = asked.ask(id=1, command="status", fail="mine")
    assert reply == {
        "id": 1,
        "ok": False,
        "error": {"code": "internal", "message": "the router failed (RuntimeError); see its log"},
    }
    assert [call.method_name for call in asked.log.calls] == ["exception"]


@pytest.mark.parametrize("argument", ["too_large", "unpackable"])
def test_a_result_that_cannot_be_packed_is_an_internal_error(argument: str) -> None:
    asked = _Asked()
    reply = asked.ask(id=1, command="status", **{argument: 1})
    assert (reply["id"], reply["error"]["code"]) == (1, "internal")
    assert [call.method_name for call in asked.log.calls] == ["exception"]


@pytest.mark.parametrize("depth", [10, 300, 900, 1000, 1020, 2000, 60_000])
@pytest.mark.parametrize("key", ["id", "command", "weights", "a"])
def test_nesting_of_any_depth_is_the_clients_fault_and_not_the_routers(key: str, depth: int) -> None:
    reply = _reply(nested({"command": "weights"}, key, depth))
    assert reply["error"]["code"] in ("bad_request", "unknown_command")


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
