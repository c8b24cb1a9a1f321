"""docs/control.md is true and complete: a client that was written from it, against a real router with real writers."""

import ast
import signal
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgpack
import pytest
import zmq

from router.history import Kind
from tapfan.control import CODES, COMMANDS, TOPICS
from tests.process import control_document, plain_client
from tests.process.conftest import StartPrograms
from tests.process.feeder import feeder, records
from tests.process.plain_client import Control, Curve, Events, RefusedError, new_id
from tests.process.running import DEADLINE_S, Programs, free_port, wait_for

CONFIGURED = {"a": 30, "b": 70}
READY = {"a": "ready", "b": "ready"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    programs = Programs(tmp_path_factory.mktemp("controlled"), weights=CONFIGURED)
    try:
        programs.start()
        programs.wait_ready()
        yield programs
    finally:
        programs.close()


@pytest.fixture
def control(running: Programs) -> Iterator[Control]:
    """The client, of a router with what is configured."""
    with Control(running.endpoint("control")) as client:
        for name in client.do("weights")["weights"].keys() - CONFIGURED.keys():
            client.do("remove", name=name, force=True)
        client.do("state", states=READY)
        client.do("weights", weights=CONFIGURED)
        client.do("ttl", ttl="5m")
        yield client


def _refusal(control: Control, command: Any, **arguments: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        control.do(command, **arguments)
    assert caught.value.message
    return caught.value.code


# ---- the document and the code say the same


def test_the_client_has_nothing_of_tapfan() -> None:
    tree = ast.parse(Path(plain_client.__file__).read_text(encoding="utf-8"))
    modules = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules == {"secrets", "types", "typing", "msgpack", "zmq"}


def test_every_code_and_command_and_topic_is_in_the_document_and_the_other_way_round() -> None:
    assert sorted(control_document.names("Error codes")) == sorted(CODES)
    commands = control_document.section("Commands").partition("###")[0]
    assert sorted(name for name in COMMANDS if f"| [`{name}`](#" in commands) == sorted(COMMANDS)
    assert commands.count("| [`") == len(COMMANDS)
    assert sorted(control_document.names("Events")) == sorted(topic.decode() for topic in TOPICS)


def test_every_kind_of_entry_is_in_the_document() -> None:
    (row,) = (line for line in control_document.section("history").splitlines() if line.startswith("| `kind` "))
    assert {kind for kind in get_args(Kind) if f"`{kind}`" in row} == set(get_args(Kind))


def test_every_command_has_an_example() -> None:
    assert {example.request["command"] for example in control_document.examples()} == set(COMMANDS)


def test_the_view_has_the_keys_of_the_document(control: Control) -> None:
    assert sorted(control.do("weights")) == sorted(control_document.names("The view"))


def test_the_status_has_the_keys_of_the_document(running: Programs, control: Control) -> None:
    with feeder(running) as feeding:
        feeding.send(records(100))
        feeding.wait_acknowledged()
        wait_for(
            lambda: all(writer["projection"] for writer in control.do("status")["writers"].values()),
            "what the records need is known",
        )
        control.do("weights", weights={"a": 40}, over=3600)
        status = control.do("status")
    told = control_document.names("status")
    assert sorted(told) == sorted(_keys(status))


def _keys(content: dict[str, Any], path: str = "") -> set[str]:
    """The keys with their places, as the document writes them: names of writers and listeners as NAME."""
    by_name = {"writers": "NAME", "listeners": "NAME"}
    free = ("ramp", "changed", "lost", "skipped", "warnings", "observed")  # whose keys are told in words
    found = set()
    for key, value in content.items():
        place = f"{path}{key}"
        if key in by_name:
            for inner in value.values():
                found |= _keys(inner, f"{place}.{by_name[key]}.")
        elif isinstance(value, dict) and key not in free:
            found |= _keys(value, f"{place}.")
        else:
            found.add(place)
    return found


def test_the_examples_of_the_document_are_true(start: StartPrograms) -> None:
    """In the order of the document, on a router that has just begun: each gets a reply of that form."""
    programs = start(weights=CONFIGURED)
    with Control(programs.endpoint("control")) as client:
        for example in control_document.examples():
            reply = client.send(msgpack.packb(example.request))
            assert reply["ok"], (example.request, reply)
            assert reply["id"] == example.reply["id"] == example.request["id"]
            assert reply["result"].keys() == example.reply["result"].keys()
            if example.request["command"] not in ("status", "history"):
                assert _lasting(reply["result"]) == _lasting(example.reply["result"]), example.request


def _lasting(view: dict[str, Any]) -> dict[str, Any]:
    """What of a view is the same whenever it is asked for."""
    ramp = view["ramp"] and {key: view["ramp"][key] for key in ("from", "to", "over")}
    return {key: value for key, value in view.items() if key != "shares"} | {"ramp": ramp}


# ---- every command


def test_weights_are_one_atomic_change_with_a_version(control: Control) -> None:
    before = control.do("weights")
    after = control.do("weights", weights={"a": "+10", "b": "50%"}, by="anna", reason="more memory")
    assert (after["version"], after["weights"]) == (before["version"] + 1, {"a": 40, "b": 35})
    assert after["configured"] == CONFIGURED
    assert after["shares"] == {"a": 40 / 75, "b": 35 / 75}
    assert control.do("weights") == after
    assert control.do("weights", weights={"a": 40})["version"] == after["version"], "nothing changed"
    assert _refusal(control, "weights", weights={"a": 1, "c": 1}) == "unknown_writer"
    assert control.do("weights") == after


def test_a_ramp_goes_on_by_itself_is_told_and_ends(control: Control) -> None:
    begun = control.do("weights", weights={"a": 70, "b": 30}, over="300ms")
    assert begun["weights"] == begun["ramp"]["to"] == {"a": 70, "b": 30}
    assert begun["ramp"]["from"] == CONFIGURED
    assert begun["ramp"]["over"] == 0.3
    wait_for(lambda: control.do("weights")["ramp"] is None, "it has ended")
    ended = control.do("weights")
    assert (ended["shares"], ended["version"]) == ({"a": 0.7, "b": 0.3}, begun["version"])
    end, start = control.do("history", limit=2)["entries"]
    assert (start["kind"], start["by"], start["over"]) == ("ramp", "local", 0.3)
    assert (end["kind"], end["by"], end["version"]) == ("ramp", "(automatic)", begun["version"])


def test_a_ramp_is_cancelled_where_it_is(control: Control) -> None:
    control.do("weights", weights={"a": 70, "b": 30}, over=86_400)
    ended = control.do("weights", cancel=True)
    assert (ended["ramp"], ended["weights"]) == (None, CONFIGURED)


def test_states_take_writers_out_and_back_in(control: Control) -> None:
    out = control.do("state", states={"b": "drain"})
    assert (out["states"], out["shares"]) == ({"a": "ready", "b": "drain"}, {"a": 1, "b": 0})
    assert out["weights"] == CONFIGURED
    assert control.do("state", states={"b": "maint"})["states"]["b"] == "maint"
    assert _refusal(control, "state", states={"a": "drain"}) == "nobody_left"
    assert control.do("state", states={"a": "drain"}, force=True)["shares"] == {"a": 0, "b": 0}
    assert control.do("state", states=READY)["shares"] == {"a": 0.3, "b": 0.7}
    assert control.do("state")["states"] == READY


def test_the_ttl_is_read_and_set(control: Control) -> None:
    assert control.do("ttl", ttl="1h30m")["ttl"] == 5400
    assert control.do("ttl", ttl=600)["ttl"] == 600
    assert (control.do("ttl")["ttl"], control.do("ttl")["configured_ttl"]) == (600, 300)


def test_undo_goes_back_and_forth_and_to_any_version(control: Control) -> None:
    first = control.do("weights")
    control.do("weights", weights={"a": 1})
    control.do("ttl", ttl=600)
    undone = control.do("undo")
    assert (undone["ttl"], undone["weights"], undone["version"]) == (300, {"a": 1, "b": 70}, first["version"] + 3)
    assert control.do("undo")["ttl"] == 600
    back = control.do("undo", version=first["version"])
    assert (back["ttl"], back["weights"], back["version"]) == (300, CONFIGURED, first["version"] + 5)
    assert [entry["kind"] for entry in control.do("history", limit=5)["entries"]] == ["undo"] * 3 + ["ttl", "weights"]


def test_a_writer_is_added_and_removed(control: Control) -> None:
    added = control.do("add", name="c", redis="redis://127.0.0.1:1/0", weight=20, rampup="30s")
    assert (added["weights"]["c"], added["states"]["c"], added["shares"]["c"]) == (20, "ready", 0)
    assert control.do("status")["writers"]["c"]["redis"] == "redis://127.0.0.1:1/0"
    assert _refusal(control, "add", name="c", redis="redis://127.0.0.1:1/0", weight=20) == "writer_exists"
    assert _refusal(control, "undo") == "bad_request"
    removed = control.do("remove", name="c")
    assert removed["weights"] == CONFIGURED
    assert [entry["kind"] for entry in control.do("history", limit=2)["entries"]] == ["remove", "add"]


def test_the_history_says_who_when_why_and_from_what_to_what(control: Control) -> None:
    before_s = time.time()
    changed = control.do("weights", weights={"a": 40}, by="anna", reason="more memory")
    (entry,) = control.do("history", limit=1)["entries"]
    assert before_s - 1 <= entry.pop("at") <= time.time() + 1
    assert entry == {
        "version": changed["version"],
        "kind": "weights",
        "by": "anna",
        "key": None,
        "reason": "more memory",
        "over": None,
        "changes": [{"writer": "a", "what": "weight", "before": 30, "after": 40}],
    }
    assert sorted(control_document.names("history")) == sorted([*entry, "at"])


# ---- ids, repeats, and versions


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
    assert _refusal(control, "weights", weights={"a": 2}, if_version=version) == "version_conflict"
    assert control.do("weights")["weights"]["a"] == 1


# ---- every error code


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
    assert _refusal(control, command, **arguments) == code
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
        assert _refusal(client, "remove", name="b") == "not_drained"
        assert client.do("remove", name="b", force=True)["weights"] == {"a": 30}
        assert _refusal(client, "remove", name="a") == "nobody_left"
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
        assert _refusal(client, "weights", weights={"a": 50}) == "not_saved"
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


# ---- other hosts


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """A router with keys: the client `reader` may read, `chief` may all."""
    endpoints = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("control.endpoint", "control.events")}
    top = {"router.key": "keys/router.key", **endpoints}
    programs = Programs(tmp_path_factory.mktemp("keyed"), weights=CONFIGURED, top=top)
    try:
        for name, role in (("reader", "read"), ("chief", "admin")):
            made = programs.command("keys", "make", name, "--role", role)
            assert made.returncode == 0, made.stderr
        programs.start("redis-a", "redis-b", "router", "writer-a", "writer-b")
        programs.wait_ready()
        yield programs
    finally:
        programs.close()


def _curve(keyed: Programs, name: str) -> Curve:
    key = tomllib.loads((keyed.folder / "keys" / f"{name}.key").read_text(encoding="utf-8"))
    return Curve(key["public"], key["secret"], key["router"])


def _served(keyed: Programs, name: str) -> str:
    endpoint: str = tomllib.loads(keyed.config.read_text(encoding="utf-8"))["control"][name]
    return endpoint


def _remote(keyed: Programs, name: str) -> Control:
    return Control(_served(keyed, "endpoint"), curve=_curve(keyed, name))


def test_a_key_of_the_role_read_reads_and_one_of_the_role_admin_changes(keyed: Programs) -> None:
    with _remote(keyed, "reader") as reader, _remote(keyed, "chief") as chief:
        before = reader.do("weights")
        assert before["weights"] == CONFIGURED
        for command, arguments in (("weights", {"weights": {"a": 40}}), ("ttl", {"ttl": 60}), ("undo", {})):
            assert _refusal(reader, command, **arguments) == "forbidden"
        assert reader.do("weights") == before
        assert chief.do("weights", weights={"a": 40})["weights"]["a"] == 40
        (entry,) = reader.do("history", limit=1)["entries"]
        assert (entry["by"], entry["key"]) == ("chief", "chief")
        chief.do("undo", by="anna")
        assert [reader.do("status")["changed"][key] for key in ("by", "key")] == ["anna", "chief"]


def test_events_come_to_other_hosts_too(keyed: Programs) -> None:
    with Events(_served(keyed, "events"), curve=_curve(keyed, "reader")) as events:
        assert events.next()[0] == "snapshot"


def test_who_asks_too_often_is_told_so(keyed: Programs) -> None:
    with _remote(keyed, "reader") as reader:
        request = msgpack.packb({"id": new_id(), "command": "weights"})
        replies = (reader.send(request) for _ in range(10_000))
        refused = next(reply for reply in replies if not reply["ok"])
        assert (refused["id"], refused["error"]["code"]) == (None, "rate_limited")
        wait_for(lambda: reader.send(request)["ok"], "it may ask again")


def test_a_key_that_is_not_allowed_gets_no_reply(keyed: Programs) -> None:
    public, secret = (part.decode() for part in zmq.curve_keypair())
    router = _curve(keyed, "chief").router.decode()
    curve = Curve(public, secret, router)
    with Control(_served(keyed, "endpoint"), timeout_ms=500, curve=curve) as stranger, pytest.raises(zmq.Again):
        stranger.do("status")


# ---- events


def test_events_tell_of_each_change_and_once_a_second_of_everything(running: Programs, control: Control) -> None:
    endpoint = running.endpoint("events")
    with Events(endpoint) as everything, Events(endpoint, "change") as changes:
        topic, status = everything.next()
        assert topic == "snapshot"
        assert status.keys() == control.do("status").keys()
        version = control.do("weights", weights={"a": 40}, by="anna")["version"]
        topic, entry = changes.next()
        assert (topic, entry["version"], entry["by"]) == ("change", version, "anna")
        assert control.do("history", limit=1)["entries"] == [entry]
        while (told := everything.next())[0] != "change":
            pass
        assert told[1] == entry
        topic, status = everything.next()
        assert (topic, status["version"], status["changed"]) == ("snapshot", version, entry)
        begun_s = time.monotonic()
        assert everything.next()[0] == everything.next()[0] == "snapshot"
        assert time.monotonic() - begun_s < 10
