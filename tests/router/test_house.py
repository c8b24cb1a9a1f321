"""The router's state: whatever comes in, the ledger adds up, and nothing is acknowledged before it is stored."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.house import REPORT_PERIOD_S, House, Listener, Writer
from router.lanes import Lane
from router.status import status
from router.weights import Weights
from tapfan.control import ControlError
from tapfan.messages import ListenerReport, Stored, WriterReport
from tapfan.wire import WireError
from tests.router.sharing import STREAM, a_batch, read_share

_ROUTER = "0123abcd"
_NAMES = ("local", "edge")
_ABSENT_AFTER_S = 3 * REPORT_PERIOD_S


def _house(**weights: float) -> House:
    weights = weights or {"a": 30, "b": 70}
    writers = {name: Writer(f"redis://{name}:6379/0", Lane(_ROUTER)) for name in weights}
    return House(Weights(weights), writers)


def _listener_report(stream: str = STREAM, **given_fields: Any) -> ListenerReport:
    fields: dict[str, Any] = {
        "name": stream.partition(".")[0],
        "stream": stream,
        "number": 1,
        "base": 0,
        "sent": 0,
        "expired": 0,
        "captured": 0,
        "kernel_drops": 0,
        "undecoded": 0,
        "source": "capture",
    }
    return ListenerReport(**fields | given_fields)


def _writer_report(name: str = "a", healthy: bool = True, reason: str = "") -> WriterReport:
    return WriterReport(name=name, redis="", healthy=healthy, reason=reason, router=None, expected=0, mark=0, sent=0)


def _stored(name: str, number: int, stored: int, expired: int = 0, router: str = _ROUTER) -> Stored:
    return Stored(name=name, router=router, number=number, stored=stored, expired=expired)


def _with_a_stream(**weights: float) -> House:
    house = _house(**weights)
    house.take_listener_report(_listener_report(), b"listener", 0.0)
    return house


def _shares(house: House, name: str) -> list[list[int]]:
    """The sequence numbers of the shares that a writer's lane has to send, which then count as sent."""
    lane = house.writers[name].lane
    shares = []
    while (message := lane.next_unsent()) is not None:
        lane.mark_sent()
        shares.append(read_share(message)[2])
    return shares


def _ledger(house: House, now_s: float = 0.0) -> dict[str, Any]:
    ledger: dict[str, Any] = status(house, now_s)["ledger"]
    return ledger


@dataclass
class _Seen:
    """A stream as its listener sees it."""

    name: str
    stream: str
    base: int
    expected: int
    captured: int
    expired: int  # below the base
    settled: dict[int, bool] = field(default_factory=dict)  # by record, whether it had expired

    @property
    def acknowledged(self) -> int:
        """Up to where everything is settled; batches are acknowledged whole, so no more than this."""
        return next((record for record in range(self.base, self.expected) if record not in self.settled), self.expected)


