"""`tapfan add` and `remove`: what they refuse before anything is done, and what they take back."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tapfan.cli.__main__ import app
from tests.process.running import DEADLINE_S, free_port, wait_for
from tests.tapfan.answering import answering
from tests.tapfan.conftest import WRITERS, Configure
from tests.tapfan.membership.supervising import FILE, supervisord
from tests.writers.servers import Server

_MEMBER = {"state": "ready", "health": "up", "reason": "", "in_flight": 0, "redis": "redis://127.0.0.1:1/0"}


class Router:
    """Answers as a router with the writers a and b would; `refuses`: commands that it does not accept, and the code."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.members: dict[str, dict[str, Any]] = {"a": dict(_MEMBER), "b": dict(_MEMBER)}
        self.refuses: dict[str, str] = {}
        self.health_of_new = "absent"
        self.requests: list[dict[str, Any]] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do as it says, and reply."""
        command = request["command"]
        if command in self.refuses:
            return {"ok": False, "error": {"code": self.refuses[command], "message": "no"}}
        if command == "status":
            return {"ok": True, "result": {"version": 7, "writers": self.members}}
        if command == "add":
            self.members[request["name"]] = _MEMBER | {"redis": request["redis"], "health": self.health_of_new}
        elif command == "remove":
            del self.members[request["name"]]
        elif command == "state":
            for name, state in request["states"].items():
                self.members[name]["state"] = state
        return {"ok": True, "result": {"version": 7}}

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What it was asked to change, without what goes with each."""
        kept = [request for request in self.requests if request["command"] not in ("status", "weights")]
        return [{key: value for key, value in request.items() if key not in ("id", "by")} for request in kept]

    def tapfan(self, *arguments: str, alone: bool = True) -> Result:
        """Run the command, without supervisord."""
        options = ["--no-supervisor"] if alone else []
        return CliRunner().invoke(app, [*arguments, *options, "--config", str(self.config)], env={"COLUMNS": "80"})


@pytest.fixture
def router(configure: Configure, tmp_path: Path) -> Iterator[Router]:
    (tmp_path / "run").mkdir()
    made = Router(configure(f'[control]\ntimeout = "10s"\n{WRITERS}'))
    with answering(f"ipc://{tmp_path}/run/control.ipc", made.answer) as made.requests:
        yield made


@pytest.fixture
def url() -> str:
    """Of no Redis."""
    return f"redis://127.0.0.1:{free_port()}/0"


def test_without_supervisord_it_is_put_in_and_said_how_to_start_it(router: Router, url: str) -> None:
    before = router.config.read_text()
    options = ["--weight", "2.5", "--layout", "block", "--confirm", "replica", "--rampup", "30s"]
    done = router.tapfan("add", "c", url, *options, "--reason", "room", "--by", "anna")
    assert done.exit_code == 0, done.output
    section = f'\n[[writers]]\nname = "c"\nredis = "{url}"\nweight = 2.5\n'
    assert router.config.read_text() == before + section + 'layout = "block"\nconfirm = "replica"\nrampup = "30s"\n'
    change = {"command": "add", "name": "c", "redis": url, "weight": 2.5, "rampup": "30s", "reason": "room"}
    assert router.changes == [change]
    assert router.requests[-2]["by"] == "anna"
    assert f"it gets its part once it runs: {sys.executable} -m writers c --config {router.config}\n" in done.stdout
    assert f"warning: {url} does not answer yet: Error 111" in done.stderr

    gone = router.tapfan("remove", "c", "--reason", "no room")
    assert gone.exit_code == 0, gone.output
    assert router.config.read_text() == before
    drain = {"command": "state", "states": {"c": "drain"}, "reason": "no room"}
    assert router.changes[1:] == [drain, {"command": "remove", "name": "c", "reason": "no room"}]
    assert "end its process, writer-c, if it still runs" in gone.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["d e", "URL", "--weight", "1"], "tapfan: NAME 'd e': must have 1 to 32 letters, digits, - and _\n"),
        (["c", "http://x", "--weight", "1"], "tapfan: URL 'http://x': it does not begin with redis://, or another"),
        (
            ["c", "redis://me:hunter2@127.0.0.1:99999/0", "--weight", "1"],
            "tapfan: URL 'redis://127.0.0.1:99999/0': the port must be a number from 1 to 65535; must be a URL such as",
        ),
        (["c", "redis://h:1/x", "--weight", "1"], "tapfan: URL 'redis://h:1/x': the database must be a number, such"),
        (["c", "URL", "--weight", "nan"], "--weight 'nan': must be a finite number from 0 to 1000000000"),
        (["c", "URL", "--weight", "1", "--rampup", "soon"], "tapfan: --rampup 'soon': must be a duration"),
        (
            ["a", "URL", "--weight", "1"],
            "has a writer a already, with other values than those: redis = 'redis://127.0.0.1:7101/0' (not 'redis://",
        ),
        (["c", "URL", "--weight", "1", "--password-file", "/none"], "cannot be used: [Errno 2] No such file"),
        (["c", "URL", "--weight", "1", "--supervisor", "x"], "--supervisor and --no-supervisor exclude each other"),
    ],
)
def test_what_is_not_valid_is_refused_before_anything_is_done(
    router: Router, url: str, arguments: list[str], problem: str
) -> None:
    before = router.config.read_text()
    done = router.tapfan("add", *(url if argument == "URL" else argument for argument in arguments))
    assert done.exit_code == 2
    assert problem in done.stderr
    assert "hunter2" not in done.stderr
    assert (router.config.read_text(), router.changes, len(list(router.config.parent.iterdir()))) == (before, [], 2)


