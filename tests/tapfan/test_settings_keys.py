"""Keys in the configuration: with other hosts there is encryption or an error, and each program finds its endpoint."""

from pathlib import Path

import pytest

from tapfan.reach import ENDPOINTS
from tapfan.settings import Settings, SettingsError, load
from tests.tapfan.conftest import WRITERS, Configure

_FAR = "tcp://192.0.2.1:7201"
_KEYED_WRITER = '[[writers]]\nname = "c"\nredis = "redis://h"\nweight = 1\nkey = "c.key"\n'
_ROUTER = f"""
[router]
key = "keys/router.key"
records = "{_FAR}"
shares = "tcp://*:7202"
[control]
endpoint = "tcp://[::]:7203"
events = "tcp://127.0.0.1:7204"
"""


def _ipc(settings: Settings, *names: str) -> list[str]:
    return [f"ipc://{settings.run_dir}/{name}.ipc" for name in names]


def test_without_keys_there_is_one_endpoint_each_for_this_host(configure: Configure) -> None:
    settings = load(configure('[router]\nrecords = "tcp://127.0.0.1:1"\n' + WRITERS))
    expected = ["tcp://127.0.0.1:1", *_ipc(settings, "shares", "control", "events")]
    assert [settings.bound(name) for name in ENDPOINTS] == expected
    assert [settings.endpoint(name) for name in ENDPOINTS] == expected
    assert [settings.served(name) for name in ENDPOINTS] == [None] * 4
    assert not any(settings.is_keyed(name) for name in ENDPOINTS)


def test_on_the_router_s_host_others_get_to_tcp_and_its_own_programs_to_ipc(
    configure: Configure, tmp_path: Path
) -> None:
    settings = load(configure(_ROUTER + WRITERS))
    assert settings.router.key == tmp_path / "keys/router.key"
    assert [settings.bound(name) for name in ENDPOINTS] == _ipc(settings, *ENDPOINTS)
    assert [settings.endpoint(name) for name in ENDPOINTS] == _ipc(settings, *ENDPOINTS)
    assert [settings.served(name) for name in ENDPOINTS] == [
        _FAR,
        "tcp://*:7202",
        "tcp://[::]:7203",
        "tcp://127.0.0.1:7204",
    ]


def test_with_a_router_s_key_ipc_and_what_is_not_given_stay_as_they_are(configure: Configure) -> None:
    settings = load(configure('[router]\nkey = "/k/r.key"\nrecords = "ipc:///run/x.ipc"\n' + WRITERS))
    assert (settings.bound("records"), settings.endpoint("records")) == ("ipc:///run/x.ipc", "ipc:///run/x.ipc")
    assert [settings.served(name) for name in ENDPOINTS] == [None] * 4


def test_a_host_with_a_listener_alone_needs_no_writers(configure: Configure, tmp_path: Path) -> None:
    settings = load(configure('[router]\nrecords = "tcp://router.example:7201"\n[listener]\nkey = "edge.key"\n'))
    assert (settings.endpoint("records"), settings.is_keyed("records")) == ("tcp://router.example:7201", True)
    assert (settings.listener.key, settings.writers) == (tmp_path / "edge.key", ())
    assert settings.served("records") is None


def test_a_host_with_the_command_alone_needs_no_writers(configure: Configure, tmp_path: Path) -> None:
    settings = load(configure(f'[control]\nkey = "k/laptop.key"\nendpoint = "{_FAR}"\n'))
    assert (settings.endpoint("control"), settings.control.key) == (_FAR, tmp_path / "k/laptop.key")
    assert settings.endpoint("events") == _ipc(settings, "events")[0]


def test_a_host_with_a_writer(configure: Configure, tmp_path: Path) -> None:
    settings = load(configure(f'[router]\nshares = "{_FAR}"\n' + _KEYED_WRITER))
    assert (settings.endpoint("shares"), settings.writer("c").key) == (_FAR, tmp_path / "c.key")


def test_a_key_may_come_from_the_environment(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPFAN_LISTENER__KEY", "/etc/tapfan/edge.key")
    settings = load(configure(f'[router]\nrecords = "{_FAR}"\n'))
    assert settings.listener.key == Path("/etc/tapfan/edge.key")


def test_loopback_may_be_encrypted(configure: Configure) -> None:
    settings = load(configure('[router]\nrecords = "tcp://127.0.0.1:1"\n[listener]\nkey = "e.key"\n' + WRITERS))
    assert settings.is_keyed("records")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f'[router]\nrecords = "{_FAR}"\n{WRITERS}',
            "router.records = 'tcp://192.0.2.1:7201': with other hosts there is",
        ),
        (f'[router]\nrecords = "{_FAR}"\n{WRITERS}', "set listener.key, or where the router runs router.key"),
        (f'[router]\nshares = "{_FAR}"\n{WRITERS}', "set writers.key, or where the router runs router.key"),
        (f'[control]\nendpoint = "{_FAR}"\n{WRITERS}', "set control.key, or where the router runs router.key"),
        (f'[control]\nevents = "tcp://*:1"\n{WRITERS}', "control.events = 'tcp://*:1': with other hosts there is"),
        (f'[router]\nrecords = "tcp://localhost:1"\n{WRITERS}', "with other hosts there is encryption"),
        (
            f'[listener]\nkey = "e.key"\n[router]\nshares = "{_FAR}"\n',
            "listener.key: is for a router that is reached ov",
        ),
        (f'[listener]\nkey = "e.key"\n{WRITERS}', "set router.records to where that is"),
        (
            f'[listener]\nkey = "e.key"\n[router]\nrecords = "ipc:///x"\n{WRITERS}',
            "set router.records to where that is",
        ),
        ('[control]\nkey = "e.key"\n', "set control.endpoint to where that is"),
        (_KEYED_WRITER, "set router.shares to where that is"),
        (
            f'[router]\nshares = "{_FAR}"\n' + _KEYED_WRITER + WRITERS,
            "writers: all of them have a key, as the router is on another host, or none",
        ),
        (
            f'[router]\nkey = "r.key"\nrecords = "tcp://router.example:1"\n{WRITERS}',
            "must be an IP address of this host",
        ),
        ('[router]\nrecords = "tcp://*:1"\n[listener]\nkey = "e.key"\n', "must be the host to connect to"),
        (
            f'[router]\nkey = "r.key"\nrecords = "tcp://0.0.0.0:1"\n[listener]\nkey = "e.key"\n{WRITERS}',
            "must be the host to",
        ),
        ('[router]\nkey = "r.key"\n', "writers: missing"),
        (f'[router]\nkey = "r.key"\nrecords = "{_FAR}"\n[listener]\nkey = "e.key"\n', "writers: missing"),
        ('writers = []\n[router]\nkey = "r.key"\n', "writers = []: must have at least one"),
        (f'writers = []\n[router]\nrecords = "{_FAR}"\n', "router.records = 'tcp://192.0.2.1:7201': with other hosts"),
    ],
)
def test_what_would_be_in_the_clear_or_useless_is_an_error_that_names_what_to_set(
    configure: Configure, text: str, problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(configure(text))
    assert problem in str(caught.value)
