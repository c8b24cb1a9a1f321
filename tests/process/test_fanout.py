"""Listeners that share the packets of an interface, as real processes."""

import os
import signal
from collections import Counter

import pytest

from tests.process.conftest import StartPrograms
from tests.process.namespace import Namespace
from tests.process.running import Programs, wait_for
from tests.process.stored import stored
from tests.process.traffic import Sending

_PORT = 9000
_SECOND = "listener-second"
_CONNECTIONS = 64
_MORE = 3000  # records


def _started(start: StartPrograms, space: Namespace, address: str) -> Programs:
    fanout = os.getpid() % 63 + 1
    listener = {"listen": [f"{address}:{_PORT}"], "source": "capture", "fanout": fanout, "serve": "discard"}
    programs = start(listener=listener, netns=space.name)
    programs.start(_SECOND)
    programs.wait_ready()
    return programs


@pytest.fixture(params=["veth", "veth, IPv6", "lo"])
def address(request: pytest.FixtureRequest, space: Namespace) -> str:
    """Where to send to."""
    return {"veth": space.address, "veth, IPv6": f"[{space.address6}]", "lo": "127.0.0.1"}[request.param]


def _sending(space: Namespace, address: str) -> Sending:
    return Sending(address.strip("[]"), _PORT, _CONNECTIONS, space.name if address == "127.0.0.1" else None)


def test_every_segment_is_recorded_by_one_of_the_listeners(
    start: StartPrograms, space: Namespace, address: str
) -> None:
    programs = _started(start, space, address)
    with _sending(space, address) as sending:
        _wait_for_more(programs)
        _assert_recorded(programs, sending.pause())
    shares = {record.stream.partition(".")[0] for record in stored(programs)}
    assert shares == {"local", "second"}
    listeners = programs.status()["listeners"]
    assert {entry["health"] for entry in listeners.values()} == {"up"}
    assert sum(entry["captured"] for entry in listeners.values()) == len(stored(programs))


@pytest.mark.timeout(120)
def test_one_that_stops_and_comes_back_under_load_loses_and_doubles_nothing(
    start: StartPrograms, space: Namespace, address: str
) -> None:
    programs = _started(start, space, address)
    with _sending(space, address) as sending:
        for _ in range(3):
            _wait_for_more(programs)
            assert programs.stop(_SECOND) == 0
            _wait_for_more(programs)
            programs.start(_SECOND)
            programs.wait_ready()
        _wait_for_more(programs)
        _assert_recorded(programs, sending.pause())


@pytest.mark.timeout(120)
def test_one_that_is_killed_and_comes_back_under_load_doubles_nothing_and_loses_only_what_it_had(
    start: StartPrograms, space: Namespace, address: str
) -> None:
    programs = _started(start, space, address)
    with _sending(space, address) as sending:
        _wait_for_more(programs)
        before = sending.pause()
        _assert_recorded(programs, before)
        sending.resume()
        _wait_for_more(programs)
        programs.kill(_SECOND)
        had = sum(sending.pause().values()) - sum(before.values())
        programs.start(_SECOND)
        programs.wait_ready()
        sending.resume()
        _wait_for_more(programs)
        _assert_recorded(programs, sending.pause(), lost=had)
    assert programs.status()["ledger"]["balanced"]


def test_the_others_take_over_from_one_that_stands_still(start: StartPrograms, space: Namespace) -> None:
    """Once its ring is full."""
    programs = _started(start, space, space.address)
    with _sending(space, space.address) as sending:
        programs.signal(_SECOND, signal.SIGSTOP)
        _wait_for_more(programs)
        programs.signal(_SECOND, signal.SIGCONT)
        _assert_recorded(programs, sending.pause())


def _wait_for_more(programs: Programs) -> None:
    before = programs.status()["ledger"]["captured"]
    wait_for(lambda: programs.status()["ledger"]["captured"] > before + _MORE, "more is recorded")


def _recorded(programs: Programs) -> Counter[int]:
    """The segments of all records by their source port."""
    found: Counter[int] = Counter()
    for record in stored(programs):
        value = record.value
        found[value["sport"]] += value["segments"]
    return found


def _assert_recorded(programs: Programs, sent: dict[int, int], lost: int = 0) -> None:
    """Each of these segments is recorded once, when all has settled, but for so many at most that were lost."""

    def settled() -> bool:
        recorded = _recorded(programs)
        missing = {port: count - recorded[port] for port, count in sent.items() if recorded[port] != count}
        assert all(count > 0 for count in missing.values()), f"less than nothing is missing: {missing}"
        return sum(missing.values()) <= lost

    wait_for(settled, f"{sum(sent.values())} segments are recorded")
