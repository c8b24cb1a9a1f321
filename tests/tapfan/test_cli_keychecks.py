"""What `tapfan check` says of encryption."""

from pathlib import Path
from typing import Any

import pytest

from tapfan import keys
from tapfan.cli.checks import check
from tapfan.keyring import Keyring
from tapfan.settings import load
from tests.tapfan.conftest import WRITERS, Configure

_ACCEPT = '[listener]\nsource = "accept"\n'
_ROUTER = '[router]\nkey = "keys/router.key"\nrecords = "tcp://192.0.2.1:7201"\n' + _ACCEPT + WRITERS
_ELSEWHERE = '[control]\nkey = "laptop.key"\nendpoint = "tcp://router.example:7203"\ntimeout = "10ms"\n'


@pytest.fixture
def ring(tmp_path: Path) -> Keyring:
    """The router's keys."""
    made = Keyring(tmp_path / "keys/router.key")
    made.make_router()
    return made


def _checked(file: Path) -> dict[str, Any]:
    return check(load(file))


def test_it_says_what_is_encrypted_and_who_is_let_in(configure: Configure, ring: Keyring, tmp_path: Path) -> None:
    ring.make("edge", "listener")
    found = _checked(configure(_ROUTER))
    assert found["problems"] == []
    records = f"encrypted for other hosts at tcp://192.0.2.1:7201, and for this one at ipc://{tmp_path}/run/records.ipc"
    assert f"records: {records}" in found["notes"]
    assert f"{tmp_path}/keys/allowed.toml lets in edge (listener)" in found["notes"]


def test_loopback_without_a_key_is_said_not_to_be(configure: Configure) -> None:
    notes = _checked(configure('[router]\nshares = "tcp://127.0.0.1:7202"\n' + _ACCEPT + WRITERS))["notes"]
    assert "shares: not encrypted, for this host alone, at tcp://127.0.0.1:7202" in notes


def test_a_key_without_a_use_and_nobody_let_in_are_noted(configure: Configure, ring: Keyring) -> None:
    notes = "\n".join(_checked(configure(f'[router]\nkey = "{ring.router_file}"\n' + _ACCEPT + WRITERS))["notes"])
    assert "lets in nobody; `tapfan keys make` makes a key and lets it in" in notes
    assert "router.key is set, but no endpoint is tcp://" in notes


def test_what_is_wrong_with_keys_is_a_problem(configure: Configure, ring: Keyring) -> None:
    file = configure(_ROUTER)
    (ring.folder / "allowed.toml").write_text("[")
    ring.router_file.chmod(0o644)
    problems = _checked(file)["problems"]
    assert any("`chmod 600" in problem for problem in problems)
    assert any("allowed.toml is not valid TOML" in problem for problem in problems)


def test_where_the_router_is_elsewhere_it_is_not_said_to_run(
    configure: Configure, ring: Keyring, tmp_path: Path
) -> None:
    ring.make("laptop", "admin").file.rename(tmp_path / "laptop.key")
    found = _checked(configure(_ELSEWHERE))
    assert (found["processes"], found["problems"]) == ([], [])
    assert "control: encrypted, at tcp://router.example:7203" in found["notes"]
    keys.read(tmp_path / "laptop.key").file.unlink()
    assert "cannot read the key file" in _checked(tmp_path / "tapfan.toml")["problems"][0]


def test_a_listener_s_host_has_that_alone(configure: Configure, ring: Keyring, tmp_path: Path) -> None:
    ring.make("edge", "listener").file.rename(tmp_path / "edge.key")
    text = f'[router]\nrecords = "tcp://192.0.2.1:7201"\n{_ACCEPT}key = "edge.key"\n'
    assert [process["command"] for process in _checked(configure(text))["processes"]] == ["python -m listener"]