def test_what_a_writer_that_is_there_has_otherwise_is_told_without_its_secrets(router: Router) -> None:
    text = router.config.read_text()
    router.config.write_text(text + 'confirm = "replica"\npassword = "hunter2"\n')
    refused = router.tapfan("add", "b", "redis://:hunter4@127.0.0.1:7102/0", "--weight", "20.5", "--rampup", "30s")
    assert (refused.exit_code, router.changes) == (2, [])
    assert refused.stderr.endswith(
        "has a writer b already, with other values than those: redis (its value is not shown), weight = 70 (not 20.5), "
        "no rampup (not '30s'), confirm = 'replica' (not none), password (its value is not shown)\n"
    )


def test_a_database_that_the_redis_does_not_have_is_refused(router: Router, tmp_path: Path) -> None:
    before = router.config.read_text()
    with closing(Server(tmp_path / "redis")) as server:
        url = f"unix://{server.path}?db=99"
        refused = router.tapfan("add", "c", url, "--weight", "1")
    assert (refused.exit_code, router.config.read_text(), router.changes) == (2, before, [])
    assert refused.stderr == f"tapfan: {url} is no database that this Redis has: DB index is out of range\n"


@pytest.mark.parametrize("url", ["redis://127.0.0.1:7102/0", "rediss://u@LOCALHOST:7102?db=0"])
def test_a_database_of_another_writer_is_refused_before_anything_is_done(router: Router, url: str) -> None:
    before = router.config.read_text()
    refused = router.tapfan("add", "c", url, "--weight", "1")
    assert (refused.exit_code, refused.stdout) == (2, "")
    told = "tapfan: the writer b has that Redis database, redis://127.0.0.1:7102/0, already: give c one of its own\n"
    assert refused.stderr == told
    assert (router.config.read_text(), router.changes, len(list(router.config.parent.iterdir()))) == (before, [], 2)
    assert router.tapfan("add", "c", "redis://127.0.0.1:7102/1", "--weight", "1").exit_code == 0


def test_writers_that_share_a_database_already_keep_none_from_being_added(router: Router, url: str) -> None:
    text = router.config.read_text()
    router.config.write_text(text.replace("7102", "7101"))
    assert router.tapfan("add", "c", url, "--weight", "1").exit_code == 0


