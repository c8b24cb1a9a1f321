"""Routers without sockets, and what listeners and writers say to them."""

from typing import Any

from router.changes import apply
from router.house import House, Rules
from router.status import status
from tapfan.messages import ListenerReport, PacketCounts, Stored, WriterReport
from tests.router import wanting
from tests.router.sharing import STREAM, shares_in
from tests.router.wanting import a_request, an_intent

ROUTER = "0123abcd"
RISE, FALL = 2, 3
TTL_MS = wanting.TTL_MS


def a_house(**weights: float) -> House:
    """A router with these writers and weights; a: 30, b: 70 when none is given."""
    return House(an_intent(**weights), TTL_MS, ROUTER, Rules(RISE, FALL))


def change(house: House, command: str, now_s: float = 0.0, **arguments: Any) -> dict[str, Any]:
    """Let a request be in force; gives what its client is told. Raises ControlError."""
    intent, entry = apply(house.intent, house.history, a_request(command, now_s, **arguments), house.in_flight)
    if entry is not None:
        house.adopt(intent, [entry], now_s)
    return house.view()


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
        "weight": 1.0,
        "rampup_s": 0.0,
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
    """What a writer says of one stored share."""
    return Stored(name=name, router=router, number=number, shares=1, stored=stored, expired=[expired])


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
        shares += [records for _, _, records in shares_in(message)]
    return shares


def ledger_of(house: House, now_s: float = 0.0) -> dict[str, Any]:
    """The ledger of the status."""
    ledger: dict[str, Any] = status(house, now_s)["ledger"]
    return ledger
