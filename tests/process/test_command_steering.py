"""The commands that steer, against a real router, real writers and real Redis servers."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq
from typer.testing import CliRunner, Result

from tapfan.cli.__main__ import app
from tapfan.cli.asking import EXIT_CONFLICT
from tapfan.program import EXIT_FAILED, EXIT_USAGE
from tests.process.conftest import StartPrograms
from tests.process.feeder import feeder, records
from tests.process.running import DEADLINE_S, ROOT, Programs, everything_runs, wait_for
from tests.process.stored import sequences


@pytest.fixture(scope="module")
def programs_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    with everything_runs(tmp_path_factory.mktemp("steered"), weights={"a": 30, "b": 70, "c": 0}) as programs:
        yield programs


@pytest.fixture
def steered(programs_of_all: Programs) -> Programs:
    """All that runs, with the weights, states and TTL of the configuration."""
    with programs_of_all.control() as control:
        control.state(dict.fromkeys("abc", "ready"))
        control.weights({"a": 30, "b": 70, "c": 0})
        control.ttl("5m")
    return programs_of_all


def _tapfan(programs: Programs, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(programs.config)])


def _json(programs: Programs, *arguments: str) -> dict[str, object]:
    shown = _tapfan(programs, *arguments, "--json")
    assert (shown.exit_code, shown.stderr) == (0, "")
    result: dict[str, object] = json.loads(shown.stdout)
    return result


def _told(programs: Programs, limit: int) -> list[str]:
    """The newest entries of the history, as they are shown: by whom, and what."""
    shown = _tapfan(programs, "history", "--limit", str(limit)).stdout
    title, *lines = shown.splitlines()
    return [line[title.index("by") :].rstrip() for line in lines]


def test_steps_and_parts_are_taken_of_what_is_set_and_of_what_is_configured(steered: Programs) -> None:
    first = _json(steered, "weights", "a=+0.1", "b=50%")
    assert first["weights"] == {"a": 30.1, "b": 35, "c": 0}
    assert _json(steered, "weights", "a=+0.2")["weights"] == {"a": 30.3, "b": 35, "c": 0}
    assert _json(steered, "weights", "a=-30.3", "b=120%")["weights"] == {"a": 0, "b": 84, "c": 0}


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("weights d=1", "no writer is named 'd'; there are: a, b, c"),
        ("weights a=-31", "the weight of a, '-31', would make -1; must be from 0"),
        ("weights c=50%", "c=50%: its configured weight is 0; give a number, such as c=10"),
        ("weights a=0 b=0", "all weights would be 0; at least one must be more"),
        ("weights a=1 d=1", "no writer is named 'd'"),
        (
            "drain a b",
            "no writer that is ready would have a weight above 0; what comes in would wait; `--force` does it",
        ),
        ("drain d", "no writer is named 'd'"),
        ("ttl 40d", "ttl '40d' must be from 1s to 31d"),
        ("undo 9999", "the history has no version 9999"),
    ],
)
def test_what_is_refused_is_told_in_a_line_and_changes_nothing(steered: Programs, typed: str, told: str) -> None:
    before = _json(steered, "weights")
    refused = _tapfan(steered, *typed.split())
    assert (refused.exit_code, refused.stdout) == (EXIT_USAGE, "")
    assert refused.stderr.startswith(f"tapfan: {told}")
    assert len(refused.stderr.splitlines()) == 1
    assert _json(steered, "weights") == before


def test_a_conflict_has_an_exit_code_of_its_own_and_says_who_was_first(steered: Programs) -> None:
    version = str(_json(steered, "weights")["version"])
    assert _tapfan(steered, "weights", "a=31", "--if-version", version, "--by", "anna").exit_code == 0
    refused = _tapfan(steered, "weights", "a=32", "--if-version", version, "--by", "ben")
    assert (refused.exit_code, refused.stdout) == (EXIT_CONFLICT, "")
    assert refused.stderr.startswith(f"tapfan: version {int(version) + 1} is in force, by anna")
    assert "tapfan history" in refused.stderr
    assert _json(steered, "weights")["weights"] == {"a": 31, "b": 70, "c": 0}


def test_the_history_says_who_changed_what_and_why_and_two_undos_are_none(steered: Programs) -> None:
    _json(steered, "weights", "a=70", "b=30", "--by", "anna", "--reason", "the new disk is in")
    _json(steered, "drain", "b", "--by", "ben")
    _json(steered, "ttl", "10m", "--by", "ben", "--reason", "a [search]")
    undone = _json(steered, "undo", "--by", "anna")
    assert undone["ttl"] == 300
    taken_back = undone["undone"]
    assert [(each["by"], each["reason"]) for each in taken_back] == [("ben", "a [search]")]  # type: ignore[attr-defined]
    redone = _json(steered, "undo", "--by", "carl")
    assert redone["ttl"] == 600
    assert _told(steered, 5) == [
        "carl undo ttl 5m -> 10m",
        "anna undo ttl 10m -> 5m",
        "ben  ttl 5m -> 10m: a [search]",
        "ben  state b ready -> drain",
        "anna weights a 30 -> 70, b 70 -> 30: the new disk is in",
    ]
    first = int(str(redone["version"])) - 5
    shown = _tapfan(steered, "undo", str(first), "--by", "dora")
    told = [line for line in shown.stdout.splitlines() if line.startswith("took back version")]
    assert [line.partition(", by ")[2] for line in told] == [
        "carl: undo ttl 5m -> 10m",
        "anna: undo ttl 10m -> 5m",
        "ben: ttl 5m -> 10m: a [search]",
        "ben: state b ready -> drain",
        "anna: weights a 30 -> 70, b 70 -> 30: the new disk is in",
    ]
    again = _tapfan(steered, "undo", str(first), "--json")
    undone = json.loads(again.stdout)
    assert (again.exit_code, undone["undone"], undone["version"]) == (0, [], redone["version"] + 1)  # type: ignore[operator]
    assert again.stderr == f"tapfan: nothing was taken back: all is as it was in version {first}\n"
    back = _json(steered, "weights")
    assert (back["weights"], back["states"]) == ({"a": 30, "b": 70, "c": 0}, dict.fromkeys("abc", "ready"))
    assert (back["ttl"], back["version"]) == (300, redone["version"] + 1)  # type: ignore[operator]


def test_a_change_over_a_time_is_shown_with_what_is_left_of_it_and_ends_where_it_is_told_to(steered: Programs) -> None:
    shown = _tapfan(steered, "weights", "a=70", "b=30", "--over", "1h", "--by", "anna")
    assert re.search(r"^ramp: a 30 -> 70, b 70 -> 30: [\dhms]+ of 1h left$", shown.stdout, re.MULTILINE)
    status = _tapfan(steered, "status").stdout
    assert re.search(r"^ramp: a 30 -> 70, b 70 -> 30: .* of 1h left; now a 30", status, re.MULTILINE)
    assert re.search(
        r"^last change: version \d+, .*, by anna: ramp weights a 30 -> 70, b 70 -> 30 over 1h$", status, re.M
    )
    assert max(len(line) for line in status.splitlines() if not line.startswith(("ledger", "ramp", "last"))) <= 80
    ended = _json(steered, "weights", "--cancel")
    assert ended["ramp"] is None
    assert _tapfan(steered, "weights", "--cancel").stderr == "tapfan: there was no ramp to cancel; nothing changed\n"
    assert ended["weights"] == {"a": 30, "b": 70, "c": 0}


def test_states_are_shown_and_a_last_one_can_be_forced(steered: Programs) -> None:
    shown = _tapfan(steered, "maint", "b").stdout.splitlines()
    assert [line.split()[-1] for line in shown] == [
        "state",
        "ready",
        "maint",
        "ready",
        str(_json(steered, "ttl")["version"]),
    ]
    assert "b is in maint: no new records, and nothing in flight" in _tapfan(steered, "status").stdout
    forced = _json(steered, "drain", "a", "--force")
    assert (forced["states"], forced["shares"]) == ({"a": "drain", "b": "maint", "c": "ready"}, dict.fromkeys("abc", 0))
    assert _json(steered, "ready", "a", "b")["shares"] == {"a": 0.3, "b": 0.7, "c": 0}


def test_the_command_itself_signs_with_a_name_and_prints_within_80_columns(steered: Programs) -> None:
    shown = steered.command("weights", "a=40", "--reason", "a process")
    assert (shown.returncode, shown.stderr) == (0, "")
    history = steered.command("history", "--limit", "1")
    assert re.search(r"\d\d:\d\d:\d\d \S+ weight a 30 -> 40: a process$", history.stdout.splitlines()[-1])
    assert all(len(line) <= 80 for line in (shown.stdout + history.stdout).splitlines())


@contextmanager
def _losing_the_first_reply(programs: Programs, endpoint: str) -> Iterator[None]:
    """At this endpoint the router can be asked, too, but its first reply does not come."""
    done = threading.Event()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as clients, context.socket(zmq.DEALER) as router:
        clients.bind(endpoint)
        router.connect(programs.endpoint("control"))

        def pass_on() -> None:
            replies = 0
            while not done.is_set():
                if clients.poll(10):
                    router.send_multipart(clients.recv_multipart())
                while router.poll(0):
                    reply = router.recv_multipart()
                    replies += 1
                    if replies > 1:
                        clients.send_multipart(reply)

        thread = threading.Thread(target=pass_on)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            context.destroy(linger=0)


def test_a_change_whose_reply_is_lost_is_made_once(steered: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"ipc://{steered.folder}/losing.ipc"
    monkeypatch.setenv("TAPFAN_CONTROL__ENDPOINT", endpoint)
    monkeypatch.setenv("TAPFAN_CONTROL__TIMEOUT", "1s")
    with _losing_the_first_reply(steered, endpoint):
        changed = _tapfan(steered, "weights", "a=+10", "--json")
    assert (changed.exit_code, changed.stderr) == (0, "")
    result = json.loads(changed.stdout)
    assert (result["weights"], result["repeated"]) == ({"a": 40, "b": 70, "c": 0}, True)


@contextmanager
def _draining(programs: Programs, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`tapfan drain … --wait` as a process, which is ended in any case."""
    command = [sys.executable, "-m", "tapfan.cli", "drain", *arguments, "--wait", "--config", str(programs.config)]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _in_flight(programs: Programs, writer: str) -> int:
    count: int = programs.status()["writers"][writer]["in_flight"]
    return count


