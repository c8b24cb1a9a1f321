"""The configuration from the environment: it overrides single values, and says so where one is wrong."""

from collections.abc import Callable

import pytest
from pydantic import SecretStr

from tapfan.settings import Settings, SettingsError, load
from tests.tapfan.conftest import WRITERS, Configure

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("TAPFAN_TTL", "10m", lambda settings: settings.ttl == 600),
        ("TAPFAN_LISTENER__SERVE", "none", lambda settings: settings.listener.serve == "none"),
        ("TAPFAN_LISTENER__BATCH_RECORDS", "5", lambda settings: settings.listener.batch_records == 5),
        (
            "TAPFAN_LISTENER__LISTEN",
            "0.0.0.0:1,[::1]:2",
            lambda settings: [str(endpoint) for endpoint in settings.listener.listen] == ["0.0.0.0:1", "[::1]:2"],
        ),
        ("TAPFAN_LISTENER__INTERFACE", "lo,eth0", lambda settings: settings.listener.interface == ("lo", "eth0")),
        ("TAPFAN_LISTENER__FANOUT", "7", lambda settings: settings.listener.fanout == 7),
        ("TAPFAN_LISTENER__TUNNELS", "true", lambda settings: settings.listener.tunnels),
        ("TAPFAN_LISTENER__SPOOL", "always", lambda settings: settings.listener.spool == "always"),
        ("TAPFAN_LISTENER__SPOOL_BYTES", "100000", lambda settings: settings.listener.spool_bytes == 100_000),
        ("TAPFAN_ROUTER__FALL", "5", lambda settings: settings.router.fall == 5),
        ("TAPFAN_CONTROL__TIMEOUT", "1s", lambda settings: settings.control.timeout == 1.0),
        ("TAPFAN_WRITERS__B__WEIGHT", "50", lambda settings: [w.weight for w in settings.writers] == [30.0, 50.0]),
        ("TAPFAN_WRITERS__A__REDIS", "redis://h", lambda settings: settings.writer("a").redis == "redis://h"),
        (
            "TAPFAN_WRITERS__B__PASSWORD",
            SECRET,
            lambda settings: settings.writer("b").password == SecretStr(SECRET),
        ),
    ],
)
def test_the_environment_overrides_single_values(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, read: Callable[[Settings], bool]
) -> None:
    monkeypatch.setenv(variable, value)
    assert read(load(configure('ttl = "7s"\n' + WRITERS)))


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("TAPFAN_NONSENSE", "nonsense: unknown key"),
        ("TAPFAN_LISTENER__NONSENSE", "listener.nonsense: unknown key"),
        ("TAPFAN_WRITERS__NOBODY__WEIGHT", "TAPFAN_WRITERS__NOBODY__WEIGHT names nothing that can be configured"),
        ("TAPFAN_WRITERS__A__NAME__X", "TAPFAN_WRITERS__A__NAME__X names nothing that can be configured"),
        ("TAPFAN_TTL__SECONDS", "TAPFAN_TTL__SECONDS names nothing that can be configured"),
        ("TAPFAN_WRITERS__A", "TAPFAN_WRITERS__A names a list; name one entry and its key"),
        ("TAPFAN_WRITERS", "writers = '1': must be a list"),
        ("TAPFAN_TTL", "ttl = '1': must be a duration"),
        ("TAPFAN_LISTENER__LISTEN", "listener.listen[0] = '1': must be an IP address and a port"),
    ],
)
def test_a_variable_that_overrides_nothing_or_badly_is_an_error(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, variable: str, problem: str
) -> None:
    monkeypatch.setenv(variable, "1")
    file = configure('ttl = "5m"\n' + WRITERS)
    with pytest.raises(SettingsError) as caught:
        load(file)
    assert problem in str(caught.value)


def test_a_writer_to_override_is_not_looked_for_in_what_is_no_table(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPFAN_WRITERS__A__WEIGHT", "1")
    with pytest.raises(SettingsError, match="TAPFAN_WRITERS__A__WEIGHT names nothing"):
        load(configure("writers = [1]"))


def test_the_file_is_named_by_the_environment_too(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPFAN_CONFIG", str(configure('ttl = "7s"\n' + WRITERS)))
    assert load().ttl == 7


def test_a_bad_override_is_told_by_its_variable(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    file = configure(WRITERS)
    monkeypatch.setenv("TAPFAN_WRITERS__B__WEIGHT", "much")
    monkeypatch.setenv("TAPFAN_LISTENER__LISTEN", "127.0.0.1:1, 127.0.0.1")
    with pytest.raises(SettingsError) as caught:
        load(file)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("TAPFAN_LISTENER__LISTEN: listener.listen[1] = ' 127.0.0.1': must be an IP address")
    assert lines[1].startswith(
        "TAPFAN_WRITERS__B__WEIGHT: writer b: writers[1].weight = 'much': must be a finite number"
    )
    assert len(lines) == 2
