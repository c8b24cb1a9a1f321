"""The control client: results, refusals, and silence."""

from pathlib import Path
from typing import Any

import pytest

from tapfan.control import ControlClient, ControlError, ControlTimeoutError
from tests.tapfan.answering import answering

_PATIENT_S = 10.0
_SHORT_S = 0.05
_LONG_ENOUGH_S = 1.0  # for an answer, where the test also waits for one that does not come


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/control.ipc"


def test_a_result_is_given_for_each_request(endpoint: str) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "result": {"echo": request["command"]}}

    with answering(endpoint, answer) as requests, ControlClient(endpoint, _PATIENT_S) as client:
        assert client.status() == {"echo": "status"}
        assert client.weights() == {"echo": "weights"}
        assert client.weights({"a": 30, "b": 70.5}) == {"echo": "weights"}
        assert client.request("drain", writer="a") == {"echo": "drain"}
    assert [{key: value for key, value in request.items() if key != "id"} for request in requests] == [
        {"command": "status"},
        {"command": "weights"},
        {"command": "weights", "weights": {"a": 30, "b": 70.5}},
        {"command": "drain", "writer": "a"},
    ]
    assert len({request["id"] for request in requests}) == 4


def test_each_method_sends_what_it_is_given_and_nothing_else(endpoint: str) -> None:
    with answering(endpoint, lambda _request: {"ok": True, "result": {}}) as requests:
        with ControlClient(endpoint, _PATIENT_S) as client:
            client.history()
            client.history(5)
            client.weights({"a": "+10"}, over="60s", by="ann", reason="disk", if_version=7, force=True)
            client.weights(cancel=True)
            client.state()
            client.state({"a": "drain"}, by="ann")
            client.ttl("10m", if_version=1)
            client.undo()
            client.undo(3, force=True)
            client.add("c", "redis://c:6379/0", 5, rampup="30s")
            client.remove("c", force=True)
        assert [{key: value for key, value in request.items() if key != "id"} for request in requests] == [
            {"command": "history"},
            {"command": "history", "limit": 5},
            {"command": "weights", "weights": {"a": "+10"}, "over": "60s"}
            | {"by": "ann", "reason": "disk", "if_version": 7, "force": True},
            {"command": "weights", "cancel": True},
            {"command": "state"},
            {"command": "state", "states": {"a": "drain"}, "by": "ann"},
            {"command": "ttl", "ttl": "10m", "if_version": 1},
            {"command": "undo"},
            {"command": "undo", "version": 3, "force": True},
            {"command": "add", "name": "c", "redis": "redis://c:6379/0", "weight": 5, "rampup": "30s"},
            {"command": "remove", "name": "c", "force": True},
        ]


def test_a_change_without_a_reply_is_asked_for_once_more_under_its_id_and_a_read_is_not(endpoint: str) -> None:
    def answer(_request: dict[str, Any]) -> dict[str, Any] | None:
        return None if len(requests) in (1, 3) else {"ok": True, "result": {"asked": len(requests)}}

    with answering(endpoint, answer) as requests, ControlClient(endpoint, _LONG_ENOUGH_S) as client:
        assert client.weights({"a": 1}) == {"asked": 2}
        assert requests[0] == requests[1]
        with pytest.raises(ControlTimeoutError):
            client.weights()
    assert len(requests) == 3


def test_a_refusal_is_an_error_with_code_and_message_and_the_client_goes_on(endpoint: str) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "status":
            return {"ok": True, "result": {}}
        return {"ok": False, "error": {"code": "bad_request", "message": "the weights must be numbers"}}

    with answering(endpoint, answer), ControlClient(endpoint, _PATIENT_S) as client:
        with pytest.raises(ControlError, match="the weights must be numbers") as caught:
            client.weights({"a": 1})
        assert (caught.value.code, caught.value.message) == ("bad_request", "the weights must be numbers")
        assert client.status() == {}


def test_without_a_router_the_error_says_what_to_check(endpoint: str) -> None:
    with ControlClient(endpoint, _SHORT_S) as client:
        for _ in range(2):
            with pytest.raises(ControlTimeoutError) as caught:
                client.status()
    assert str(caught.value).startswith(f"no reply from {endpoint} within 0.05 s: is the router running")


def test_a_router_that_comes_later_is_reached(endpoint: str) -> None:
    with ControlClient(endpoint, _LONG_ENOUGH_S) as client:
        with pytest.raises(ControlTimeoutError):
            client.status()
        with answering(endpoint, lambda _request: {"ok": True, "result": {}}):
            assert client.status() == {}


def test_after_a_request_without_reply_the_next_one_has_its_own(endpoint: str) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any] | None:
        return None if request["command"] == "lost" else {"ok": True, "result": {"echo": request["command"]}}

    with answering(endpoint, answer) as requests, ControlClient(endpoint, _LONG_ENOUGH_S) as client:
        assert client.request("before") == {"echo": "before"}
        with pytest.raises(ControlTimeoutError):
            client.request("lost")
        assert client.request("after") == {"echo": "after"}
    assert [request["command"] for request in requests] == ["before", "lost", "after"]
