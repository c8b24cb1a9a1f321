"""The sections of the configuration: what each may have, and a bad value is named with its key and what is valid."""

import pytest

from tapfan.sections import WriterSettings
from tapfan.settings import load
from tapfan.values import MAX_WEIGHT
from tests.tapfan.configuring import SECRET, error_of, one_writer
from tests.tapfan.conftest import WRITERS, Configure

_HIDDEN = "(hidden: it may hold a password)"


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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tll = 5", "tll: unknown key; did you mean ttl?"),
        ("[listener]\nport = 9000", "listener.port: unknown key"),
        ("[router]\nlayout = 1", "router.layout: unknown key; there are: records, shares, key, rise, fall"),
        ("[dashboard]", "dashboard: unknown key"),
        ("listener = 3", "listener = 3: "),
        ('ttl = "5 minutes"', "ttl = '5 minutes': must be a duration such as \"5m\""),
        ("ttl = true", "ttl = True: must be a duration"),
        ('ttl = ["5m"]', "ttl = ['5m']: must be a duration"),
        (f"ttl = {10**400}", "must be a duration"),
        ("ttl = 0.5", "ttl = 0.5: must be from 1s to 31d"),
        ('ttl = "500ms"', "ttl = '500ms': must be from 1s to 31d"),
        ("ttl = -300", "ttl = -300: must be from 1s to 31d"),
        ("ttl = nan", "ttl = nan: must be from 1s to 31d"),
        ("ttl = inf", "ttl = inf: must be from 1s to 31d"),
        ('ttl = "32d"', "ttl = '32d': must be from 1s to 31d"),
        ('layout = "column"', "layout = 'column': must be 'record' or 'block'"),
        ("run_dir = 5", "run_dir = 5: must be the path of a folder"),
        ('run_dir = ""', "run_dir = '': must be the path of a folder"),
        ('run_dir = "a\\u0000"', "run_dir = 'a\\x00': must be the path of a folder"),
        ("[listener]\nbatch_records = true", "listener.batch_records = True: must be a whole number"),
        ('[listener]\nlisten = ["[::1]:1", "[::1]:1"]', "listener: listen: the endpoints [::1]:1, [::1]:1 must differ"),
        ('[listener]\nlisten = ["[::ffff:127.0.0.1]:1"]', "must be the IPv4 address itself: 127.0.0.1:1"),
        ('[router]\nrecords = "udp://192.0.2.1:1"', "router.records = 'udp://192.0.2.1:1': must be ipc:///path or tcp"),
        ("[router]\nkey = 5", "router.key = 5: must be the path of a key file"),
        ('[listener]\nkey = ""', "listener.key = '': must be the path of a key file"),
        ('[listener]\nname = "a b"', "listener.name = 'a b': must have 1 to 32 letters, digits, - and _"),
        ("[listener]\nlisten = []", "listener.listen = []: must have at least one entry"),
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
        ("[listener]\nfanout = 0", "listener.fanout = 0: must be a whole number from 1 to 63"),
        ("[listener]\nfanout = 64", "listener.fanout = 64: must be a whole number from 1 to 63"),
        (
            '[listener]\nsource = "accept"\nfanout = 1',
            'fanout = 1: with source = "accept", there are no packets to be shared',
        ),
        ('[listener]\nsource = "tap"', "listener.source = 'tap': must be 'auto', 'capture' or 'accept'"),
        ('[listener]\nserve = "echo"', "listener.serve = 'echo': must be 'discard', 'forward' or 'none'"),
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
        ('[listener]\nonly = "fin"', "listener.only = 'fin': must be 'all' or 'syn'"),
        ('[listener]\ntunnels = "some"', "listener.tunnels = 'some': must be true or false"),
        (
            '[listener]\nsource = "accept"\nonly = "syn"',
            'listener: only = "syn": with source = "accept", which sees no packets, must be "all"; or set source =',
        ),
        (
            '[listener]\nsource = "accept"\ntunnels = true',
            'listener: tunnels = true: with source = "accept", which sees no packets, must be false; or set source =',
        ),
        ("[listener]\nlinger = 0", "listener.linger = 0: must be from 1ms to 500ms"),
        (
            "[listener]\nlinger = 20",
            'listener.linger = 20: must be from 1ms to 500ms; a number without a unit is seconds: did you mean "20ms"?',
        ),
        ("[listener]\nbatch_records = 0", "listener.batch_records = 0: must be a whole number from 1 to 65536"),
        ("[listener]\nbatch_records = 65537", "listener.batch_records = 65537: must be a whole number from 1 to 65536"),
        ("[listener]\nbatch_records = 1.5", "listener.batch_records = 1.5: must be a whole number from"),
        (
            "[listener]\nwindow_records = 1000",
            "listener.window_records = 1000: must be a whole number from 65536 to 10000000",
        ),
        (
            '[listener]\nring_bytes = "16M"',
            "listener.ring_bytes = '16M': must be a whole number of bytes from 2097152 to 1073741824, such as 16777216",
        ),
        ('[listener]\ngrace = "2h"', "listener.grace = '2h': must be at most 1h"),
        (
            "[listener]\nwindow_bytes = 65535",
            "listener.window_bytes = 65535: must be a whole number of bytes from 65536 to 1073741824",
        ),
        (
            "[listener]\nwindow_bytes = 2000000000",
            "listener.window_bytes = 2000000000: must be a whole number of bytes from 65536 to 1073741824",
        ),
        ('[listener]\nspool = "never"', "listener.spool = 'never': must be 'overflow' or 'always'"),
        ("[listener]\nspool = false", "listener.spool = False: must be 'overflow' or 'always'"),
        (
            "[listener]\nspool_bytes = 0",
            "listener.spool_bytes = 0: must be a whole number of bytes from 65536 to 1099511627776",
        ),
        (
            "[listener]\nspool_bytes = 1.5",
            "listener.spool_bytes = 1.5: must be a whole number of bytes from 65536 to 1099511627776",
        ),
        (
            '[listener]\nspool_bytes = "1 GB"',
            "listener.spool_bytes = '1 GB': must be a whole number of bytes from 65536 to 1099511627776",
        ),
        ("[router]\nrise = 0", "router.rise = 0: must be a whole number from 1 to 100"),
        ("[router]\nrise = 101", "router.rise = 101: must be a whole number from 1 to 100"),
        ("[router]\nfall = 0", "router.fall = 0: must be a whole number from 1 to 100"),
        ("[router]\nfall = 101", "router.fall = 101: must be a whole number from 1 to 100"),
        ("[router]\nfall = 1.5", "router.fall = 1.5: must be a whole number from 1 to 100"),
        ("[router]\nrecords = 7001", "router.records = 7001: must be ipc:///path or tcp"),
        (
            one_writer(name='"c"', rampup='"2d"'),
            "writers[0].rampup = '2d': must be at most 1d",
        ),
        ("[control]\ntimeout = 0", "control.timeout = 0: must be from 10ms to 10m"),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_what_is_valid(configure: Configure, text: str, line: str) -> None:
    error = error_of(configure(text + "\n" + WRITERS))
    assert line in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("bad", ["-1", "-0.001", "nan", "inf", "-inf", "true", '"many"', "[30]", str(MAX_WEIGHT + 1)])
