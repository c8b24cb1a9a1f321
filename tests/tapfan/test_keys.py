"""Key files and the allowlist: what is good is read, and what is not is refused, and never told."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan import allowlist, keys
from tapfan.allowlist import Allowed, AllowlistError
from tapfan.keys import Key, KeyFileError
from tapfan.program import CannotRunError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A good key file."""
    return _written(keys.made(tmp_path / "laptop.key", "laptop", "admin", keys.made(tmp_path, "r", "router").public))


def _written(key: Key) -> Path:
    key.file.write_text(keys.file_text(key))
    key.file.chmod(0o600)
    return key.file


def _error(file: Path) -> str:
    with pytest.raises(KeyFileError) as caught:
        keys.read(file)
    assert isinstance(caught.value, CannotRunError)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_no_public_key_that_is_made_looks_like_an_option(tmp_path: Path) -> None:
    drawn = iter([("-" + "0" * 39, "first"), ("-h" + "0" * 38, "second"), ("0" * 40, "third")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_pair", lambda: next(drawn))
        made = keys.made(tmp_path / "laptop.key", "laptop", "admin")
    assert (made.public, made.secret.get_secret_value()) == ("0" * 40, "third")


def test_a_key_is_read_as_it_was_made(tmp_path: Path) -> None:
    router = keys.made(tmp_path / "router.key", "router", "router")
    client = keys.made(tmp_path / "edge.key", "edge", "listener", router.public)
    assert keys.read(_written(router)) == router
    assert keys.read(_written(client)) == client
    assert (router.router, client.router) == (router.public, router.public)
    assert len({key.public for key in (router, client)}) == 2


def test_the_secret_is_in_nothing_that_is_printed(file: Path) -> None:
    key = keys.read(file)
    assert key.secret.get_secret_value() in file.read_text()
    assert key.secret.get_secret_value() not in f"{key} {key!r} {vars(key)}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_file_that_others_may_use_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert f"(mode {mode:04o}): `chmod 600 {file}`" in _error(file)


@pytest.mark.parametrize(
    ("line", "changed", "problem"),
    [
        ("name", 'name = "a b"', "name: String should match"),
        ("name", "", "name: Field required"),
        ("role", 'role = "owner"', "role: Input should be 'router', 'admin', 'read', 'listener' or 'writer'"),
        ("public", 'public = "short"', "public: must be a public key: 40 characters of Z85"),
        ("public", f'public = "{"#" * 40}"', "public: must be a public key"),
        ("public", f'public = "{"0" * 40}"', "public is not that of secret"),
        ("router", "", "router: missing"),
        ("router", 'router = "ä"', "router: must be a public key"),
        ("secret", "", "secret: Field required"),
        ("secret", 'secret = "not a key"', "not TOML with a pair of keys"),
        ("secret", f'secret = "{"ä" * 40}"', "not TOML with a pair of keys"),
        ("secret", "secret = 5", "secret: Input should be a valid string"),
        ("name", 'more = "x"', "more: Extra inputs are not permitted"),
        ("name", "[[", "not TOML"),
    ],
)
def test_a_damaged_file_is_told_without_what_is_in_it(file: Path, line: str, changed: str, problem: str) -> None:
    secret = keys.read(file).secret.get_secret_value()
    lines = file.read_text().splitlines()
    file.write_text("\n".join(changed if each.startswith(line) else each for each in lines))
    error = _error(file)
    assert problem in error
    assert secret not in error
    assert "#" * 40 not in error


def test_what_is_no_file_of_ours_is_told(tmp_path: Path) -> None:
    assert "No such file or directory; `tapfan keys make` makes one" in _error(tmp_path / "absent.key")
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "is not a file" in _error(tmp_path / "fifo")
    assert "Is a directory" in _error(tmp_path)
    (tmp_path / "long").write_bytes(b"#" * 10**6)
    (tmp_path / "long").chmod(0o600)
    assert "not valid" in _error(tmp_path / "long")


def test_the_role_must_fit_the_setting(file: Path) -> None:
    assert keys.load(file, "control.key", "admin", "read").name == "laptop"
    with pytest.raises(
        KeyFileError, match=r"listener\.key = .*: the key laptop has the role admin; needed is listener"
    ):
        keys.load(file, "listener.key", "listener")


@given(st.one_of(st.text(max_size=50), st.binary(min_size=32, max_size=32).map(lambda raw: raw.hex())))
def test_only_a_public_key_is_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="must be a public key"):
        keys.public_key(text)


def test_the_allowlist_is_read_as_it_is_written(tmp_path: Path) -> None:
    publics = [keys.made(tmp_path, "x", "router").public for _ in range(3)]
    some = [
        Allowed("laptop", "admin", publics[0]),
        Allowed("7", "read", publics[1]),
        Allowed("e-1", "writer", publics[2]),
    ]
    file = tmp_path / "allowed.toml"
    assert allowlist.read(file) == {}
    file.write_text(allowlist.file_text(some))
    assert allowlist.read(file) == {client.public: client for client in some}
    assert allowlist.beside(tmp_path / "router.key") == file


GOOD = "0" * 40


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("laptop", "not valid TOML"),
        ("laptop = 5", "laptop: Input should be"),
        ('[laptop]\nkey = "x"\nrole = "admin"', "laptop.key: Value error, must be a public key"),
        (f'[laptop]\nkey = "{GOOD}"\nrole = "router"', "laptop.role: Input should be 'admin'"),
        (f'[laptop]\nkey = "{GOOD}"', "laptop.role: Field required"),
        (f'["lap top"]\nkey = "{GOOD}"\nrole = "read"', "String should match pattern"),
        (f'[a]\nkey = "{GOOD}"\nrole = "read"\n[b]\nkey = "{GOOD}"\nrole = "admin"', "a and b have the same key"),
        ("x = " + "[" * 3000, "not valid TOML"),
        ("\0", "not valid TOML"),
        ("#" * (2**20 + 1), "has more than 1048576 bytes"),
    ],
)
def test_a_damaged_allowlist_is_told(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "allowed.toml"
    file.write_text(text)
    with pytest.raises(AllowlistError) as caught:
        allowlist.read(file)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_allowlist_that_others_may_write_or_we_may_not_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "allowed.toml"
    file.write_text("")
    file.chmod(0o664)
    with pytest.raises(AllowlistError, match=r"others may write .*\(mode 0664\): `chmod 600"):
        allowlist.read(file)
    with pytest.raises(AllowlistError, match="Is a directory"):
        allowlist.read(tmp_path)
