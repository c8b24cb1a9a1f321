"""Routers without sockets, and what listeners and writers say to them."""

from typing import Any

from router.health import Health
from router.house import House, Writer
from router.lanes import Lane
from router.status import status
from router.weights import Weights
from tapfan.messages import ListenerReport, PacketCounts, Stored, WriterReport
from tests.router.sharing import STREAM, read_share

ROUTER = "0123abcd"
RISE, FALL = 2, 3
TTL_MS = 300_000


def a_house(**weights: float) -> House:
    """A router with these writers and weights; a: 30, b: 70 when none is given."""
    weights = weights or {"a": 30, "b": 70}
    writers = {name: Writer(f"redis://{name}:6379/0", Lane(ROUTER), Health(RISE, FALL)) for name in weights}
    return House(Weights(weights), writers, TTL_MS)


def a_listener_report(stream: str = STREAM, kernel_drops: int = 0, **given_fields: Any) -> ListenerReport:
    """A report of a stream that is captured into, with these fields, the others 0 or empty."""
    fields: dict[str, Any] = {
        "name": stream.partition(".")[0],
        "stream": stream,
        "live": True,
        "number": 1,
        "base": 0,
        "sent": 0,
        "lost": {},
        "captured": 0,
        "spooled": 0,
        "leftovers": [],
        "packets": PacketCounts(kernel_drops=kernel_drops),
        "source": "capture",
    }
    return ListenerReport(**fields | given_fields)


def a_writer_report(name: str = "a", healthy: bool = True, reason: str = "", **given_fields: Any) -> WriterReport:
    """A writer's report: of one that has not found its router yet, if no fields say otherwise."""
    fields: dict[str, Any] = {
        "redis": "",
        "round_trip_us": None,
        "used_memory": None,
        "max_memory": None,
        "router": None,
        "expected": 0,
        "mark": 0,
        "sent": 0,
    }
    return WriterReport(name=name, healthy=healthy, reason=reason, **fields | given_fields)


def stored(name: str, number: int, stored: int, expired: int = 0, router: str = ROUTER) -> Stored:
    """What a writer says of a stored share."""
    return Stored(name=name, router=router, number=number, stored=stored, expired=expired)


def with_a_stream(**weights: float) -> House:
    """A router that knows the listener `local`."""
    house = a_house(**weights)
    house.take_listener_report(a_listener_report(), b"listener", 0.0)
    return house


def take_down(house: House, *names: str) -> None:
    """Let these writers say that their Redis takes no records, until they get none."""
    _report_until(house, names, healthy=False)


def bring_up(house: House, *names: str) -> None:
    """Let these writers say that their Redis takes records, until they get some."""
    _report_until(house, names, healthy=True)


def _report_until(house: House, names: tuple[str, ...], healthy: bool) -> None:
    for name in names:
        for _ in range(max(RISE, FALL)):
            if house.writers[name].health.up != healthy:
                house.take_writer_report(a_writer_report(name, healthy, router=ROUTER), b"")
        assert house.writers[name].health.up == healthy


def shares_of(house: House, name: str) -> list[list[int]]:
    """The sequence numbers of the shares that a writer's lane has to send, which then count as sent."""
    lane = house.writers[name].lane
    shares = []
    while (message := lane.next_unsent()) is not None:
        lane.mark_sent()
        shares.append(read_share(message)[2])
    return shares


def ledger_of(house: House, now_s: float = 0.0) -> dict[str, Any]:
    """The ledger of the status."""
    ledger: dict[str, Any] = status(house, now_s)["ledger"]
    return ledger
