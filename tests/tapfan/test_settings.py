"""The configuration as a whole: what is valid is read, and all that is wrong is told at once, without secrets."""

from pathlib import Path

import pytest

from tapfan.endpoints import Endpoint
from tapfan.settings import SettingsError, load
from tests.tapfan.configuring import SECRET, error_of, one_writer
from tests.tapfan.conftest import WRITERS, Configure

ROOT = Path(__file__).parents[2]


def test_what_is_not_configured_has_its_default(configure: Configure, tmp_path: Path) -> None:
    settings = load(configure(WRITERS))
    assert (settings.ttl, settings.layout, settings.run_dir) == (300.0, "record", tmp_path / "run")
    assert settings.listener.listen == (Endpoint.parse("127.0.0.1:9000"),)
    assert (settings.listener.source, settings.listener.serve, settings.listener.linger) == ("auto", "discard", 0.02)
    assert (settings.listener.only, settings.listener.tunnels) == ("all", False)
    assert (settings.listener.spool, settings.listener.spool_bytes) == ("overflow", 2**30)
    assert (settings.listener.window_records, settings.listener.window_bytes) == (500_000, 32 * 2**20)
    assert (settings.router.rise, settings.router.fall) == (2, 3)
    assert [(writer.name, writer.weight) for writer in settings.writers] == [("a", 30.0), ("b", 70.0)]


def test_the_configuration_that_comes_with_tapfan_shows_the_defaults(configure: Configure) -> None:
    shown = load(ROOT / "tapfan.toml")
    bare = load(configure(WRITERS))
    assert shown.model_copy(update={"run_dir": bare.run_dir}) == bare
    assert shown.run_dir == ROOT / "run"


def test_every_key_is_read(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    settings = load(
        configure(
            f"""
            ttl = "90s"
            run_dir = "{tmp_path}/elsewhere/run"
            [listener]
            name = "edge-1"
            listen = ["0.0.0.0:80", "[::]:80"]
            interface = "eth0"
            source = "accept"
            serve = "forward"
            upstream = "backend.example:8080"
            linger = 0.25
            batch_records = 1
            window_records = 65536
            window_bytes = 65536
            spool = "always"
            spool_bytes = 65537
            ring_bytes = 2097152
            grace = "1m"
            [router]
            records = "tcp://127.0.0.1:7001"
            rise = 1
            fall = 100
            [control]
            endpoint = "tcp://127.0.0.1:7003"
            timeout = "500ms"
            """
            + one_writer(
                redis='"rediss://:p@redis.example:6380/3"',
                weight="0.5",
                rampup='"30s"',
                password='"x"',
                password_file='"pw"',
            )
        )
    )
    listener = settings.listener
    assert (settings.ttl, settings.run_dir) == (90.0, tmp_path / "elsewhere/run")
    assert (listener.name, listener.interface, listener.source, listener.upstream) == (
        "edge-1",
        ("eth0",),
        "accept",
        "backend.example:8080",
    )
    assert [str(endpoint) for endpoint in listener.listen] == ["0.0.0.0:80", "[::]:80"]
    assert (listener.linger, listener.batch_records, listener.grace) == (0.25, 1, 60.0)
    assert (listener.window_records, listener.window_bytes) == (65_536, 65_536)
    assert (listener.spool, listener.spool_bytes) == ("always", 65_537)
    assert (settings.router.rise, settings.router.fall) == (1, 100)
    assert settings.control.timeout == 0.5
    assert settings.writers[0].rampup == 30.0
    assert settings.endpoint("records") == "tcp://127.0.0.1:7001"
    assert settings.endpoint("shares") == f"ipc://{tmp_path}/elsewhere/run/shares.ipc"
    assert settings.endpoint("control") == "tcp://127.0.0.1:7003"


def test_relative_paths_begin_at_the_file(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file = configure('run_dir = "sockets"\n' + one_writer(password_file='"a.password"'))
    monkeypatch.chdir(folder)
    for settings in (load(file), load(Path("../tapfan.toml"))):
        assert settings.run_dir == tmp_path / "sockets"
        assert settings.writer("a").password_file == tmp_path / "a.password"


def test_weights_that_are_all_zero_are_refused(configure: Configure) -> None:
    zero = WRITERS.replace("30", "0").replace("70", "0.0")
    assert error_of(configure(zero)).endswith("all weights are 0; at least one must be more")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "writers: missing"),
        ("writers = []", "writers = []: "),
        ("writers = [1]", "writers[0] = 1: "),
        ('[[writers]]\nname = "a"\nweight = 1', "writers[0].redis: missing"),
        ("[writers]\na = 30", "writers: must be a list"),
        (one_writer() + one_writer(), "writers: the names a, a must differ"),
    ],
)
def test_writers_are_needed_and_differ(configure: Configure, text: str, line: str) -> None:
    error = error_of(configure(text))
    assert line in error
    assert len(error.splitlines()) == 1


