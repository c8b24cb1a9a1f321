"""From a TCP connection to a TTL key, through all the processes."""

import json
import re
import time

from tests.process.conftest import StartPrograms
from tests.process.traffic import connections

_KEY = re.compile(r"tcp:([^>]+)>(.+):(\d{19})-local\.[0-9a-f]{8}\.([0-9a-f]{12})")


def test_split_is_exact_and_every_record_is_stored(start: StartPrograms) -> None:
    programs = start()
    connections(1000, programs.port)
    status = programs.wait_settled(2000)
    captured = status["ledger"]["captured"]
    keys = {name: programs.keys(name) for name in ("a", "b")}
    assert len(keys["a"]) + len(keys["b"]) == captured
    assert abs(len(keys["a"]) - 0.3 * captured) < 1
    assert status["writers"]["a"]["stored"] == len(keys["a"])
    sequences = sorted(int(_KEY.fullmatch(key)[4], 16) for name in keys for key in keys[name])  # type: ignore[index]
    assert sequences == list(range(captured))


def test_a_record_says_who_talked_to_whom_and_lives_from_its_capture_on(start: StartPrograms) -> None:
    programs = start(top={"ttl": "60s"}, weights={"a": 1})
    before_ns = time.time_ns()
    connections(1, programs.port)
    programs.wait_settled(2)
    with programs.redis("a") as client:
        now_ns = time.time_ns()
        for key in programs.keys("a"):
            source, destination, timestamp, _ = _KEY.fullmatch(key).groups()  # type: ignore[union-attr]
            assert before_ns <= int(timestamp) <= now_ns
            value = json.loads(client.get(key) or "")
            assert value["src"] == source == "127.0.0.1"
            assert value["dst"] == destination == "127.0.0.1"
            assert value["dport"] == programs.port
            assert f'"ts":{timestamp[:10]}.{timestamp[10:]},' in (client.get(key) or "")
            assert client.pttl(key) <= 60_000 - (now_ns - int(timestamp)) // 1_000_000 + 1
            assert client.pttl(key) > 0
        flags = [
            json.loads(client.get(key) or "")["flags"] for key in sorted(programs.keys("a"), key=lambda k: k[-12:])
        ]
        assert flags == ["S", "PA"]