@dataclass
class _Model:
    """A house, and beside it the plainest count of what must be in it."""

    house: House = field(default_factory=lambda: _house(a=30, b=70, c=0))
    streams: list[_Seen] = field(default_factory=list)
    on_the_way: list[tuple[str, int, _Seen, list[int]]] = field(default_factory=list)
    numbers: Counter[str] = field(default_factory=Counter)
    stored_by: Counter[str] = field(default_factory=Counter)

    def start(self, data: st.DataObject) -> None:
        """A listener starts, or is found by a router that is new, in the middle of its stream."""
        base = data.draw(st.one_of(st.just(0), st.integers(0, 1000)))
        name = data.draw(st.sampled_from(_NAMES))
        seen = _Seen(name, f"{name}.{len(self.streams):08x}", base, base, base, data.draw(st.integers(0, base)))
        self.streams.append(seen)
        self._report(seen)

    def report(self, data: st.DataObject) -> None:
        """A listener reports that it captured more."""
        if self.streams:
            seen = data.draw(st.sampled_from(self.streams))
            seen.captured = max(seen.captured, seen.expected) + data.draw(st.integers(0, 50))
            self._report(seen)

    def acknowledged_elsewhere(self, data: st.DataObject) -> None:
        """A listener learns only now what an earlier router had stored, and will not send that to this one."""
        if not self.streams:
            return
        seen = data.draw(st.sampled_from(self.streams))
        count = data.draw(st.integers(1, 20))
        expired = data.draw(st.integers(0, count))
        seen.settled |= {seen.expected + at: at < expired for at in range(count)}
        seen.expected += count
        seen.captured = max(seen.captured, seen.expected)
        self._report(seen, seen.expected, seen.expired + sum(seen.settled.values()))

    def _report(self, seen: _Seen, base: int | None = None, expired: int | None = None) -> None:
        report = _listener_report(
            seen.stream,
            base=seen.base if base is None else base,
            expired=seen.expired if expired is None else expired,
            captured=max(seen.captured, seen.expected),
            sent=seen.expected,
        )
        listener = self.house.take_listener_report(report, b"", 0.0)
        self._assert_acknowledgement(listener, seen)

    def batch(self, data: st.DataObject) -> None:
        """The next batch of a stream comes in."""
        if not self.streams:
            return
        seen = data.draw(st.sampled_from(self.streams))
        count = data.draw(st.integers(1, 20))
        assert self.house.take_batch(a_batch(seen.expected, count, seen.stream))
        seen.expected += count
        split = []
        for name in self.house.writers:
            for records in _shares(self.house, name):
                self.on_the_way.append((name, self.numbers[name], seen, records))
                self.numbers[name] += 1
                split += records
        assert split == list(range(seen.expected - count, seen.expected))

    def wrong_batch(self, data: st.DataObject) -> None:
        """A batch that came before, or comes after a gap, or is of a stream that nobody reported."""
        known: bool = data.draw(st.booleans())
        first = data.draw(st.integers(0, 1100))
        if self.streams and known:
            seen = data.draw(st.sampled_from(self.streams))
            assert not self.house.take_batch(a_batch(first + (first == seen.expected), 3, seen.stream))
        else:
            assert not self.house.take_batch(a_batch(first, 3, "local.ffffffff"))

    def store(self, data: st.DataObject) -> None:
        """A share is stored, of whatever writer, though some of its records may have expired."""
        if not self.on_the_way:
            return
        name, number, seen, records = self.on_the_way.pop(data.draw(st.integers(0, len(self.on_the_way) - 1)))
        expired = data.draw(st.one_of(st.just(0), st.integers(0, len(records))))
        seen.settled |= {record: at < expired for at, record in enumerate(records)}
        self.stored_by[name] += len(records) - expired
        message = _stored(name, number, len(records) - expired, expired)
        listener = self.house.take_stored(message, 0.0)
        if listener is not None:
            assert listener.report.stream == seen.stream
            self._assert_acknowledgement(listener, seen)
        assert self.house.take_stored(message, 0.0) is None

    def wrong_stored(self, data: st.DataObject) -> None:
        """Of a writer that is not there, of a share that is not, or of another router's share."""
        number = data.draw(st.integers(0, 5))
        assert self.house.take_stored(_stored("nobody", number, 1), 0.0) is None
        assert self.house.take_stored(_stored("a", 10**6 + number, 1), 0.0) is None
        assert self.house.take_stored(_stored("a", number, 1, router="ffffffff"), 0.0) is None

    def weights(self, data: st.DataObject) -> None:
        """An operator changes the weights, so that one writer or another gets nothing."""
        weights = data.draw(st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any))
        self.house.change_weights({"weights": dict(zip("abc", weights, strict=True))})

    def writer(self, data: st.DataObject) -> None:
        """A writer starts; what it was sent comes again, under the same numbers."""
        name = data.draw(st.sampled_from("abc"))
        self.house.take_writer_report(_writer_report(name), b"", 0.0)
        assert _shares(self.house, name) == [records for at, _, _, records in self._in_order() if at == name]

    def _in_order(self) -> list[tuple[str, int, _Seen, list[int]]]:
        return sorted(self.on_the_way, key=lambda share: share[1])

    @staticmethod
    def _assert_acknowledgement(listener: Listener, seen: _Seen) -> None:
        told = listener.acknowledgement()
        assert (told.stream, told.expected, told.sent) == (seen.stream, seen.expected, listener.report.sent)
        assert seen.base <= told.acknowledged <= seen.acknowledged
        below = [expired for record, expired in seen.settled.items() if record < told.acknowledged]
        assert told.expired == seen.expired + sum(below)

    def assert_ledger(self) -> None:
        """The ledger is what the plain count says."""
        last = {seen.name: seen for seen in self.streams}
        captured = {seen.stream: max(seen.captured, seen.expected) for seen in self.streams}
        dropped = sum(captured[seen.stream] - seen.expected for seen in self.streams if seen is not last[seen.name])
        told = status(self.house, 0.0)
        expired = sum(seen.expired + sum(seen.settled.values()) for seen in self.streams)
        settled = sum(seen.base + len(seen.settled) for seen in self.streams)
        assert told["ledger"] == {
            "captured": sum(captured.values()),
            "stored": settled - expired,
            "expired": expired,
            "dropped": dropped,
            "in_flight": sum(captured.values()) - settled - dropped,
            "spooled": 0,
            "balanced": True,
        }
        for name, writer in told["writers"].items():
            in_flight = sum(len(records) for at, _, _, records in self.on_the_way if at == name)
            assert (writer["in_flight"], writer["stored"]) == (in_flight, self.stored_by[name])
        assert told["listeners"].keys() == last.keys()
        for name, listener in told["listeners"].items():
            assert listener["captured"] == sum(captured[seen.stream] for seen in self.streams if seen.name == name)


