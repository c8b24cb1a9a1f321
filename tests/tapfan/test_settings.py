"""The configuration: what is valid is read, and what is not is an error that says where, what, and what would be."""

from pathlib import Path

import pytest

from tapfan.endpoints import Endpoint
from tapfan.settings import SettingsError, WriterSettings, load
from tapfan.values import MAX_WEIGHT
from tests.tapfan.conftest import WRITERS, Configure

SECRET = "hunter2"
_HIDDEN = "(hidden: it may hold a password)"
ROOT = Path(__file__).parents[2]


def _writer(**changes: str) -> str:
    """A valid configuration of one writer, with some of its keys as given."""
    keys = {"name": '"a"', "redis": '"redis://127.0.0.1:7101/0"', "weight": "30"} | changes
    return "[[writers]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def _error(file: Path) -> str:
    """The error of a bad configuration; it names the file in each line."""
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert all(str(file) in line for line in str(caught.value).splitlines())
    return str(caught.value)


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
            + _writer(
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


@pytest.mark.parametrize("source", ["auto", "capture"])
def test_every_port_can_be_captured_where_nothing_is_served(configure: Configure, source: str) -> None:
    listener = load(
        configure(
            f"""
            [listener]
            listen = ["0.0.0.0:*", "192.0.2.1:80", "[2001:db8::1]:*"]
            source = "{source}"
            serve = "none"
            only = "syn"
            tunnels = true
            """
            + WRITERS
        )
    ).listener
    assert [str(endpoint) for endpoint in listener.listen] == ["0.0.0.0:*", "192.0.2.1:80", "[2001:db8::1]:*"]
    assert (listener.only, listener.tunnels) == ("syn", True)


def test_relative_paths_begin_at_the_file(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    file = configure('run_dir = "sockets"\n' + _writer(password_file='"a.password"'))
    monkeypatch.chdir(folder)
    for settings in (load(file), load(Path("../tapfan.toml"))):
        assert settings.run_dir == tmp_path / "sockets"
        assert settings.writer("a").password_file == tmp_path / "a.password"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tll = 5", "tll: unknown key; see tapfan.toml"),
        ("[listener]\nport = 9000", "listener.port: unknown key"),
        ("[router]\nlayout = 1", "router.layout: unknown key"),
        ("[dashboard]", "dashboard: unknown key"),
        ("listener = 3", "listener = 3: "),
        ('ttl = "5 minutes"', "ttl = '5 minutes': must be a duration such as \"5m\""),
        ("ttl = true", "ttl = True: must be a duration"),
        ('ttl = ["5m"]', "ttl = ['5m']: must be a duration"),
        (f"ttl = {10**400}", "must be a duration"),
        ("ttl = 0.5", "ttl = 0.5: Input should be greater than or equal to 1"),
        ('ttl = "500ms"', "ttl = '500ms': Input should be greater than or equal to 1"),
        ("ttl = -300", "ttl = -300: Input should be greater than or equal to 1"),
        ("ttl = nan", "ttl = nan: Input should be greater than or equal to 1"),
        ("ttl = inf", "ttl = inf: Input should be less than or equal to 2678400"),
        ('ttl = "32d"', "ttl = '32d': Input should be less than or equal to 2678400"),
        ('layout = "column"', "layout = 'column': Input should be 'record' or 'block'"),
        ("run_dir = 5", "run_dir = 5: must be the path of a folder"),
        ('run_dir = ""', "run_dir = '': must be the path of a folder"),
        ("[listener]\nbatch_records = true", "listener.batch_records = True: must be a whole number"),
        ('[listener]\nlisten = ["[::1]:1", "[::1]:1"]', "listener: listen: the endpoints [::1]:1, [::1]:1 must differ"),
        ('[listener]\nlisten = ["[::ffff:127.0.0.1]:1"]', "must be the IPv4 address itself: 127.0.0.1:1"),
        ('[router]\nrecords = "udp://192.0.2.1:1"', "router.records = 'udp://192.0.2.1:1': must be ipc:///path or tcp"),
        ("[router]\nkey = 5", "router.key = 5: must be the path of a key file"),
        ('[listener]\nkey = ""', "listener.key = '': must be the path of a key file"),
        ('[listener]\nname = "a b"', "listener.name = 'a b': String should match pattern '^[A-Za-z0-9_-]{1,32}$'"),
        ("[listener]\nlisten = []", "listener.listen = []: "),
        ('[listener]\nlisten = "127.0.0.1:9000"', "listener.listen = '127.0.0.1:9000': must be a list"),
        ('[listener]\nlisten = ["127.0.0.1:9000", "0:1"]', "listener.listen[1] = '0:1': must be an IP address and a"),
        (
            '[listener]\nlisten = ["127.0.0.1:0"]',
            "listener.listen[0] = '127.0.0.1:0': must be an IP address and a port",
        ),
        ('[listener]\nlisten = ["127.0.0.1:65536"]', "a port from 1 to 65535, such as"),
        ("[listener]\nlisten = [9000]", "listener.listen[0] = 9000: must be an IP address and a port"),
        ('[listener]\ninterface = ""', "listener.interface = '': "),
        ('[listener]\ninterface = "a-name-past-what-linux-takes"', "a name has 1 to 15 characters"),
        ("[listener]\ninterface = []", "listener.interface = []: must be the name of an interface"),
        ("[listener]\ninterface = 5", "must be the name of an interface, such as \"eth0\", a list of them, or 'any'"),
        ('[listener]\ninterface = ["eth0", 5]', "listener.interface = ['eth0', 5]: must be the name"),
        ('[listener]\ninterface = ["eth0", "eth0"]', "each once, and 'any' alone"),
        ('[listener]\ninterface = ["eth0", "any"]', "each once, and 'any' alone"),
        ("[listener]\nfanout = 0", "listener.fanout = 0: Input should be greater than or equal to 1"),
        ("[listener]\nfanout = 64", "listener.fanout = 64: Input should be less than or equal to 63"),
        (
            '[listener]\nsource = "accept"\nfanout = 1',
            'fanout = 1: with source = "accept", there are no packets to be shared',
        ),
        ('[listener]\nsource = "tap"', "listener.source = 'tap': Input should be 'auto', 'capture' or 'accept'"),
        ('[listener]\nserve = "echo"', "listener.serve = 'echo': Input should be 'discard', 'forward' or 'none'"),
        ('[listener]\nserve = "forward"', 'listener: serve = "forward" and upstream = "host:port" go together'),
        ('[listener]\nupstream = "h:80"', 'listener: serve = "forward" and upstream = "host:port" go together'),
        ('[listener]\nserve = "none"\nupstream = "h:80"', "go together"),
        ('[listener]\nserve = "forward"\nupstream = "h"', "upstream = 'h': must be \"host:port\", such as"),
        ('[listener]\nserve = "forward"\nupstream = ":80"', "upstream = ':80': must be"),
        ('[listener]\nserve = "forward"\nupstream = "h:0"', "upstream = 'h:0': must be"),
        ('[listener]\nserve = "forward"\nupstream = "h:65536"', "upstream = 'h:65536': must be"),
        ('[listener]\nserve = "forward"\nupstream = "h:http"', "upstream = 'h:http': must be"),
        (
            '[listener]\nserve = "forward"\nupstream = "localhost:9000"',
            "is one of listen; connections would go in circles",
        ),
        ('[listener]\nserve = "forward"\nlisten = ["[::]:1"]\nupstream = "[::1]:1"', "is one of listen"),
        ('[listener]\nsource = "accept"\nserve = "none"', 'source = "accept" needs serve = "discard" or "forward"'),
        (
            '[listener]\nlisten = ["127.0.0.1:1", "[::]:*"]',
            'listener: serve = "discard": [::]:* of listen is every port, which cannot be served; name one port, or '
            'set serve = "none"',
        ),
        (
            '[listener]\nserve = "forward"\nupstream = "h:1"\nlisten = ["127.0.0.1:*"]',
            'listener: serve = "forward": 127.0.0.1:* of listen is every port, which cannot be served',
        ),
        (
            '[listener]\nsource = "accept"\nlisten = ["127.0.0.1:*"]',
            'listener: listen: 127.0.0.1:* is every port, which source = "accept" cannot serve; name one port, or set '
            'source = "capture" and serve = "none"',
        ),
        ('[listener]\nlisten = ["[::ffff:127.0.0.1]:*"]', "must be the IPv4 address itself: 127.0.0.1:*"),
        ('[listener]\nonly = "fin"', "listener.only = 'fin': Input should be 'all' or 'syn'"),
        ('[listener]\ntunnels = "some"', "listener.tunnels = 'some': Input should be a valid boolean"),
        (
            '[listener]\nsource = "accept"\nonly = "syn"',
            'listener: only = "syn": with source = "accept", which sees no packets, must be "all"; or set source =',
        ),
        (
            '[listener]\nsource = "accept"\ntunnels = true',
            'listener: tunnels = true: with source = "accept", which sees no packets, must be false; or set source =',
        ),
        ("[listener]\nlinger = 0", "listener.linger = 0: Input should be greater than or equal to 0.001"),
        ("[listener]\nlinger = 1", "listener.linger = 1: Input should be less than or equal to 0.5"),
        ("[listener]\nbatch_records = 0", "listener.batch_records = 0: Input should be greater than or equal to 1"),
        ("[listener]\nbatch_records = 65537", "listener.batch_records = 65537: Input should be less than or equal to"),
        ("[listener]\nbatch_records = 1.5", "listener.batch_records = 1.5: "),
        ("[listener]\nwindow_records = 1000", "listener.window_records = 1000: Input should be greater than"),
        ("[listener]\nring_bytes = 4096", "listener.ring_bytes = 4096: Input should be greater than or equal to"),
        ('[listener]\ngrace = "2h"', "listener.grace = '2h': Input should be less than or equal to 3600"),
        ("[listener]\nwindow_bytes = 65535", "listener.window_bytes = 65535: Input should be greater than or equal to"),
        ("[listener]\nwindow_bytes = 2000000000", "listener.window_bytes = 2000000000: Input should be less than or"),
        ('[listener]\nspool = "never"', "listener.spool = 'never': Input should be 'overflow' or 'always'"),
        ("[listener]\nspool = false", "listener.spool = False: Input should be 'overflow' or 'always'"),
        ("[listener]\nspool_bytes = 0", "listener.spool_bytes = 0: Input should be greater than or equal to 65536"),
        ("[listener]\nspool_bytes = 1.5", "listener.spool_bytes = 1.5: Input should be a valid integer"),
        ('[listener]\nspool_bytes = "1 GB"', "listener.spool_bytes = '1 GB': Input should be a valid integer"),
        ("[router]\nrise = 0", "router.rise = 0: Input should be greater than or equal to 1"),
        ("[router]\nrise = 101", "router.rise = 101: Input should be less than or equal to 100"),
        ("[router]\nfall = 0", "router.fall = 0: Input should be greater than or equal to 1"),
        ("[router]\nfall = 101", "router.fall = 101: Input should be less than or equal to 100"),
        ("[router]\nfall = 1.5", "router.fall = 1.5: Input should be a valid integer"),
        ("[router]\nrecords = 7001", "router.records = 7001: must be ipc:///path or tcp"),
        (_writer(name='"c"', rampup='"2d"'), "writers[0].rampup = '2d': Input should be less than or equal to 86400"),
        ("[control]\ntimeout = 0", "control.timeout = 0: Input should be greater than or equal to 0.01"),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_what_is_valid(configure: Configure, text: str, line: str) -> None:
    error = _error(configure(text + "\n" + WRITERS))
    assert line in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("bad", ["-1", "-0.001", "nan", "inf", "-inf", "true", '"many"', "[30]", str(MAX_WEIGHT + 1)])
def test_a_bad_weight_names_key_value_and_what_is_valid(configure: Configure, bad: str) -> None:
    shown = {"true": "True", '"many"': "'many'"}.get(bad, bad)
    expected = f"writers[0].weight = {shown}: must be a finite number from 0 to 1000000000"
    assert _error(configure(_writer(weight=bad))).endswith(expected)


def test_weights_that_are_all_zero_are_refused(configure: Configure) -> None:
    zero = WRITERS.replace("30", "0").replace("70", "0.0")
    assert _error(configure(zero)).endswith("all weights are 0; at least one must be more")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"name": '"a b"'}, "writers[0].name = 'a b': String should match"),
        ({"name": '""'}, "writers[0].name = '': String should match"),
        ({"name": '"a\\n"'}, "writers[0].name = 'a\\n': String should match"),
        ({"name": "1"}, "writers[0].name = 1: "),
        ({"wieght": "1"}, "writers[0].wieght: unknown key"),
        ({"redis": '"127.0.0.1:7101"'}, f"writers[0].redis = {_HIDDEN}: must be a URL such as redis://"),
        ({"redis": '"http://127.0.0.1:7101"'}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        ({"redis": '"redis://"'}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        ({"redis": '"redis://h:70000/0"'}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        ({"redis": '"redis://h:port/0"'}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        ({"redis": '"redis://h/zero"'}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        ({"redis": '"redis://[::1/0"'}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        ({"redis": '"unix://"'}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        ({"redis": "7101"}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        (
            {"redis": '"redis://h:1/0?socket_timeout=x"'},
            f"writers[0].redis = {_HIDDEN}: must be a URL",
        ),
    ],
)
def test_a_bad_writer_is_named_by_its_place_and_key(configure: Configure, changes: dict[str, str], line: str) -> None:
    error = _error(configure(_writer(**changes)))
    assert line in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "redis://h:1/",
        "redis://h:6379/15",
        "redis://[::1]:6379/0",
        "rediss://u:p@h/1",
        "unix:///s?db=2",
    ],
)
def test_a_url_that_redis_takes_is_valid(configure: Configure, url: str) -> None:
    assert load(configure(_writer(redis=f'"{url}"'))).writers[0].redis == url


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "writers: missing"),
        ("writers = []", "writers = []: "),
        ("writers = [1]", "writers[0] = 1: "),
        ('[[writers]]\nname = "a"\nweight = 1', "writers[0].redis: missing"),
        ("[writers]\na = 30", "writers: must be a list"),
        (_writer() + _writer(), "writers: the names a, a must differ"),
    ],
)
def test_writers_are_needed_and_differ(configure: Configure, text: str, line: str) -> None:
    error = _error(configure(text))
    assert line in error
    assert len(error.splitlines()) == 1


def test_everything_that_is_wrong_is_told_at_once(configure: Configure) -> None:
    error = _error(configure('ttl = 0\nlayout = "x"\n' + _writer(weight="-1", name='"!"') + _writer(redis="1")))
    keys = [line.split(": ")[1].split(" = ")[0] for line in error.splitlines()]
    assert keys == ["ttl", "layout", "writers[0].name", "writers[0].weight", "writers[1].redis"]


def test_a_long_value_is_cut(configure: Configure) -> None:
    assert len(_error(configure(f'ttl = "{"5" * 5000}"\n{WRITERS}'))) < 400


@pytest.mark.parametrize(
    "text",
    [
        _writer(redis=f'"redis://:{SECRET}@127.0.0.1:x/0"'),
        _writer(redis=f'"http://u:{SECRET}@127.0.0.1/0"'),
        _writer(redis=f'"redis://127.0.0.1:x/0?password={SECRET}"'),
        _writer(redis=f'"unix://?Password={SECRET}"'),
        _writer(redis=f'"redis://h/0?PASSWD={SECRET}"'),
        _writer(redis=f'"redis://u:#{SECRET}@h"'),
        _writer(password=f'["{SECRET}"]'),
        _writer(password=f'{{ value = "{SECRET}" }}'),
        _writer(passwd=f'"{SECRET}"'),
        _writer(password_file=f'["{SECRET}"]'),
        _writer(password=f'"{SECRET}"', weight="-1"),
        _writer(password=f'"{SECRET}"', weight="0"),
        _writer(redis=f'"redis://:{SECRET}@h"', name='"!"'),
        f'writers = ["redis://:{SECRET}@h"]',
        f'writers = "redis://:{SECRET}@h"',
        f'writers = [[{{ name = "a", password = "{SECRET}" }}]]',
        "".join(_writer(name=f'"a{n}"', password=f'"{SECRET}"') for n in range(1001)),
        "".join(_writer(password=f'"{SECRET}"') for _ in range(2)),
    ],
)
def test_a_password_never_appears_in_an_error(configure: Configure, text: str) -> None:
    assert SECRET not in _error(configure(text))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@127.0.0.1:7101/0", "redis://127.0.0.1:7101/0"),
        (f"rediss://user:{SECRET}@h/3", "rediss://h/3"),
        (f"redis://:{SECRET}%40@[::1]:1/0", "redis://[::1]:1/0"),
        (f"redis://:p@{SECRET}@h:1/0", "redis://h:1/0"),
        (f"redis://h:1/0?password={SECRET}", "redis://h:1/0"),
        (f"unix:///run/redis.sock?db=1&password={SECRET}", "unix:///run/redis.sock"),
        (f"unix://user:{SECRET}@/run/redis.sock", "unix:///run/redis.sock"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("redis://127.0.0.1:7101/0", "redis://127.0.0.1:7101/0"),
    ],
)
def test_a_redacted_url_has_no_password(url: str, shown: str) -> None:
    assert WriterSettings(name="a", redis=url, weight=1).redacted == shown


