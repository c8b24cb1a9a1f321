"""Every error code but those of other hosts."""

import signal
from typing import Any

import msgpack
import pytest
import zmq

from tests.process.conftest import StartPrograms
from tests.process.control.asked import CONFIGURED, refusal
from tests.process.control.plain_client import Control, new_id
from tests.process.feeder import feeder, records
from tests.process.running import DEADLINE_S, wait_for


@pytest.mark.parametrize(
    ("code", "command", "arguments"),
    [
        ("bad_request", "status", {"what": 1}),
        ("bad_request", "weights", {"weights": [1]}),
        ("bad_request", "weights", {"weights": {"a": 1}, "reason": "x" * 201}),
        ("bad_request", "weights", {"weights": {"a": 1}, "by": "x" * 65}),
        ("bad_request", "weights", {"weights": {"a": 1}, "by": "(automatic)"}),
        ("bad_request", "weights", {"weights": {"a": 1}, "if_version": "1"}),
        ("bad_request", "weights", {"weights": {"a": 1}, "cancel": True}),
        ("bad_request", "ttl", {"ttl": 60, "force": True}),
        ("bad_request", "history", {"limit": 501}),
        ("bad_request", "remove", {}),
        ("unknown_command", "reboot", {}),
        ("unknown_command", 7, {}),
        ("unknown_writer", "weights", {"weights": {"z": 1}}),
        ("unknown_writer", "state", {"states": {"z": "drain"}}),
        ("unknown_writer", "remove", {"name": "z"}),
        ("bad_weight", "weights", {"weights": {"a": -1}}),
        ("bad_weight", "weights", {"weights": {"a": float("nan")}}),
        ("bad_weight", "weights", {"weights": {"a": "-31"}}),
        ("bad_weight", "weights", {"weights": {"a": 0, "b": 0}, "force": True}),
        ("bad_weight", "add", {"name": "c", "redis": "redis://h/0", "weight": "+1x"}),
        ("bad_state", "state", {"states": {"a": "up"}}),
        ("bad_ttl", "ttl", {"ttl": 0.5}),
        ("bad_ttl", "ttl", {"ttl": "60"}),
        ("bad_duration", "weights", {"weights": {"a": 1}, "over": 0.05}),
        ("bad_duration", "weights", {"weights": {"a": 1}, "over": "2d"}),
        ("bad_duration", "add", {"name": "c", "redis": "redis://h/0", "weight": 1, "rampup": "2d"}),
        ("bad_name", "add", {"name": "c d", "redis": "redis://h/0", "weight": 1}),
        ("bad_redis", "add", {"name": "c", "redis": "http://h/0", "weight": 1}),
        ("bad_redis", "add", {"name": "c", "redis": "redis://:secret@h/0", "weight": 1}),
        ("writer_exists", "add", {"name": "a", "redis": "redis://h/0", "weight": 1}),
        ("version_conflict", "ttl", {"ttl": 60, "if_version": 10**9}),
        ("nobody_left", "state", {"states": {"a": "maint", "b": "maint"}}),
        ("unknown_version", "undo", {"version": 10**9}),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_code_and_changes_nothing(
    control: Control, code: str, command: Any, arguments: dict[str, Any]
) -> None:
    before = control.do("weights")
    assert refusal(control, command, **arguments) == code
    assert control.do("weights") == before


@pytest.mark.parametrize("message", [b"", b"GET / HTTP/1.1\r\n", msgpack.packb([1]), msgpack.packb({"id": True})])
def test_what_is_no_request_gets_a_reply(control: Control, message: bytes) -> None:
    reply = control.send(message)
    assert (reply["id"], reply["ok"], reply["error"]["code"]) == (None, False, "bad_request")


def test_a_request_that_is_too_large_gets_a_reply(control: Control) -> None:
    filled = {"id": new_id(), "command": "ttl", "ttl": "x" * 65_536}
    reply = control.send(msgpack.packb(filled))
    assert (reply["id"], reply["error"]["code"]) == (None, "too_large")


def test_a_writer_with_records_in_flight_is_not_removed(start: StartPrograms, monkeypatch: pytest.MonkeyPatch) -> None:
    # A Redis that stands still is then not down, and its writer keeps what it has.
    monkeypatch.setenv("TAPFAN_ROUTER__FALL", "100")
    programs = start(weights=CONFIGURED)
    with feeder(programs) as feeding, Control(programs.endpoint("control")) as client:
        programs.signal("redis-b", signal.SIGSTOP)
        feeding.send(records(1000))
        wait_for(lambda: client.do("status")["writers"]["b"]["in_flight"] == 700, "b has its share")
        client.do("state", states={"b": "drain"})
        assert refusal(client, "remove", name="b") == "not_drained"
        assert client.do("remove", name="b", force=True)["weights"] == {"a": 30}
        assert refusal(client, "remove", name="a") == "nobody_left"
        feeding.wait_acknowledged()
        assert client.do("status")["writers"]["a"]["stored"] == 1000
        programs.signal("redis-b", signal.SIGCONT)


def test_a_change_that_cannot_be_saved_is_refused_and_not_made(start: StartPrograms) -> None:
    programs = start(weights=CONFIGURED)
    with Control(programs.endpoint("control")) as client:
        client.do("weights", weights={"a": 40})
        saved = programs.run_dir / "control.json"
        saved.unlink()
        (saved / "in the way").mkdir(parents=True)
        assert refusal(client, "weights", weights={"a": 50}) == "not_saved"
        assert client.do("weights")["weights"] == {"a": 40, "b": 70}
        (saved / "in the way").rmdir()
        saved.rmdir()
        assert client.do("weights", weights={"a": 50})["weights"] == {"a": 50, "b": 70}


def test_there_are_not_too_many_writers(start: StartPrograms) -> None:
    programs = start(weights=CONFIGURED)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger, socket.rcvtimeo = 0, int(DEADLINE_S * 1000)
        socket.connect(programs.endpoint("control"))
        codes = []
        for begin in range(0, 1000, 250):
            for number in range(begin, begin + 250):
                add = {"command": "add", "name": f"w{number}", "redis": "redis://127.0.0.1:1/0", "weight": 0}
                socket.send_multipart([b"", msgpack.packb({"id": number} | add)])
            replies = (msgpack.unpackb(socket.recv_multipart()[-1]) for _ in range(250))
            codes += [reply["error"]["code"] for reply in replies if not reply["ok"]]
    assert codes == ["too_many_writers"] * 2