_ACTIONS = ("start", "report", "batch", "batch", "batch", "store", "store", "store")
_ODD_ACTIONS = ("acknowledged_elsewhere", "wrong_batch", "wrong_stored", "weights", "writer")


@settings(max_examples=400)
@given(st.lists(st.sampled_from(_ACTIONS + _ODD_ACTIONS), max_size=40), st.data())
def test_the_ledger_adds_up_at_every_moment(actions: list[str], data: st.DataObject) -> None:
    model = _Model()
    model.start(data)
    for action in actions:
        getattr(model, action)(data)
        model.assert_ledger()
    while model.on_the_way:
        model.store(data)
    model.assert_ledger()
    for seen in model.streams:
        told = model.house.listeners[seen.stream].acknowledgement()
        assert told.acknowledged == told.expected == seen.expected


def test_a_ledger_that_does_not_add_up_says_so() -> None:
    house = _with_a_stream()
    house.take_batch(a_batch(0, 10))
    house.writers["a"].lane.in_flight -= 1
    assert _ledger(house)["balanced"] is False


def test_a_writer_that_stored_other_than_what_its_share_had_is_not_believed() -> None:
    house = _with_a_stream()
    house.take_batch(a_batch(0, 10))
    with pytest.raises(WireError):
        house.take_stored(_stored("a", 0, 2), 0.0)
    assert (_ledger(house)["in_flight"], _ledger(house)["balanced"]) == (10, True)


def test_of_earlier_streams_that_are_settled_only_the_sums_are_kept() -> None:
    house = _house(a=1)
    for start in range(50):
        now_s = 10.0 * start
        stream = f"local.{start:08x}"
        house.take_listener_report(_listener_report(stream), b"", now_s)
        house.take_batch(a_batch(0, 10, stream))
        house.take_stored(_stored("a", start, 9, 1), now_s)
    assert len(house.listeners) == 1
    ledger = _ledger(house)
    assert (ledger["captured"], ledger["stored"], ledger["expired"], ledger["balanced"]) == (500, 450, 50, True)


def test_an_earlier_stream_that_is_not_settled_is_kept() -> None:
    house = _house(a=1)
    house.take_listener_report(_listener_report(), b"", 0.0)
    house.take_batch(a_batch(0, 10))
    house.take_listener_report(_listener_report("local.00000002"), b"", 10.0)
    assert _ledger(house)["in_flight"] == 10
    house.take_stored(_stored("a", 0, 10), 10.0)
    house.take_listener_report(_listener_report("local.00000003"), b"", 11.0)
    assert list(house.listeners) == ["local.00000002", "local.00000003"]
    assert (_ledger(house)["captured"], _ledger(house)["balanced"]) == (10, True)


def test_a_batch_is_split_by_weight_in_contiguous_shares() -> None:
    house = _with_a_stream(a=30, b=0, c=70)
    assert house.take_batch(a_batch(0, 10))
    assert house.take_batch(a_batch(10, 20))
    assert _shares(house, "a") == [[0, 1, 2], list(range(10, 16))]
    assert _shares(house, "b") == []
    assert _shares(house, "c") == [list(range(3, 10)), list(range(16, 30))]


@pytest.mark.parametrize("first", [0, 9, 11, 20])
def test_a_batch_out_of_order_is_refused_and_leaves_no_trace(first: int) -> None:
    house = _with_a_stream()
    house.take_batch(a_batch(0, 10))
    _shares(house, "a")
    before = status(house, 0.0)
    assert not house.take_batch(a_batch(first, 10))
    assert status(house, 0.0) == before
    assert _shares(house, "a") == []
    assert house.take_batch(a_batch(10, 10))


