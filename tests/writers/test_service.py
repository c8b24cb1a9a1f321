"""What a writer reports of its Redis, over a real socket: at once when that changes, and twice a second otherwise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
import zmq

from tapfan import sockets
from tapfan.messages import WriterReport, read_message
from tapfan.settings import Settings
from tapfan.wire import unpack
from tests.process.running import wait_for
from tests.writers import resp
from tests.writers.servers import Server
from writers import service, storing
from writers.service import Writer


@dataclass
class _Router:
    """The other end, and what a writer has reported to it."""

    writer: Writer
    socket: sockets.Socket
    reports: list[WriterReport] = field(default_factory=list)

    def turn(self) -> list[WriterReport]:
        """Let the writer do something, if there is anything to do; gives what it reports."""
        self.writer.turn()
        seen = len(self.reports)
        while (frames := sockets.received(self.socket)) is not None:
            message = read_message(unpack(frames[1]))
            assert isinstance(message, WriterReport)
            self.reports.append(message)
        return self.reports[seen:]

    def until(self, found: Callable[[WriterReport], bool]) -> WriterReport:
        """The next report of that kind, of those that have not come yet."""
        return wait_for(lambda: next(filter(found, self.turn()), None), "a report of that kind")


Begin = Callable[..., _Router]  # with the keys of its settings


@pytest.fixture
def begin(server: Server, tmp_path: Path) -> Iterator[Begin]:
    """Starts a writer for a real Redis, which may be held up before, or for another."""
    made: list[_Router] = []
    settings = Settings(run_dir=tmp_path, writers=(server.settings(),))
    with zmq.Context() as context:
        socket = sockets.bound(context, zmq.ROUTER, settings.endpoint("shares"))

        def start(**keys: Any) -> _Router:
            writer = Writer(settings.writers[0].model_copy(update=keys), settings, structlog.get_logger(), context)
            made.append(_Router(writer, socket))
            return made[-1]

        yield start
        server.let_go_on()
        for router in made:
            router.writer.close()
        context.destroy(linger=0)


def test_the_first_report_says_what_the_first_check_has_found(begin: Begin, server: Server) -> None:
    """And not that nothing is known yet: the router takes it at its word."""
    server.configure(maxmemory=10**9)
    report = begin().until(lambda _: True)
    assert (report.healthy, report.reason, report.max_memory) == (True, "", 10**9)
    assert report.used_memory
    assert report.round_trip_us


def test_of_a_redis_that_does_not_answer_at_a_start_the_first_report_says_so(begin: Begin, server: Server) -> None:
    server.hold_up()
    report = begin().until(lambda _: True)
    assert (report.healthy, report.used_memory) == (False, None)
    assert report.reason


def test_a_redis_that_hangs_is_reported_long_before_it_times_out(begin: Begin, server: Server) -> None:
    router = begin()
    router.until(lambda report: report.healthy)
    server.hold_up()
    report = router.until(lambda report: not report.healthy)
    assert report.reason.startswith("no answer for ")
    assert report.used_memory, "what the last check has measured"
    server.let_go_on()
    assert router.until(lambda report: report.healthy).reason == ""


def test_a_change_of_health_is_reported_at_once_and_nothing_else_before_its_time(
    begin: Begin, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each check measures another round trip."""
    monkeypatch.setattr(storing, "_CHECK_PERIOD_S", 0.01)
    monkeypatch.setattr(service, "_REPORT_PERIOD_S", 1000.0)
    router = begin()
    assert router.until(lambda _: True).healthy
    checks = _checks(server)
    wait_for(lambda: not router.turn() and _checks(server) > checks + 20, "more checks")
    server.run("REPLICAOF", "127.0.0.1", "1")
    assert "replica" in router.until(lambda _: True).reason
    server.run("REPLICAOF", "NO", "ONE")
    assert router.until(lambda _: True).healthy
    assert len(router.reports) == 3


def test_a_url_longer_than_a_report_has_room_for_is_cut(begin: Begin) -> None:
    url = f"redis+sentinel://{','.join(f'sentinel-{at}.redis.example.internal:1' for at in range(20))}/mymaster"
    assert len(url) > 700
    shown = begin(redis=url).until(lambda _: True).redis
    assert (shown[:-1], shown[-1]) == (url[: len(shown) - 1], "…")


def test_what_no_redis_would_tell_is_survived(begin: Begin) -> None:
    info = f"role:{'x' * 5000}\r\nused_memory:{2**63}\r\nmaxmemory:1000\r\nmaxmemory_policy:{'x' * 5000}\r\n"
    master = info.replace("x" * 5000, "master", 1)
    time_of = b"*2\r\n$400\r\n%s\r\n$1\r\n0\r\n" % (b"9" * 400)

    for text, healthy in ((info, False), (master, True)):

        def answer(command: list[bytes], text: str = text) -> list[bytes]:
            return [time_of if command[0] == b"TIME" else b"$%d\r\n%s\r\n" % (len(text), text.encode())]

        with resp.serving(answer) as port:
            router = begin(redis=f"redis://127.0.0.1:{port}")
            report = router.until(lambda report: report.reason != "connecting")
            router.writer.close()
        assert (report.healthy, report.used_memory, report.max_memory, report.warnings) == (healthy, None, 1000, [])
        assert len(report.reason) == (0 if healthy else 500)


def test_a_replica_that_is_waited_for_is_no_answer_that_is_missing(begin: Begin) -> None:
    """Each check waits for longer than a report does."""
    router = begin(confirm="replica")
    router.until(lambda report: report.reason.startswith("no replica has confirmed"))
    for _ in range(3):
        report = router.until(lambda _: True)
        assert report.reason.startswith("no replica has confirmed")
        assert report.used_memory


def test_the_layout_says_which_keys_are_tried(begin: Begin, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of one layout's rights is healthy again after it had refused something."""
    monkeypatch.setattr(storing, "_CHECK_PERIOD_S", 0.01)
    server.run("ACL", "SETUSER", "default", "resetkeys", "~tcpb:*")
    router = begin(layout="block")
    router.until(lambda report: report.healthy)

    def taken() -> bool:
        router.writer._storing._refuses = True
        stats = server.client.info("commandstats").get("cmdstat_set", {})
        return bool(stats.get("calls"))

    wait_for(taken, "a trial is taken")


def _checks(server: Server) -> int:
    return int(server.client.info("commandstats")["cmdstat_info"]["calls"]) // 3