def test_a_drain_waits_for_what_is_in_flight_and_gives_nothing_more(
    start: StartPrograms, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Redis that stands still is then not down, and its writer keeps what it has.
    monkeypatch.setenv("TAPFAN_ROUTER__FALL", "100")
    programs = start()
    with feeder(programs) as feeding:
        programs.signal("redis-b", signal.SIGSTOP)
        feeding.send(records(1000))
        wait_for(lambda: _in_flight(programs, "b") == 700 and _in_flight(programs, "a") == 0, "b has its share")
        with _draining(programs, "b") as waiting:
            assert waiting.stderr
            assert waiting.stderr.readline() == "tapfan: waiting for b: 700 records in flight\n"
            feeding.send(records(1000))
            wait_for(lambda: programs.status()["writers"]["a"]["stored"] == 1300, "a has all of the second batch")
            assert (waiting.poll(), _in_flight(programs, "b")) == (None, 700)
            waiting.send_signal(signal.SIGINT)
            assert waiting.wait(DEADLINE_S) == EXIT_FAILED
            assert "stopped waiting for b: 700 records in flight; it goes on draining" in waiting.stderr.read()
        late = _tapfan(programs, "drain", "b", "--wait", "--timeout", "300ms")
        assert late.exit_code == EXIT_FAILED
        with _draining(programs, "b") as waiting:
            assert waiting.stderr
            assert waiting.stderr.readline() == "tapfan: waiting for b: 700 records in flight\n"
            programs.signal("redis-b", signal.SIGCONT)
            assert waiting.wait(DEADLINE_S) == 0
        assert _in_flight(programs, "b") == 0
        feeding.wait_acknowledged()
    assert len(sequences(programs, "b")) == 700
    assert sorted(sequences(programs, "a") + sequences(programs, "b")) == list(range(2000))


def test_a_drain_says_what_holds_it_up_and_outlives_the_router(start: StartPrograms) -> None:
    programs = start(weights={"a": 0, "b": 1})  # while nobody is up who could get it, b keeps what it has
    with feeder(programs) as feeding:
        programs.signal("redis-b", signal.SIGSTOP)
        feeding.send(records(1000))
        wait_for(lambda: programs.status()["writers"]["b"]["health"] == "down", "b is down")
        with _draining(programs, "b", "--force") as waiting:
            assert waiting.stderr
            assert re.match(r"tapfan: waiting for b: 1,000 records in flight, b is down: .", waiting.stderr.readline())
            programs.signal("redis-b", signal.SIGCONT)
            assert waiting.wait(DEADLINE_S) == 0
        feeding.wait_acknowledged()
        assert programs.stop("router") == 0
        programs.start("router")
        programs.wait_ready()
        assert _json(programs, "weights", "a=1")["states"] == {"a": "ready", "b": "drain"}
        feeding.send(records(1000))
        feeding.wait_acknowledged()
    assert sequences(programs, "a") == list(range(1000, 2000))
    assert sequences(programs, "b") == list(range(1000))


def test_a_writer_that_is_being_added_by_hand_keeps_nobody_from_seeing_and_steering(steered: Programs) -> None:
    sound = steered.config.read_text(encoding="utf-8")
    steered.config.write_text(f'{sound}\n[[writers]]\nname = "d"\nredis = "redis://h"\n', encoding="utf-8")
    try:
        for typed in ("status", "weights a=31", "drain b --wait", "undo", "ttl", "history"):
            done = _tapfan(steered, *typed.split())
            problem, *rest = done.stderr.splitlines()
            assert problem == f"tapfan: warning: {steered.config}: writer d: writers[3].weight: missing"
            assert (done.exit_code, bool(done.stdout)) == (0, True)
            assert all("waiting for b" in line for line in rest)
        watch = [sys.executable, "-m", "tapfan.cli", "watch", "--config", str(steered.config)]
        with subprocess.Popen(watch, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
            try:
                assert watching.stdout
                assert watching.stderr
                assert watching.stderr.readline() == f"{problem}\n"
                assert watching.stdout.readline().startswith("tapfan ")
                watching.send_signal(signal.SIGINT)
                assert watching.wait(DEADLINE_S) == 0
            finally:
                watching.kill()
        refused = _tapfan(steered, "check")
        assert (refused.exit_code, refused.stdout) == (EXIT_USAGE, "")
        assert refused.stderr == f"tapfan: {steered.config}: writer d: writers[3].weight: missing\n"
    finally:
        steered.config.write_text(sound, encoding="utf-8")
