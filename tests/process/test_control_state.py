"""What operators set outlives the router, however it ends; and nothing is answered before that is so."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest
import zmq

from tapfan import sockets
from tapfan.control import CHANGE, SNAPSHOT, ControlClient, ControlError
from tests.process.asking import asking
from tests.process.running import Programs, wait_for

_OUTSTANDING = 60

MakePrograms = Callable[..., Programs]


def _start_router(programs: Programs) -> None:
    """Start it, and wait until it answers: what is told here needs nobody else."""
    before = programs.log("router").count("event=ready") if programs.log_file("router").exists() else 0
    programs.start("router")
    wait_for(lambda: programs.log("router").count("event=ready") > before, "the router is ready")


@pytest.fixture
def alone(programs: MakePrograms) -> Programs:
    """A router without listeners and writers."""
    made = programs()
    _start_router(made)
    return made


def _in_force(control: ControlClient) -> dict[str, Any]:
    """What operators set; shares are left out, which depend on who is up."""
    return {name: value for name, value in control.weights().items() if name != "shares"}


def _view(programs: Programs) -> dict[str, Any]:
    """The same, with a client of its own."""
    with programs.control() as control:
        return _in_force(control)


def _entries(programs: Programs) -> list[dict[str, Any]]:
    """What operators did, the newest first; after some seconds there would be that no writer reports as well."""
    with programs.control() as control:
        return [entry for entry in control.history()["entries"] if entry["kind"] != "health"]


def _edit(programs: Programs, before: str, after: str) -> None:
    text = programs.config.read_text(encoding="utf-8")
    assert text.count(before) == 1
    programs.config.write_text(text.replace(before, after), encoding="utf-8")


def test_what_was_answered_before_a_router_ended_is_in_force_after_it_and_nothing_is_made_twice(
    alone: Programs,
) -> None:
    for end, enough in ((Programs.kill, 1), (Programs.kill, 90), (Programs.stop, 90), (Programs.kill, 170)):
        first = _view(alone)["version"]
        with asking(alone) as many:
            while len(many.replies) < enough:
                number = len(many.requests)
                many.ask(command="weights", weights={"a": number + 1, "b": 1000 - number}, reason=f"until {enough}")
                many.wait(_OUTSTANDING)
            end(alone, "router")
            many.take_replies()
        requests = list(many.requests.values())
        assert list(many.replies) == [request["id"] for request in requests[: len(many.replies)]]
        assert many.versions == list(range(first + 1, first + 1 + len(many.replies)))
        _start_router(alone)
        after = _view(alone)
        made = after["version"] - first
        assert len(many.replies) <= made <= len(requests)
        assert end is Programs.kill or made == len(many.replies), "at a stop, what is made is answered"
        assert after["weights"] == requests[made - 1]["weights"]
        with alone.control() as control:
            repeated = [control.request(**request)["repeated"] for request in requests]
        assert repeated == [True] * made + [False] * (len(requests) - made)
        assert _view(alone)["version"] == first + len(requests)


@pytest.mark.parametrize("end", [Programs.kill, Programs.stop])
def test_all_that_was_set_holds_after_a_restart(alone: Programs, end: Callable[[Programs, str], object]) -> None:
    with alone.control() as control:
        control.state({"b": "drain"}, by="ann", reason="new disk")
        control.ttl("10m")
        control.weights({"a": 90, "b": 10}, over="1h")
        before = _in_force(control)
    history = _entries(alone)
    end(alone, "router")
    _start_router(alone)
    with alone.control() as control:
        after = _in_force(control)
        assert 0 < after["ramp"].pop("left") <= before["ramp"].pop("left")
        assert after == before
        assert (after["version"], after["ttl"], after["states"]) == (4, 600, {"a": "ready", "b": "drain"})
        assert _entries(alone) == history
        assert control.undo()["ramp"] is None
        assert control.status()["ttl"] == 600


def _with_writers(made: Programs) -> Programs:
    """Start it without a listener; a takes an hour to its whole weight when it is back."""
    _edit(made, 'name = "a"\n', 'name = "a"\nrampup = "1h"\n')
    made.start(*(name for name in made.names if not name.startswith("listener")))
    made.wait_ready()
    return made


def _rampup_left_s(programs: Programs) -> float | None:
    """How long a still takes, which gets a little of its weight as long as it does."""
    writer: dict[str, Any] = programs.status()["writers"]["a"]
    assert writer["health"] != "up" or (writer["effective"] < 3) == (writer["rampup_left"] is not None)
    left_s: float | None = writer["rampup_left"]
    return left_s


def test_a_writer_that_is_coming_back_goes_on_where_it_was_after_a_restart(programs: MakePrograms) -> None:
    """Also when the router is killed right after the reply to what lets it come back."""
    made = _with_writers(programs())
    with made.control() as control:
        control.state({"a": "drain"})
        control.state({"a": "ready"})
    left_s = 3600.0
    for end in (Programs.kill, Programs.stop):
        end(made, "router")
        _start_router(made)
        still_s = _rampup_left_s(made)
        assert still_s is not None
        assert left_s - 120 < still_s < left_s
        left_s = still_s


def test_a_writer_that_was_away_when_the_router_ended_comes_back_little_by_little(programs: MakePrograms) -> None:
    """Though it is there before the next router is; half a minute after it went, its router notes that it is away."""
    made = _with_writers(programs())
    assert _rampup_left_s(made) is None
    file = made.run_dir / "control.json"
    wait_for(lambda: '"processes":{"a":' in file.read_text(encoding="utf-8"), "its process is known")
    made.stop("writer-a")
    made.kill("router")
    file.write_text(file.read_text(encoding="utf-8").replace('"away":[]', '"away":["a"]'), encoding="utf-8")
    made.start("writer-a", "router")
    made.wait_ready()
    left_s = _rampup_left_s(made)
    assert left_s is not None
    assert 3480 < left_s < 3600


def test_the_configuration_wins_where_it_was_edited_since_and_only_there(alone: Programs) -> None:
    with alone.control() as control:
        control.weights({"a": 80, "b": 20})
        control.state({"a": "maint"})
        control.ttl("10m")
    alone.stop("router")
    _edit(alone, '"a"\nweight = 30', '"a"\nweight = 45')
    _start_router(alone)
    view = _view(alone)
    assert (view["weights"], view["configured"]) == ({"a": 45, "b": 20}, {"a": 45, "b": 70})
    assert (view["states"]["a"], view["ttl"], view["version"]) == ("maint", 600, 5)
    newest = _entries(alone)[0]
    assert (newest["kind"], newest["by"], newest["version"]) == ("configuration", "(automatic)", 5)
    assert newest["changes"] == [
        {"writer": "a", "what": "configured", "before": 30, "after": 45},
        {"writer": "a", "what": "weight", "before": 80, "after": 45},
    ]
    assert alone.log("router").count("event=configuration_edited") == 1
    wait_for(lambda: '"version":5' in (alone.run_dir / "control.json").read_text(encoding="utf-8"), "it is saved")
    alone.kill("router")
    _start_router(alone)
    assert _view(alone) == view
    assert alone.log("router").count("event=configuration_edited") == 1


def test_a_writer_that_was_added_stays_until_it_is_removed_and_one_that_was_configured_goes_with_that(
    alone: Programs,
) -> None:
    text = alone.config.read_text(encoding="utf-8")
    with alone.control() as control:
        for name in "cd":
            control.add(name, f"redis://127.0.0.1:1/{ord(name)}", 20)
        control.state({"c": "maint"})
        control.remove("d")
        before = _in_force(control)
    for end in (Programs.kill, Programs.stop):
        end(alone, "router")
        _start_router(alone)
        assert _view(alone) == before
    assert (before["states"]["c"], before["weights"]) == ("maint", {"a": 30, "b": 70, "c": 20})
    alone.stop("router")
    section = '[[writers]]\nname = "c"\nredis = "redis://127.0.0.1:1/99"\nweight = 20\n'
    alone.config.write_text(f"{text}\n{section}", encoding="utf-8")
    _start_router(alone)
    assert _view(alone) == before
    alone.stop("router")
    alone.config.write_text(text, encoding="utf-8")
    _start_router(alone)
    after = _view(alone)
    assert (after["weights"], after["version"]) == ({"a": 30, "b": 70}, before["version"] + 1)


def test_a_damaged_file_is_set_aside_and_told(alone: Programs) -> None:
    with alone.control() as control:
        control.weights({"a": 80})
    alone.kill("router")
    file = alone.run_dir / "control.json"
    file.write_bytes(file.read_bytes()[:-20])
    _start_router(alone)
    assert _view(alone)["weights"] == {"a": 30, "b": 70}
    log = alone.log("router")
    assert "event=control_damaged" in log
    assert f"moved_to={alone.run_dir}/control.damaged" in log
    assert "damaged" in _entries(alone)[0]["reason"]
    with alone.control() as control:
        assert control.weights({"a": 1})["version"] == 2
    alone.kill("router")
    _start_router(alone)
    assert _view(alone)["weights"] == {"a": 1, "b": 70}


@contextmanager
def _no_place(run_dir: Path) -> Iterator[None]:
    """Something in the way of the file that is written aside."""
    (run_dir / "control.new").mkdir()
    yield
    (run_dir / "control.new").rmdir()


@contextmanager
def _full(run_dir: Path) -> Iterator[None]:
    """Nothing goes into the file that is written aside, as on a disk that is full."""
    limit = run_dir / "filling"
    limit.write_bytes(b"")
    try:
        with limit.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass
    except OSError:
        pass
    yield
    limit.unlink()


def _refused(control: ControlClient, **request: Any) -> str:
    with pytest.raises(ControlError) as refusal:
        control.request(**request)
    assert refusal.value.code == "not_saved"
    return refusal.value.message


def _assert_refused_while(programs: Programs, trouble: Callable[[Path], Any], text: str) -> None:
    """What cannot be saved is refused and changes nothing, but can be read; afterwards all goes on."""
    with programs.control() as control:
        control.weights({"a": 80})
        before = _in_force(control)
        request: dict[str, Any] = {"id": "a request of its own", "command": "weights", "weights": {"a": 1}}
        with trouble(programs.run_dir):
            for _ in range(3):
                assert _refused(control, **request) == f"nothing changed, as it could not be saved: {text}"
            assert text in _refused(control, command="state", states={"a": "drain"})
            assert _in_force(control) == before
            assert len(_entries(programs)) == 1
            assert control.status()["warnings"]["control_not_saved"] >= 4
        after = control.request(**request)
        assert (after["version"], after["repeated"]) == (before["version"] + 1, False)
    programs.kill("router")
    _start_router(programs)
    assert _view(programs)["weights"] == after["weights"]
    assert "event=control_damaged" not in programs.log("router")


def test_where_it_cannot_be_written_a_change_is_refused_and_nothing_changes(alone: Programs) -> None:
    _assert_refused_while(alone, _no_place, "Is a directory")


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system needs root")
def test_where_the_disk_is_full_a_change_is_refused_and_nothing_changes(programs: MakePrograms) -> None:
    made = programs()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tapfan-test", made.run_dir], check=True)
    try:
        _start_router(made)
        _assert_refused_while(made, _full, "No space left on device")
        made.close()
    finally:
        made.close()
        subprocess.run(["umount", made.run_dir], check=True)


def test_a_client_that_takes_no_replies_holds_nobody_up_and_takes_little_memory(alone: Programs) -> None:
    with alone.control() as control:
        for number in range(300):
            control.request("weights", weights={"a": number + 1}, reason="x" * 200)
        size = len(json.dumps(control.history()))
        before = _in_force(control)
        router = psutil.Process(alone.processes["router"].pid)
        used = router.memory_info().rss
        with zmq.Context() as context:
            greedy = context.socket(zmq.DEALER)
            greedy.setsockopt(zmq.RCVHWM, 1)
            greedy.connect(alone.endpoint("control"))
            asked = 1000
            for _ in range(asked):
                greedy.send_multipart([b"", msgpack.packb({"id": 1, "command": "history"})])
            assert _in_force(control) == before
            wait_for(lambda: router.cpu_percent(0.2) < 20, "the router has done with it")
            assert _in_force(control) == before
            assert router.memory_info().rss - used < asked * size / 2
            context.destroy(linger=0)


def test_subscribers_get_each_change_in_order_and_the_status(alone: Programs) -> None:
    with zmq.Context() as context, alone.control() as control:
        subscriber = sockets.connected(context, zmq.SUB, alone.endpoint("events"))
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        subscriber.setsockopt(zmq.RCVTIMEO, 10_000)
        topic, first = subscriber.recv_multipart()
        assert (topic, msgpack.unpackb(first)["version"]) == (SNAPSHOT, 1)
        with asking(alone) as many:
            for number in range(100):
                many.ask(command="weights", weights={"a": number + 1}, by="ann")
            many.wait()
        versions: list[int] = []
        status: dict[str, Any] = {}
        while status.get("version") != 101:
            topic, content = subscriber.recv_multipart()
            if topic == SNAPSHOT:
                status = msgpack.unpackb(content)
            else:
                assert topic == CHANGE
                versions.append(msgpack.unpackb(content)["version"])
        assert versions == list(range(2, 102))
        assert status.keys() == control.status().keys()
        assert status["changed"]["version"] == 101
        context.destroy(linger=0)


def test_a_writer_that_the_router_does_not_know_joins_and_is_still_there_after_a_restart(
    programs: MakePrograms,
) -> None:
    made = programs(weights={"a": 30, "b": 70, "c": 20})
    whole = made.config.read_text(encoding="utf-8")
    without, _, _ = whole.rpartition("[[writers]]")
    made.config.write_text(without, encoding="utf-8")
    _start_router(made)
    made.config.write_text(whole, encoding="utf-8")
    made.start(*(name for name in made.names if name != "router"))
    made.wait_ready()
    view = _view(made)
    assert (view["weights"], view["version"]) == ({"a": 30, "b": 70, "c": 20}, 2)
    assert sum(entry["kind"] == "join" for entry in _entries(made)) == 1
    made.config.write_text(without, encoding="utf-8")
    made.kill("router")
    _start_router(made)
    made.config.write_text(whole, encoding="utf-8")
    made.wait_ready()
    assert _view(made)["weights"] == view["weights"]
    assert made.status()["writers"]["c"]["joined"] is True
