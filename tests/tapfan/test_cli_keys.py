"""`tapfan keys`: what it writes is for nobody else, what is there is never lost, and it says what to do next."""

import json
import os
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tapfan import allowlist, keys
from tapfan.cli.__main__ import app
from tapfan.keyring import Keyring, KeyringError
from tapfan.program import CannotRunError
from tests.process.running import ROOT
from tests.tapfan.conftest import WRITERS, Configure

ELSEWHERE = '[control]\nendpoint = "tcp://router.example:7203"\nkey = "my/laptop.key"\n'
OTHER = "0" * 40


@pytest.fixture
def file(configure: Configure) -> Path:
    """A configuration without keys."""
    return configure(WRITERS)


def _keys(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments, "--config", str(file)], env={"COLUMNS": "200"})


def _json(file: Path, *arguments: str) -> dict[str, Any]:
    result = _keys(file, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def _modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_the_first_key_comes_with_the_routers(file: Path) -> None:
    made = _keys(file, "make", "laptop", "--role", "admin")
    folder = file.parent / "keys"
    assert made.exit_code == 0, made.stderr
    assert f'set [router] key = "{folder}/router.key" in the configuration, and restart the router' in made.stdout
    assert "the key of laptop, for the role admin" in made.stdout
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["allowed.toml", "laptop.key", "router.key"]
    assert _modes(folder) == {0o600}
    router, laptop = keys.read(folder / "router.key"), keys.read(folder / "laptop.key")
    assert (router.role, laptop.role, laptop.router) == ("router", "admin", router.public)
    assert list(allowlist.read(folder / "allowed.toml")) == [laptop.public]
    for secret in (router.secret, laptop.secret):
        assert secret.get_secret_value() not in made.stdout + _keys(file).stdout + _keys(file, "--json").stdout


def test_all_keys_are_listed_with_where_their_secrets_are(file: Path) -> None:
    assert _json(file) == {"folder": f"{file.parent}/keys", "keys": [], "problems": []}
    made = _json(file, "make", "edge", "--role", "listener")
    assert [(key["name"], key["role"]) for key in made["made"]] == [("router", "router"), ("edge", "listener")]
    assert _json(file, "allow", "phone", OTHER, "--role", "read")["allowed"]["public"] == OTHER
    assert _json(file, "revoke", "edge")["revoked"]["name"] == "edge"
    listed = _json(file)["keys"]
    assert [(key["name"], key["role"], key["allowed"], bool(key["file"])) for key in listed] == [
        ("router", "router", True, True),
        ("phone", "read", True, False),
        ("edge", "listener", False, True),
    ]
    table = [line.split() for line in _keys(file).stdout.splitlines()]
    assert [row[0] for row in table] == ["name", "router", "phone", "edge"]
    assert table[2] == ["phone", "read", OTHER, "yes", "(elsewhere)"]
    assert table[3][3] == "no"


@pytest.mark.parametrize(
    "bad", ['[[writers]]\nname = "c"\nweight = 1\n', 'user = "no such user"\n', "[listener]\nkey = 5\n"]
)
def test_a_key_is_listed_and_revoked_though_the_rest_of_the_configuration_is_bad(
    configure: Configure, bad: str
) -> None:
    head = '[router]\nkey = "mine/router.key"\n'
    file = configure(head + WRITERS)
    _json(file, "make", "laptop", "--role", "admin")
    configure(f"{bad if bad.startswith('user') else ''}{head}{WRITERS}{'' if bad.startswith('user') else bad}")
    listed = _keys(file)
    assert (listed.exit_code, "laptop" in listed.stdout) == (0, True), listed.stderr
    revoked = _keys(file, "revoke", "laptop")
    assert (revoked.exit_code, allowlist.read(file.parent / "mine/allowed.toml")) == (0, {}), revoked.stderr
    for done in (listed, revoked):
        assert done.stderr.startswith(f"tapfan: warning: {file}: ")
        assert len(done.stderr.splitlines()) == 1
    assert _keys(file, "make", "phone", "--role", "read").exit_code == 2


def test_where_there_are_no_keys_none_is_revoked_and_no_folder_made(file: Path) -> None:
    revoked = _keys(file, "revoke", "laptop")
    assert (revoked.exit_code, revoked.stdout) == (2, "")
    assert "no client 'laptop' is allowed; allowed are: nobody" in revoked.stderr
    assert not (file.parent / "keys").exists()


def test_keys_are_never_put_into_the_repository(configure: Configure, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("what git ignores needs git")
    shutil.copy(ROOT / ".gitignore", tmp_path)
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # as within a hook
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, env=own, check=True)
    for folder in ("keys", "mine"):
        file = configure(f'[router]\nkey = "{folder}/router.key"\n{WRITERS}')
        _json(file, "make", "laptop", "--role", "admin")
    told = subprocess.run(
        ["git", "add", "-An"], cwd=tmp_path, env=own, check=True, capture_output=True, text=True
    ).stdout
    assert [line.split("'")[1] for line in told.splitlines()] == [".gitignore", "mine/allowed.toml", "tapfan.toml"]


def test_nothing_is_overwritten(file: Path) -> None:
    _json(file, "make", "laptop", "--role", "admin")
    folder = file.parent / "keys"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    public = keys.read(folder / "laptop.key").public
    refused = {
        ("make", "laptop", "--role", "read"): "a client laptop is allowed already; `tapfan keys revoke laptop` first",
        ("allow", "laptop", OTHER, "--role", "read"): "a client laptop is allowed already",
        ("allow", "again", public, "--role", "read"): "this key is allowed already, as laptop",
        ("allow", "me", keys.read(folder / "router.key").public, "--role", "read"): "the router's own public key",
        ("make", "router", "--role", "read"): "router is the name of the router's own key",
        ("make", "laptop", "--role", "read", "--router", OTHER): "laptop.key is there already; it is not overwritten",
        ("revoke", "phone"): "no client 'phone' is allowed; allowed are: laptop",
    }
    for arguments, problem in refused.items():
        result = _keys(file, *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert problem in result.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    _json(file, "revoke", "laptop")
    assert "laptop.key is there already" in _keys(file, "make", "laptop", "--role", "read").stderr
    assert allowlist.read(folder / "allowed.toml") == {}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["make", "a b", "--role", "read"], "must have 1 to 32 letters"),
        (["make", "../x", "--role", "read"], "must have 1 to 32 letters"),
        (["make", "a"], "Missing option '--role'"),
        (["make", "a", "--role", "router"], "'router' is not one of"),
        (["make", "a", "--role", "read", "--router", "x"], "must be a public key"),
        (["allow", "a", "x", "--role", "read"], "must be a public key"),
        (["lose", "a"], "No such command"),
    ],
)
def test_bad_arguments_end_with_2_and_make_nothing(file: Path, arguments: list[str], problem: str) -> None:
    result = _keys(file, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert not (file.parent / "keys").exists()


def test_a_key_can_be_made_where_it_is_used_so_that_its_secret_never_leaves(
    configure: Configure, tmp_path: Path
) -> None:
    made = _keys(configure(ELSEWHERE), "make", "laptop", "--role", "admin", "--router", OTHER)
    assert made.exit_code == 0, made.stderr
    key = keys.read(tmp_path / "my/laptop.key")
    assert (key.router, key.role) == (OTHER, "admin")
    assert f"on the router's host: tapfan keys allow laptop '{key.public}' --role admin" in made.stdout
    assert sorted(path.name for path in (tmp_path / "my").iterdir()) == ["laptop.key"]
    listed = _json(tmp_path / "tapfan.toml")["keys"]
    assert [(key["name"], key["allowed"]) for key in listed] == [("laptop", False)]


def test_keys_that_cannot_be_used_are_told_and_the_others_shown(file: Path) -> None:
    _json(file, "make", "laptop", "--role", "admin")
    (file.parent / "keys/laptop.key").chmod(0o644)
    result = _keys(file)
    assert result.exit_code == 1
    assert "laptop" in result.stdout
    assert "warning: others may read or write" in result.stderr
    (file.parent / "keys/allowed.toml").write_text("[")
    assert "not valid TOML" in _keys(file).stderr
    assert _keys(file, "make", "b", "--role", "read").exit_code == 2
    assert not (file.parent / "keys/b.key").exists()


def test_a_folder_that_others_get_into_is_refused(configure: Configure, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    result = _keys(configure('[router]\nkey = "router.key"\n' + WRITERS), "make", "a", "--role", "read")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"`chmod 700 {tmp_path}`" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tapfan.toml"]


def test_what_the_system_refuses_ends_with_1(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    result = _keys(configure(WRITERS), "make", "a", "--role", "read")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "cannot write keys to" in result.stderr


def test_a_link_in_the_place_of_what_is_written_aside_is_not_followed(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "keys/router.key")
    ring.folder.mkdir(mode=0o700)
    (tmp_path / "precious").write_text("precious")
    (ring.folder / ".router.key.new").symlink_to(tmp_path / "precious")
    ring.make_router()
    assert (tmp_path / "precious").read_text() == "precious"
    assert keys.read(ring.router_file).role == "router"
    (ring.folder / "edge.key").symlink_to(tmp_path / "absent")
    with pytest.raises(KeyringError, match=r"edge\.key is there already"):
        ring.make("edge", "listener")
    assert not (tmp_path / "absent").exists()


def test_the_allowlist_keeps_what_others_added_by_hand(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "keys/router.key")
    ring.make_router()
    file = ring.folder / "allowed.toml"
    file.write_text(f'# mine\n[ops]\nrole = "read"\nkey = "{OTHER}"\n')
    ring.make("edge", "listener")
    assert list(tomllib.loads(file.read_text())) == ["ops", "edge"]
    with pytest.raises(CannotRunError, match="cannot write keys"):
        Keyring(tmp_path / "keys/edge.key/router.key").make_router()