def test_a_password_in_the_url_is_kept_from_others_and_from_the_router(router: Router) -> None:
    url = f"redis://user:se%23cret@127.0.0.1:{free_port()}/0"
    before = router.config.read_text()
    router.config.chmod(0o640)
    refused = router.tapfan("add", "c", url, "--weight", "1")
    assert (refused.exit_code, router.config.read_text(), router.changes) == (2, before, [])
    assert f"others may read {router.config} (mode 0640): give it with --password-file, or `chmod 600" in refused.stderr

    router.config.chmod(0o600)
    done = router.tapfan("add", "c", url, "--weight", "1")
    assert done.exit_code == 0, done.output
    assert url in router.config.read_text()
    assert "cret" not in refused.output + done.output + str(router.requests)


def test_what_is_to_be_added_by_hand_is_printed_without_its_password(router: Router) -> None:
    text = router.config.read_text()
    writers = [{"name": name, "redis": f"redis://127.0.0.1/{name == 'b':d}", "weight": 1} for name in "ab"]
    inline = ", ".join(f'{{name = "{w["name"]}", redis = "{w["redis"]}", weight = 1}}' for w in writers)
    router.config.write_text(f"writers = [{inline}]\n{text.partition('[[writers]]')[0]}")
    router.config.chmod(0o600)
    refused = router.tapfan("add", "c", "redis://user:se%23cret@10.0.0.3:6379/0", "--weight", "1")
    assert (refused.exit_code, router.changes) == (1, []), refused.output
    assert 'add to it by hand:\n[[writers]]\nname = "c"\nredis = "redis://10.0.0.3:6379/0"\n' in refused.stderr
    assert "password_file names a file with the password" in refused.stderr
    assert "cret" not in refused.output


def test_programs_get_what_was_done_and_what_is_in_force(router: Router, url: str) -> None:
    added = router.tapfan("add", "c", url, "--weight", "1", "--json")
    start = [sys.executable, "-m", "writers", "c", "--config", str(router.config)]
    told = {"writer": "c", "done": "added", "trouble": None, "to_start": start}
    assert (added.exit_code, json.loads(added.stdout)) == (0, {"version": 7, **told})
    removed = router.tapfan("remove", "c", "--json")
    told = {"writer": "c", "done": "removed", "redis": url, "to_end": "writer-c"}
    assert (removed.exit_code, json.loads(removed.stdout)) == (0, {"version": 7, **told})
    refused = router.tapfan("remove", "c", "--json")
    assert (refused.exit_code, refused.stdout) == (2, "")


def test_programs_are_told_of_one_that_is_not_up_too(router: Router, url: str, tmp_path: Path) -> None:
    router.health_of_new = "down"
    file = tmp_path / "supervisord.conf"
    file.write_text(FILE + "[program:writer-b]\ncommand = sh -c 'exec sleep 600' writers b\n")
    with supervisord(file):
        added = router.tapfan("add", "c", url, "--weight", "1", "--json", alone=False)
    told = json.loads(added.stdout)
    assert (added.exit_code, told["done"], told["to_start"]) == (1, "added", None), added.output
    assert told["trouble"].startswith("c is not up")
    assert "c is added, and gets its part once it is up" in added.stderr


