"""The URLs of sentinels and of clusters: what they say, what is none, and that no password is shown."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.redis_connection import client, pool
from tapfan.redis_urls import VALID, check, group, places, redacted, shown
from tapfan.sections import WriterSettings

_SECRET = "hunter2"
_HOST = "abcdefghijklmnopqrstuvwxyz0123456789.-_"


@pytest.mark.parametrize("url", ["redis://h:1/0", "rediss://h", "unix:///run/redis.sock?db=1"])
def test_one_server_is_no_group(url: str) -> None:
    check(url)
    assert group(url) is None


@pytest.mark.parametrize(
    ("url", "hosts", "master", "options", "sentinel_options"),
    [
        ("redis+sentinel://h/mymaster", [("h", 26379)], "mymaster", {"db": 0}, {}),
        ("redis+sentinel://h:1,[::1],i:2/m.1/3", [("h", 1), ("::1", 26379), ("i", 2)], "m.1", {"db": 3}, {}),
        ("redis+sentinel://h/m/?db=4", [("h", 26379)], "m", {"db": 4}, {}),
        (
            "redis+sentinel://u:p%40%2F@h/m?sentinel_username=s&sentinel_password=t%26",
            [("h", 26379)],
            "m",
            {"db": 0, "username": "u", "password": "p@/"},
            {"username": "s", "password": "t&"},
        ),
        (
            "rediss+sentinel://:p@h/m?ssl_ca_certs=/ca&ssl_check_hostname=no",
            [("h", 26379)],
            "m",
            {"db": 0, "password": "p", "ssl": True, "ssl_ca_certs": "/ca", "ssl_check_hostname": False},
            {"ssl": True, "ssl_ca_certs": "/ca", "ssl_check_hostname": False},
        ),
        ("redis+cluster://h:7000,i", [("h", 7000), ("i", 6379)], "", {}, {}),
        ("redis+cluster://[::1]:7000,[::2]:7000/0", [("::1", 7000), ("::2", 7000)], "", {}, {}),
        (
            "rediss+cluster://u@h?password=p&ssl_cert_reqs=none",
            [("h", 6379)],
            "",
            {"username": "u", "password": "p", "ssl": True, "ssl_cert_reqs": "none"},
            {"ssl": True, "ssl_cert_reqs": "none"},
        ),
    ],
)
def test_what_a_group_is(
    url: str, hosts: list[tuple[str, int]], master: str, options: dict[str, Any], sentinel_options: dict[str, Any]
) -> None:
    check(url)
    found = group(url)
    assert found is not None
    assert (list(found.hosts), found.master, found.options) == (hosts, master, options)
    assert found.sentinel_options == sentinel_options
    assert found.kind in url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel://h", "after the sentinels comes the name of their master"),
        ("redis+sentinel://h/", "after the sentinels comes the name of their master"),
        ("redis+sentinel://h/my master", "after the sentinels comes the name of their master"),
        (f"redis+sentinel://u:1/{_SECRET}@h/m", "after the sentinels comes the name of their master"),
        ("redis+sentinel://h/m/x", "the database must be a number"),
        ("redis+sentinel://h/m/0/1", "must be a URL"),
        ("redis+sentinel://h/m?db=x", "must be a URL"),
        ("redis+sentinel:///m", "must be a URL"),
        ("redis+sentinel://h,/m", "must be a URL"),
        ("redis+sentinel://h:0/m", "the port must be a number from 1 to 65535"),
        ("redis+sentinel://h:65536/m", "the port must be a number from 1 to 65535"),
        ("redis+sentinel://h:x/m", "must be a URL"),
        ("redis+sentinel://::1/m", "must be a URL"),
        ("redis+sentinel://[::1/m", "must be a URL"),
        (f"redis+sentinel://:{_SECRET}@h,:{_SECRET}@i/m", "must be a URL"),
        ("redis+sentinel://h/m#x", "must be a URL"),
        ("redis+sentinel://h/m?socket_timeout=1", "must be a URL"),
        (f"redis+sentinel://h/m?{_SECRET}", "must be a URL"),
        ("redis+sentinel://h/m?ssl_ca_certs=/ca", "ssl_ca_certs is for TLS"),
        ("rediss+sentinel://h/m?ssl_cert_reqs=maybe", "ssl_cert_reqs must be one of required, optional, none"),
        ("rediss+cluster://h?ssl_check_hostname=maybe", "ssl_check_hostname must be one of"),
        ("redis+cluster://h/1", "a cluster has the database 0 only"),
        ("redis+cluster://h?db=1", "a cluster has the database 0 only"),
        ("redis+cluster://h/mymaster", "a cluster has the database 0 only"),
        (f"redis+cluster://h?sentinel_password={_SECRET}", "sentinel_password is for redis+sentinel"),
        ("redis+cluster://", "must be a URL"),
        ("unix+cluster:///run/redis.sock", "must be a URL"),
        ("redis+other://h", "must be a URL"),
        ("redis://h?ssl_ca_certs=/ca", "ssl_ca_certs is for TLS"),
        ("rediss://h?ssl_check_hostname=x", "ssl_check_hostname must be one of"),
        (f"redis://h?sentinel_password={_SECRET}", "sentinel_password is for redis+sentinel"),
        (f"redis://h?{_SECRET}", "must be a URL"),
        (f"redis://u:#{_SECRET}@h", "a # must be written as %23"),
        (f"redis://h/0?db=1#password={_SECRET}", "a # must be written as %23"),
        (f"unix:///run/redis.sock#{_SECRET}", "a # must be written as %23"),
        (f"redis+cluster://u:#{_SECRET}@h", "a # must be written as %23"),
    ],
)
def test_what_is_none_is_refused_with_what_is_valid(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"must be a URL such as redis://") as failure:
        check(url)
    assert problem in str(failure.value)
    assert str(failure.value).endswith(VALID)
    assert _SECRET not in str(failure.value)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("redis://h/0&password=s3cret", "redis://…"),
        ("redis://h/0;password=s3cret", "redis://…"),
        ("redis://h:99999/0", "redis://h:99999/0"),
        ("http://x", "http://x"),
        ("10.0.0.3:6379", "10.0.0.3:6379"),
        ("", ""),
        (f"redis://u:{_SECRET}@h:x/0", "redis://h:x/0"),
        (f"redis://:{_SECRET}@in@h:x/0", "redis://h:x/0"),
        (f"u:{_SECRET}@h", "h"),
        (f"redis://:{_SECRET}", "redis://…"),
        (f"redis://h:x?pasword={_SECRET}", "redis://h:x?…"),
        (f"redis://h:x?password=a@{_SECRET}", "redis://…"),
        (f"redis://u:?{_SECRET}@h:x", "redis://…"),
        (f"redis://u:#{_SECRET}", "redis://…"),
    ],
)
def test_what_was_typed_is_shown_without_what_may_be_a_secret(typed: str, told: str) -> None:
    assert shown(typed) == told


@given(
    st.sampled_from(["redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"]),
    st.lists(st.text(_HOST, min_size=1), min_size=1, max_size=3),
    st.text(st.characters(codec="ascii"), max_size=20),
)
def test_no_password_is_shown_whatever_it_is(scheme: str, hosts: list[str], text: str) -> None:
    """A URL is refused, or it is shown without what stands before the first host."""
    url = f"{scheme}://user:x{_SECRET}{text}@{','.join(hosts)}" + ("/mymaster" if "sentinel" in scheme else "")
    problem = ""
    try:
        check(url)
    except ValueError as error:
        problem = str(error)
    assert _SECRET not in problem
    if not problem:
        assert _SECRET not in redacted(url)
        assert redacted(url).startswith(f"{scheme}://{','.join(hosts)}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis+sentinel://u:{_SECRET}@h:1,i:2/m/0", "redis+sentinel://h:1,i:2/m/0"),
        (f"redis+sentinel://h:1,i:2/m?sentinel_password={_SECRET}", "redis+sentinel://h:1,i:2/m"),
        (f"redis+cluster://h:1,i:2?password={_SECRET}", "redis+cluster://h:1,i:2"),
        (f"rediss+cluster://:{_SECRET}@h,i?ssl_ca_certs=/ca", "rediss+cluster://h,i"),
        ("rediss+cluster://u@h,i?ssl_ca_certs=/ca", "rediss+cluster://u@h,i?ssl_ca_certs=/ca"),
        (f"nothing {_SECRET}", "(not a URL)"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_a_cluster_has_no_pool_and_a_client_only_where_a_node_answers() -> None:
    with pytest.raises(ValueError, match="a cluster has no single pool"):
        pool(WriterSettings(name="a", redis="redis+cluster://127.0.0.1:1", weight=1), 1.0, 1.0)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/m", "unix:///none"])
def test_a_client_of_one_server_connects_when_it_is_needed(url: str) -> None:
    client(WriterSettings(name="a", redis=url, weight=1), 1.0, 1.0).close()


@pytest.mark.parametrize(
    ("url", "other", "is_same"),
    [
        ("redis://h", "redis://h:6379/0", True),
        ("redis://u:p@H./2", "rediss://h?db=2", True),
        ("redis://h/1?db=2", "redis://h/2", True),  # as redis-py reads it
        ("redis://localhost:1/0", "redis://127.0.0.1:1", True),
        ("redis://[::1]:1/0", "redis://127.0.0.1:1", True),
        ("redis://[2001:db8::1]", "redis://[2001:DB8:0::1]:6379/", True),
        ("redis://h/0", "redis://h/1", False),
        ("redis://h:1", "redis://h:2", False),
        ("redis://h", "redis://i", False),
        ("redis://127.0.0.1", "redis://127.0.0.2", False),
        ("unix:///run/../run/r.sock", "unix://u:p@/run/r.sock?db=0", True),
        ("unix:///run/r%65.sock", "unix:///run/re.sock", True),
        ("unix:///run/r.sock?db=1", "unix:///run/r.sock", False),
        ("unix:///run/r.sock", "redis://localhost", False),
        ("redis+sentinel://h,i/m", "rediss+sentinel://I:26379,j/m/0", True),
        ("redis+sentinel://h/m", "redis+sentinel://h/n", False),
        ("redis+sentinel://h/m", "redis+sentinel://h/m/1", False),
        ("redis+sentinel://h/m", "redis+sentinel://h:1/m", False),
        ("redis+cluster://h:7000,i:7000", "redis+cluster://i:7000", True),
        ("redis+cluster://h:7000", "redis+cluster://h:7001", False),
    ],
)
def test_which_urls_lead_to_one_database(url: str, other: str, is_same: bool) -> None:
    check(url)
    check(other)
    assert bool(places(url) & places(other)) is is_same


def test_a_socket_is_one_whichever_link_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert places(f"unix://{tmp_path}/link/r.sock") == places(f"unix://{tmp_path}/real/r.sock")
