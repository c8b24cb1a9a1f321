"""Ids, requests that come again, and changes for one version only."""

from typing import Any

import msgpack
import pytest
import zmq

from tests.process.control.asked import refusal
from tests.process.control.plain_client import Control, RefusedError, new_id
from tests.process.running import Programs


def test_an_id_that_comes_again_is_applied_once(control: Control) -> None:
    request = {"id": new_id(), "command": "weights", "weights": {"a": "+10"}}
    first, again = control.ask(request), control.ask(request)
    assert (first["weights"]["a"], first["repeated"]) == (40, False)
    assert (again["weights"]["a"], again["version"], again["repeated"]) == (40, first["version"], True)
    expected = {"id": new_id(), "command": "ttl", "ttl": 600, "if_version": first["version"]}
    assert [control.ask(expected)["repeated"] for _ in range(2)] == [False, True]
    with pytest.raises(RefusedError, match=r"^id_reused: "):
        control.ask(request | {"weights": {"a": "+11"}})


def test_an_id_outlives_the_router(running: Programs, control: Control) -> None:
    request = {"id": new_id(), "command": "weights", "weights": {"a": "+10"}}
    control.ask(request)
    running.kill("router")
    running.start("router")
    running.wait_ready()
    with Control(running.endpoint("control")) as client:
        again = client.ask(request)
    assert (again["weights"], again["repeated"]) == ({"a": 40, "b": 70}, True)


@pytest.mark.parametrize("short", ["1234567", 7, None])
def test_what_is_no_unique_id_is_applied_each_time(control: Control, short: Any) -> None:
    for weight in (40, 50):
        assert control.ask({"id": short, "command": "weights", "weights": {"a": "+10"}})["weights"]["a"] == weight


def test_a_reply_has_the_id_of_its_request_and_a_dealer_may_send_several(running: Programs, control: Control) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger, socket.rcvtimeo = 0, 10_000
        socket.connect(running.endpoint("control"))
        asked = {new_id(): {"command": "weights", "weights": {"a": number}} for number in range(1, 51)}
        for request_id, request in asked.items():
            socket.send_multipart([b"", msgpack.packb({"id": request_id, **request})])
        replies = [msgpack.unpackb(socket.recv_multipart()[-1]) for _ in asked]
    assert {reply["id"] for reply in replies} == set(asked)
    assert [reply["result"]["weights"]["a"] for reply in replies] == list(range(1, 51))
    assert control.do("weights")["weights"]["a"] == 50


def test_a_change_can_be_made_for_one_version_only(control: Control) -> None:
    version = control.do("weights")["version"]
    assert control.do("weights", weights={"a": 1}, if_version=version)["version"] == version + 1
    assert refusal(control, "weights", weights={"a": 2}, if_version=version) == "version_conflict"
    assert control.do("weights")["weights"]["a"] == 1