def test_variables_for_a_writer_that_is_not_there_are_refused(
    router: Router, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert router.tapfan("add", "c", url, "--weight", "1").exit_code == 0
    text = router.config.read_text()
    monkeypatch.setenv("TAPFAN_WRITERS__C__PASSWORD", "secret")
    gone = router.tapfan("remove", "c")
    assert (gone.exit_code, router.config.read_text()) == (2, text)
    assert "TAPFAN_WRITERS__C__PASSWORD is set here; without a writer c, no program starts with it" in gone.stderr

    monkeypatch.setenv("TAPFAN_WRITERS__D__PASSWORD", "secret")
    come = router.tapfan("add", "d", url, "--weight", "1")
    assert (come.exit_code, router.config.read_text()) == (2, text)
    assert "TAPFAN_WRITERS__D__PASSWORD is set here, but supervisord and its programs do not have it" in come.stderr
    assert "secret" not in gone.output + come.output


def test_another_version_is_a_conflict_before_anything_is_done(router: Router, url: str) -> None:
    before = router.config.read_text()
    for command in (["add", "c", url, "--weight", "1"], ["remove", "b"]):
        done = router.tapfan(*command, "--if-version", "6")
        assert (done.exit_code, router.config.read_text(), router.changes) == (3, before, [])
        assert "version 7 is in force, and not 6" in done.stderr
    done = router.tapfan("remove", "b", "--if-version", "7")
    assert done.exit_code == 0, done.output
    assert router.changes[0] == {"command": "state", "states": {"b": "drain"}, "if_version": 7}
    assert router.changes[1] == {"command": "remove", "name": "b"}


@pytest.mark.parametrize(("code", "exit_code"), [("not_saved", 1), ("forbidden", 2), ("version_conflict", 3)])
def test_what_the_router_refuses_is_taken_back(router: Router, url: str, code: str, exit_code: int) -> None:
    before = router.config.read_bytes()
    router.refuses = {"add": code, "remove": code}
    done = router.tapfan("add", "c", url, "--weight", "1")
    assert (done.exit_code, router.config.read_bytes()) == (exit_code, before)
    assert done.stderr.endswith("\nnow nothing has c\n")

    done = router.tapfan("remove", "b")
    assert (done.exit_code, router.config.read_bytes()) == (exit_code, before)
    assert done.stderr.endswith(f"\nnow b is in {router.config}, the router\n")
    assert router.members["b"]["state"] == "ready"


def test_what_is_in_flight_is_waited_for_and_then_all_is_as_it_was(router: Router) -> None:
    before = router.config.read_bytes()
    router.members["b"] |= {"in_flight": 1234, "health": "down", "reason": "no answer for 9.1 s"}
    done = router.tapfan("remove", "b", "--timeout", "300ms")
    assert (done.exit_code, router.config.read_bytes(), router.members["b"]["state"]) == (1, before, "ready")
    waits = "waiting for 1,234 records of b in flight (down: no answer for 9.1 s)"
    assert f"tapfan: {waits}\n" in done.stderr
    assert f"still {waits}, after 0.3 s; wait longer with --timeout" in done.stderr

    router.members["b"]["state"] = "maint"
    assert router.tapfan("remove", "b", "--timeout", "0s").exit_code == 1
    assert router.members["b"]["state"] == "maint"

    done = router.tapfan("remove", "b", "--timeout", "0s", "--force")
    assert done.exit_code == 0, done.output
    assert router.changes[-1] == {"command": "remove", "name": "b", "force": True}
    assert "[[writers]]" in router.config.read_text()


def test_the_last_writer_and_one_that_nobody_knows_stay(router: Router) -> None:
    unknown = router.tapfan("remove", "z")
    assert (unknown.exit_code, unknown.stderr) == (2, "tapfan: no writer is named z; there are: a, b\n")
    text = router.config.read_text()
    router.config.write_text(text.replace("weight = 30", "weight = 0"))
    idle = router.tapfan("remove", "b")
    assert idle.exit_code == 2
    assert "writers: all weights are 0; at least one must be more" in idle.stderr
    del router.members["b"]
    last = router.tapfan("remove", "a")
    assert (last.exit_code, last.stderr) == (2, "tapfan: a is the only writer, and cannot be removed\n")
    router.config.write_text(text.partition('[[writers]]\nname = "b"')[0])
    router.members["joined"] = dict(_MEMBER)
    last = router.tapfan("remove", "a")
    assert last.exit_code == 2
    assert f"a is the only writer in {router.config}, and cannot be removed" in last.stderr
    assert router.changes == []


def test_one_that_joined_is_removed_and_not_taken_for_a_new_one(router: Router, url: str) -> None:
    before = router.config.read_bytes()
    router.members["c"] = dict(_MEMBER)
    done = router.tapfan("add", "c", url, "--weight", "1")
    assert done.exit_code == 2
    assert f"the router has a writer c that is not in {router.config}; remove it first" in done.stderr
    done = router.tapfan("remove", "c", alone=False)  # there is no supervisord here, and none is needed
    assert done.exit_code == 0, done.output
    assert (set(router.members), router.config.read_bytes()) == ({"a", "b"}, before)


def test_where_no_supervisord_runs_it_says_what_else_can_be_done(router: Router, url: str, tmp_path: Path) -> None:
    done = router.tapfan("add", "c", url, "--weight", "1", alone=False)
    assert done.exit_code == 2
    assert f"cannot read {tmp_path}/supervisord.conf: No such file or directory: name supervisord's file" in done.stderr
    assert "--no-supervisor" in done.stderr
    file = tmp_path / "supervisord.conf"
    file.write_text("[supervisorctl]\nserverurl = unix://%(here)s/s.sock\n[program:writer-b]\ncommand = x\n")
    for command in (["add", "c", url, "--weight", "1"], ["remove", "b"]):
        done = router.tapfan(*command, alone=False)
        assert done.exit_code == 1
        assert f"supervisord does not answer at unix://{tmp_path}/s.sock" in done.stderr
        assert f"start it (`supervisord -c {file}`), or, where something else runs the writers" in done.stderr
    assert router.changes == []


def test_the_section_goes_where_those_of_the_others_are(router: Router, url: str, tmp_path: Path) -> None:
    router.health_of_new = "up"
    (tmp_path / "conf.d").mkdir()
    own, included = tmp_path / "supervisord.conf", tmp_path / "conf.d" / "tapfan.conf"
    own.write_text(FILE + "[include]\nfiles = conf.d/*.conf\n")
    included.write_text("[program:writer-b]\ncommand = sh -c 'exec sleep 600' writers b\n; the end\n")
    before = [file.read_text() for file in (own, included, router.config)]
    with supervisord(own):
        done = router.tapfan("add", "c", url, "--weight", "1", alone=False)
        assert (done.exit_code, done.stdout) == (0, "c is added\n"), done.output
        assert own.read_text() == before[0]
        section = "[program:writer-c]\ncommand = sh -c 'exec sleep 600' writers c\n"
        assert included.read_text() == f"{before[1]}\n{section}"
        done = router.tapfan("remove", "c", alone=False)
        assert done.exit_code == 0, done.output
        assert [file.read_text() for file in (own, included, router.config)] == before


def test_a_writer_stays_while_a_variable_of_it_would_keep_programs_from_starting(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "supervisord.conf"
    section = "[program:writer-b]\ncommand = sleep 600\nenvironment = TAPFAN_WRITERS__B__WEIGHT=70\n"
    file.write_text(FILE + section)
    before = router.config.read_text()
    monkeypatch.setenv("TAPFAN_WRITERS__B__PASSWORD", "secret")
    with supervisord(file):
        monkeypatch.delenv("TAPFAN_WRITERS__B__PASSWORD")
        done = router.tapfan("remove", "b", alone=False)
        assert (done.exit_code, router.config.read_text(), router.changes) == (2, before, [])
        assert (
            "TAPFAN_WRITERS__B__PASSWORD is set for supervisord; without a writer b, no program starts" in done.stderr
        )
        assert "secret" not in done.output
    with supervisord(file):
        everywhere = FILE.replace("[supervisord]\n", "[supervisord]\nenvironment = TAPFAN_WRITERS__B__WEIGHT=70\n")
        file.write_text(everywhere + section)
        done = router.tapfan("remove", "b", alone=False)
        assert done.exit_code == 2
        assert f"{file} sets TAPFAN_WRITERS__B__… outside the section of writer-b" in done.stderr
        file.write_text(FILE + section)
        assert router.tapfan("remove", "b", alone=False).exit_code == 0
    assert file.read_text() == FILE.rstrip("\n") + "\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_being_asked_to_stop_while_it_waits_takes_back_what_was_done(router: Router, number: signal.Signals) -> None:
    before = router.config.read_bytes()
    router.members["b"]["in_flight"] = 1
    with subprocess.Popen(
        [sys.executable, "-m", "tapfan.cli", "remove", "b", "--no-supervisor", "--config", str(router.config)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: router.members["b"]["state"] == "drain", "b drains")
        process.send_signal(number)
        _, told = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert told.endswith(f"tapfan: stopped\nnow b is in {router.config}, the router\n")
    assert (router.members["b"]["state"], router.config.read_bytes()) == ("ready", before)