def test_everything_that_is_wrong_is_told_at_once(configure: Configure) -> None:
    error = error_of(configure('ttl = 0\nlayout = "x"\n' + one_writer(weight="-1", name='"!"') + one_writer(redis="1")))
    keys = [line.replace("writer a: ", "").split(": ")[1].split(" = ")[0] for line in error.splitlines()]
    assert keys == ["ttl", "layout", "writers[0].name", "writers[0].weight", "writers[1].redis"]


def test_a_long_value_is_cut(configure: Configure) -> None:
    assert len(error_of(configure(f'ttl = "{"5" * 5000}"\n{WRITERS}'))) < 400


@pytest.mark.parametrize(
    "text",
    [
        one_writer(redis=f'"redis://:{SECRET}@127.0.0.1:x/0"'),
        one_writer(redis=f'"http://u:{SECRET}@127.0.0.1/0"'),
        one_writer(redis=f'"redis://127.0.0.1:x/0?password={SECRET}"'),
        one_writer(redis=f'"unix://?Password={SECRET}"'),
        one_writer(redis=f'"redis://h/0?PASSWD={SECRET}"'),
        one_writer(redis=f'"redis://u:#{SECRET}@h"'),
        one_writer(password=f'["{SECRET}"]'),
        one_writer(password=f'{{ value = "{SECRET}" }}'),
        one_writer(passwd=f'"{SECRET}"'),
        one_writer(password_file=f'["{SECRET}"]'),
        one_writer(password=f'"{SECRET}"', weight="-1"),
        one_writer(password=f'"{SECRET}"', weight="0"),
        one_writer(redis=f'"redis://:{SECRET}@h"', name='"!"'),
        f'writers = ["redis://:{SECRET}@h"]',
        f'writers = "redis://:{SECRET}@h"',
        f'writers = [[{{ name = "a", password = "{SECRET}" }}]]',
        "".join(one_writer(name=f'"a{n}"', password=f'"{SECRET}"') for n in range(1001)),
        "".join(one_writer(password=f'"{SECRET}"') for _ in range(2)),
    ],
)
def test_a_password_never_appears_in_anerror_of(configure: Configure, text: str) -> None:
    assert SECRET not in error_of(configure(text))


def test_a_missing_file_says_how_to_name_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"tapfan\.toml: .*No such file.*--config or TAPFAN_CONFIG"):
        load()
    assert "Is a directory" in error_of(tmp_path)


@pytest.mark.parametrize(
    "text", ["ttl = 5m", "ttl", "[listener", f"ttl = {'9' * 5000}", f"x = {'[' * 3000}{']' * 3000}"]
)
def test_bad_toml_is_named_as_such(configure: Configure, text: str) -> None:
    assert "not valid TOML" in error_of(configure(text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tapfan.toml").write_bytes(b"\xff\xfe")
    assert "cannot read the configuration" in error_of(tmp_path / "tapfan.toml")


def test_a_writer_that_is_not_there_is_an_error_with_those_that_are(configure: Configure) -> None:
    with pytest.raises(SettingsError, match="no writer is named 'c'; the configuration has: a, b"):
        load(configure(WRITERS)).writer("c")


def test_a_run_dir_too_deep_for_sockets_is_refused_with_what_to_set(configure: Configure, tmp_path: Path) -> None:
    longest = "é".ljust(107 - len(f"{tmp_path}//control.ipc") - 1, "x")  # é is two bytes
    assert load(configure(f'run_dir = "{longest}"\n{WRITERS}')).run_dir == tmp_path / longest
    with pytest.raises(SettingsError, match=r"run_dir = .*is longer than 107 bytes; set a shorter run_dir"):
        load(configure(f'run_dir = "{longest}x"\n{WRITERS}'))
