"""Talkers as text: in 80 columns for IPv4, whole for IPv6, and exact in JSON."""

import json
import time

import pytest

from tapfan.cli import ranking
from tapfan.reader import By, Ranking, Talker

WIDTH = 80
EARLIER_NS = 1_764_162_185_123_456_789
LONGEST = ("203.113.213.117", "198.151.100.201")
IPV6 = ("2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8:1111:2222:3333:4444:5555:7777")


def _ranking(*keys: tuple[str, ...], packets: int = 987_654_321) -> Ranking:
    share = 1 / len(keys) if keys else 0.0
    talkers = [Talker(key, packets, share, EARLIER_NS, EARLIER_NS + 1) for key in keys]
    return Ranking(talkers, packets * len(keys), len(keys))


@pytest.mark.parametrize(
    ("by", "key", "titles"),
    [
        ("source", LONGEST[:1], ["source"]),
        ("destination", LONGEST[:1], ["destination"]),
        ("pair", LONGEST, ["source", "destination"]),
        ("port", ("65535",), ["port"]),
        ("pair", IPV6, ["source", "destination"]),
    ],
)
def test_each_talker_has_a_line_under_the_titles(by: By, key: tuple[str, ...], titles: list[str]) -> None:
    head, line = ranking.rows(_ranking(key), by)
    assert head.split() == ["packets", "share", "first", "seen", "last", "seen", *titles]
    assert line.split()[:2] == ["987,654,321", "100.0%"]
    assert line.split()[-len(key) :] == list(key)
    assert [head.index(title) for title in titles] == [line.index(part) for part in key]
    assert head.index("packets") + len("packets") == line.index("100.0%") - 1
    assert len(line) <= WIDTH or key == IPV6


def test_times_of_today_are_shown_without_the_day() -> None:
    now_ns = time.time_ns()
    (_, line) = ranking.rows(Ranking([Talker(("::1",), 1, 1.0, now_ns, now_ns)], 1, 1), "source")
    assert len(line.split()) == 5


def test_without_talkers_there_are_no_titles() -> None:
    assert ranking.rows(_ranking(), "source") == []


@pytest.mark.parametrize(
    ("total", "keys", "text"),
    [
        (0, 0, "0 packets of 0 sources in the last 5m"),
        (1, 1, "1 packet of 1 source in the last 5m"),
        (1_234_567, 1_000, "1,234,567 packets of 1,000 sources in the last 5m"),
    ],
)
def test_the_summary_says_what_it_is_of(total: int, keys: int, text: str) -> None:
    assert ranking.summary(Ranking([], total, keys), "source", "in the last 5m") == text


@pytest.mark.parametrize(
    ("by", "key", "named"),
    [
        ("source", LONGEST[:1], {"source": LONGEST[0]}),
        ("pair", IPV6, {"source": IPV6[0], "destination": IPV6[1]}),
        ("port", ("443",), {"port": 443}),
    ],
)
def test_json_is_exact(by: By, key: tuple[str, ...], named: dict[str, object]) -> None:
    line = ranking.as_json(_ranking(key), by, ['the Redis of "a" is away'], {"bad_block": 2})
    assert json.loads(line, parse_float=str) == {
        "by": by,
        "packets": 987_654_321,
        "keys": 1,
        "talkers": [
            named
            | {
                "packets": 987_654_321,
                "share": "1.0",
                "first": "1764162185.123456789",
                "last": "1764162185.123456790",
            }
        ],
        "problems": ['the Redis of "a" is away'],
        "skipped": {"bad_block": 2},
    }