def test_a_batch_of_an_unknown_stream_is_refused() -> None:
    house = _with_a_stream()
    assert not house.take_batch(a_batch(0, 10, "local.00000002"))
    assert _ledger(house)["captured"] == 0


def test_a_batch_is_acknowledged_when_all_its_shares_are_stored_and_not_before() -> None:
    house = _with_a_stream()
    house.take_batch(a_batch(0, 10))
    assert house.take_stored(_stored("b", 0, 6, 1), 0.0) is None
    listener = house.take_stored(_stored("a", 0, 3), 0.0)
    assert listener is house.listeners[STREAM]
    told = listener.acknowledgement()
    assert (told.acknowledged, told.expired, told.expected) == (10, 1, 10)


def test_acknowledgements_echo_the_last_report_and_go_to_where_it_came_from() -> None:
    house = _with_a_stream()
    house.take_listener_report(_listener_report(number=8, sent=30, captured=30), b"moved", 1.0)
    listener = house.listeners[STREAM]
    told = listener.acknowledgement()
    assert (told.report, told.sent, listener.address) == (8, 30, b"moved")


def test_a_new_router_begins_where_the_listener_stands_and_a_known_stream_does_not_begin_again() -> None:
    house = _house()
    house.take_listener_report(_listener_report(base=100, sent=140, expired=20, captured=150), b"", 0.0)
    assert house.listeners[STREAM].acknowledgement().expected == 100
    assert _ledger(house) == {
        "captured": 150,
        "stored": 80,
        "expired": 20,
        "dropped": 0,
        "in_flight": 50,
        "spooled": 0,
        "balanced": True,
    }
    house.take_listener_report(_listener_report(base=90, sent=140, captured=150), b"", 0.0)
    assert house.listeners[STREAM].acknowledgement().expected == 100


def test_what_an_earlier_start_of_a_listener_had_not_sent_counts_as_dropped() -> None:
    house = _with_a_stream()
    house.take_batch(a_batch(0, 10))
    house.take_listener_report(_listener_report(captured=500, kernel_drops=5), b"", 0.0)
    house.take_listener_report(_listener_report("local.00000002", captured=7, kernel_drops=1), b"", 0.0)
    told = status(house, 0.0)
    assert (told["ledger"]["captured"], told["ledger"]["dropped"], told["ledger"]["in_flight"]) == (507, 490, 17)
    assert told["listeners"]["local"]["kernel_drops"] == 6


def test_an_unknown_writers_report_gets_no_answer() -> None:
    house = _house()
    assert house.take_writer_report(_writer_report("nobody"), b"", 0.0) is None
    assert status(house, 0.0)["writers"].keys() == {"a", "b"}


def test_a_writers_report_is_answered_by_its_own_lanes_mark() -> None:
    house = _with_a_stream()
    house.take_batch(a_batch(0, 10))
    house.take_stored(_stored("a", 0, 3), 0.0)
    marks = {name: house.take_writer_report(_writer_report(name), name.encode(), 0.0) for name in "ab"}
    assert {name: mark.base for name, mark in marks.items() if mark} == {"a": 1, "b": 0}
    assert house.writers["b"].address == b"b"


@pytest.mark.parametrize(
    ("healthy", "waited_s", "health"),
    [
        (True, 0, "up"),
        (True, _ABSENT_AFTER_S, "up"),
        (True, _ABSENT_AFTER_S + 0.01, "absent"),
        (False, 0, "down"),
        (False, _ABSENT_AFTER_S + 0.01, "absent"),
    ],
)
def test_a_writers_health_is_its_last_reports_for_three_periods(healthy: bool, waited_s: float, health: str) -> None:
    house = _house()
    house.take_writer_report(_writer_report("a", healthy, "" if healthy else "OOM"), b"", 100.0)
    writers = status(house, 100.0 + waited_s)["writers"]
    assert (writers["a"]["health"], writers["a"]["reason"]) == (health, "" if healthy else "OOM")
    assert (writers["b"]["health"], writers["b"]["reason"]) == ("absent", "has not reported yet")