def test_a_bad_weight_names_key_value_and_what_is_valid(configure: Configure, bad: str) -> None:
    shown = {"true": "True", '"many"': "'many'"}.get(bad, bad)
    expected = f"writers[0].weight = {shown}: must be a finite number from 0 to 1000000000"
    assert error_of(configure(one_writer(weight=bad))).endswith(expected)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"name": '"a b"'}, "writers[0].name = 'a b': must have 1 to 32"),
        ({"name": '""'}, "writers[0].name = '': must have 1 to 32"),
        ({"name": '"a\\n"'}, "writers[0].name = 'a\\n': must have 1 to 32"),
        ({"name": "1"}, "writers[0].name = 1: "),
        ({"wieght": "1"}, "writer a: writers[0].wieght: unknown key; did you mean weight?"),
        ({"name": '"w"', "weight": "-1"}, "tapfan.toml: writer w: writers[0].weight = -1: must be a finite number"),
        ({"redis": '"127.0.0.1:7101"'}, f"writers[0].redis = {_HIDDEN}: it does not begin with redis://"),
        ({"redis": '"http://127.0.0.1:7101"'}, f"writers[0].redis = {_HIDDEN}: it does not begin with redis://"),
        ({"redis": '"redis://"'}, f"writers[0].redis = {_HIDDEN}: it names no host; must be a URL"),
        ({"redis": '"redis://h:70000/0"'}, f"writers[0].redis = {_HIDDEN}: the port must be a number from 1 to 65535"),
        ({"redis": '"redis://h:port/0"'}, f"writers[0].redis = {_HIDDEN}: the port must be a number from 1 to 65535"),
        ({"redis": '"redis://h/zero"'}, f"writers[0].redis = {_HIDDEN}: the database must be a number"),
        ({"redis": '"redis://[::1/0"'}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        ({"redis": '"unix://"'}, f"writers[0].redis = {_HIDDEN}: it names no socket; must be a URL"),
        ({"redis": "7101"}, f"writers[0].redis = {_HIDDEN}: must be a URL"),
        (
            {"redis": '"redis://h:1/0?socket_timeout=x"'},
            f"writers[0].redis = {_HIDDEN}: must be a URL",
        ),
    ],
)
def test_a_bad_writer_is_named_by_its_place_and_key(configure: Configure, changes: dict[str, str], line: str) -> None:
    error = error_of(configure(one_writer(**changes)))
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
    assert load(configure(one_writer(redis=f'"{url}"'))).writers[0].redis == url


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


def test_a_password_is_not_in_what_is_printed_of_aone_writer(configure: Configure) -> None:
    writer = load(configure(one_writer(password=f'"{SECRET}"'))).writers[0]
    assert SECRET not in f"{writer!r} {writer}"
    assert writer.password is not None
    assert writer.password.get_secret_value() == SECRET
