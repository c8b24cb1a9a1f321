"""What a new user is told, and what is waited for."""

import re
from pathlib import Path

import pytest

from tapfan.settings import load
from tapfan.welcome import hints, missing
from tests.tapfan.answering import answering
from tests.tapfan.conftest import WRITERS, Configure


def test_the_hints_are_of_this_configuration(configure: Configure) -> None:
    text = hints(load(configure('ttl = "90s"\n[listener]\nlisten = ["[::1]:9001", "127.0.0.1:9000"]\n' + WRITERS)))
    assert "packets to [::1]:9001 are stored for 90s" in text
    assert "curl -m 1 http://[::1]:9001/" in text
    assert "-u redis://127.0.0.1:7101/0 --scan --pattern 'tcp:*'" in text


@pytest.mark.parametrize(
    ("layout", "own", "scanned"),
    [("block", "", []), ("block", 'layout = "record"\n', ["7102"]), ("record", "", ["7101"])],
)
def test_keys_are_scanned_for_where_a_writer_has_one_for_each_record(
    configure: Configure, layout: str, own: str, scanned: list[str]
) -> None:
    text = hints(load(configure(f'layout = "{layout}"\n{WRITERS}{own}')))
    assert re.findall(r":([0-9]+)/0 --scan --pattern 'tcp:\*'", text) == scanned
    for command in ("query", "top", "follow", "watch", "ttl"):
        assert f"\n  tapfan {command} " in text


def test_the_weights_to_try_are_valid_and_others_than_those_in_force(configure: Configure) -> None:
    assert "tapfan weights a=70 b=30 " in hints(load(configure(WRITERS)))


def test_a_drain_is_suggested_where_another_writer_is_left(configure: Configure) -> None:
    assert "\n  tapfan drain a --wait " in hints(load(configure(WRITERS)))
    assert "tapfan drain" not in hints(load(configure(WRITERS[: WRITERS.rindex("[[writers]]")])))


def test_the_hints_hold_no_password(configure: Configure) -> None:
    secret = WRITERS.replace("redis://", "redis://:hunter2@")
    assert "hunter2" not in hints(load(configure(secret)))


def test_a_redis_cli_on_path_is_suggested_by_its_name(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis-cli").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "\n  redis-cli -u redis://" in hints(load(configure(WRITERS)))


def test_without_a_router_it_is_the_router_that_is_missing(configure: Configure) -> None:
    settings = load(configure(WRITERS))
    settings.run_dir.mkdir()
    assert missing(settings) == ["router"]


@pytest.mark.parametrize(
    ("writers", "listeners", "expected"),
    [
        ({"a": "up", "b": "up"}, {"local": "up"}, []),
        ({"a": "down", "b": "up"}, {"local": "up", "other": "absent"}, ["writer-a"]),
        ({"a": "up", "b": "up"}, {"local": "absent"}, ["listener"]),
        ({"a": "absent", "b": "absent"}, {"other": "up"}, ["writer-a", "writer-b", "listener"]),
    ],
)
def test_what_is_not_ready_is_named_as_the_supervisor_does(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    writers: dict[str, str],
    listeners: dict[str, str],
    expected: list[str],
) -> None:
    settings = load(configure(WRITERS))
    settings.run_dir.mkdir()
    monkeypatch.setattr("tapfan.welcome._PAUSE_S", 10.0)
    status = {
        kind: {name: {"health": health} for name, health in some.items()}
        for kind, some in (("writers", writers), ("listeners", listeners))
    }
    with answering(settings.endpoint("control"), lambda _request: {"ok": True, "result": status}):
        assert missing(settings) == expected