def test_a_password_is_not_in_what_is_printed_of_a_writer(configure: Configure) -> None:
    writer = load(configure(_writer(password=f'"{SECRET}"'))).writers[0]
    assert SECRET not in f"{writer!r} {writer}"
    assert writer.password is not None
    assert writer.password.get_secret_value() == SECRET


def test_a_missing_file_says_how_to_name_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"tapfan\.toml: .*No such file.*--config or TAPFAN_CONFIG"):
        load()
    assert "Is a directory" in _error(tmp_path)


@pytest.mark.parametrize(
    "text", ["ttl = 5m", "ttl", "[listener", f"ttl = {'9' * 5000}", f"x = {'[' * 3000}{']' * 3000}"]
)
def test_bad_toml_is_named_as_such(configure: Configure, text: str) -> None:
    assert "not valid TOML" in _error(configure(text))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tapfan.toml").write_bytes(b"\xff\xfe")
    assert "cannot read the configuration" in _error(tmp_path / "tapfan.toml")


def test_a_writer_that_is_not_there_is_an_error_with_those_that_are(configure: Configure) -> None:
    with pytest.raises(SettingsError, match="no writer is named 'c'; the configuration has: a, b"):
        load(configure(WRITERS)).writer("c")


def test_a_run_dir_too_deep_for_sockets_is_refused_with_what_to_set(configure: Configure, tmp_path: Path) -> None:
    longest = "é".ljust(107 - len(f"{tmp_path}//control.ipc") - 1, "x")  # é is two bytes
    assert load(configure(f'run_dir = "{longest}"\n{WRITERS}')).run_dir == tmp_path / longest
    with pytest.raises(SettingsError, match=r"run_dir = .*is longer than 107 bytes; set a shorter run_dir"):
        load(configure(f'run_dir = "{longest}x"\n{WRITERS}'))