def test_a_listener_is_up_for_three_periods_after_its_last_report() -> None:
    house = _with_a_stream()
    house.take_listener_report(_listener_report(), b"", 100.0)
    health = [
        status(house, now_s)["listeners"]["local"]["health"]
        for now_s in (100 + _ABSENT_AFTER_S, 100.01 + _ABSENT_AFTER_S)
    ]
    assert health == ["up", "absent"]


def test_what_an_earlier_router_acknowledged_after_the_stream_was_opened_is_not_waited_for() -> None:
    house = _house(a=1)
    house.take_listener_report(_listener_report(base=100, sent=300, captured=300), b"", 0.0)
    listener = house.take_listener_report(_listener_report(base=150, sent=300, expired=3, captured=300), b"", 0.0)
    acknowledgement = listener.acknowledgement()
    assert (acknowledgement.acknowledged, acknowledgement.expected, acknowledgement.expired) == (150, 150, 3)
    assert house.take_batch(a_batch(150, 150))
    house.take_stored(_stored("a", 0, 150), 0.0)
    assert listener.acknowledgement().acknowledged == 300
    ledger = _ledger(house)
    assert (ledger["captured"], ledger["stored"], ledger["expired"], ledger["balanced"]) == (300, 297, 3, True)


def test_the_status_is_as_the_design_says() -> None:
    house = _house(a=30, b=70)
    house.take_listener_report(_listener_report(captured=1000, kernel_drops=4, undecoded=2), b"", 0.0)
    house.take_batch(a_batch(0, 1000))
    house.take_stored(_stored("a", 0, 300), 0.0)
    house.take_stored(_stored("b", 0, 690, 10), 0.0)
    house.take_writer_report(_writer_report("a"), b"", 0.0)
    house.change_weights({"weights": {"a": 10}})
    observed = {name: dict.fromkeys(("10s", "1m", "5m"), part) for name, part in (("a", 0.30303), ("b", 0.69697))}
    assert status(house, 0.0) == {
        "version": 2,
        "writers": {
            "a": {
                "redis": "redis://a:6379/0",
                "configured": 30,
                "weight": 10,
                "share": 0.125,
                "observed": observed["a"],
                "state": "ready",
                "health": "up",
                "reason": "",
                "stored": 300,
                "in_flight": 0,
            },
            "b": {
                "redis": "redis://b:6379/0",
                "configured": 70,
                "weight": 70,
                "share": 0.875,
                "observed": observed["b"],
                "state": "ready",
                "health": "absent",
                "reason": "has not reported yet",
                "stored": 690,
                "in_flight": 0,
            },
        },
        "listeners": {
            "local": {
                "source": "capture",
                "health": "up",
                "captured": 1000,
                "kernel_drops": 4,
                "undecoded": 2,
                "stored": 990,
                "in_flight": 0,
                "spooled": 0,
                "expired": 10,
                "dropped": 0,
            }
        },
        "ledger": {
            "captured": 1000,
            "stored": 990,
            "expired": 10,
            "dropped": 0,
            "in_flight": 0,
            "spooled": 0,
            "balanced": True,
        },
    }


def test_weights_are_given_and_changed() -> None:
    house = _house(a=30, b=70)
    unchanged = {
        "version": 1,
        "weights": {"a": 30, "b": 70},
        "configured": {"a": 30, "b": 70},
        "shares": {"a": 0.3, "b": 0.7},
    }
    assert house.change_weights({}) == unchanged
    assert house.change_weights({"weights": {}}) == unchanged
    assert house.change_weights({"weights": {"a": 0}}) == unchanged | {
        "version": 2,
        "weights": {"a": 0, "b": 70},
        "shares": {"a": 0, "b": 1},
    }


@pytest.mark.parametrize(
    "arguments",
    [{"weight": {"a": 1}}, {"weights": [1, 2]}, {"weights": None}, {"weights": {1: 2}}, {"weights": {}, "a": 1}],
)
def test_what_is_no_request_for_weights_is_refused(arguments: dict[str, Any]) -> None:
    house = _house()
    with pytest.raises(ControlError, match="weights takes") as refusal:
        house.change_weights(arguments)
    assert refusal.value.code == "bad_request"
    assert house.weights.version == 1


def test_a_change_applies_to_the_next_batch() -> None:
    house = _with_a_stream()
    house.take_batch(a_batch(0, 10))
    house.change_weights({"weights": {"a": 70, "b": 30}})
    house.take_batch(a_batch(10, 10))
    assert [len(records) for records in _shares(house, "a")] == [3, 7]
