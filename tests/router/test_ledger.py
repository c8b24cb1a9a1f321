"""The ledger adds up whatever comes in, and nothing is acknowledged before it is stored."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.house import House, Listener
from router.status import status
from tapfan.wire import WireError
from tests.router.housing import (
    a_house,
    a_listener_report,
    a_writer_report,
    ledger_of,
    shares_of,
    stored,
    with_a_stream,
)
from tests.router.sharing import a_batch

_NAMES = ("local", "edge")


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

    house: House = field(default_factory=lambda: a_house(a=30, b=70, c=0))
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
        report = a_listener_report(
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
            for records in shares_of(self.house, name):
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
        message = stored(name, number, len(records) - expired, expired)
        listener = self.house.take_stored(message, 0.0)
        if listener is not None:
            assert listener.report.stream == seen.stream
            self._assert_acknowledgement(listener, seen)
        assert self.house.take_stored(message, 0.0) is None

    def wrong_stored(self, data: st.DataObject) -> None:
        """Of a writer that is not there, of a share that is not, or of another router's share."""
        number = data.draw(st.integers(0, 5))
        assert self.house.take_stored(stored("nobody", number, 1), 0.0) is None
        assert self.house.take_stored(stored("a", 10**6 + number, 1), 0.0) is None
        assert self.house.take_stored(stored("a", number, 1, router="ffffffff"), 0.0) is None

    def weights(self, data: st.DataObject) -> None:
        """An operator changes the weights, so that one writer or another gets nothing."""
        weights = data.draw(st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any))
        self.house.change_weights({"weights": dict(zip("abc", weights, strict=True))})

    def writer(self, data: st.DataObject) -> None:
        """A writer starts; what it was sent comes again, under the same numbers."""
        name = data.draw(st.sampled_from("abc"))
        self.house.take_writer_report(a_writer_report(name), b"", 0.0)
        assert shares_of(self.house, name) == [records for at, _, _, records in self._in_order() if at == name]

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
    house = with_a_stream()
    house.take_batch(a_batch(0, 10))
    house.writers["a"].lane.in_flight -= 1
    assert ledger_of(house)["balanced"] is False


def test_a_writer_that_stored_other_than_what_its_share_had_is_not_believed() -> None:
    house = with_a_stream()
    house.take_batch(a_batch(0, 10))
    with pytest.raises(WireError):
        house.take_stored(stored("a", 0, 2), 0.0)
    assert (ledger_of(house)["in_flight"], ledger_of(house)["balanced"]) == (10, True)


def test_of_earlier_streams_that_are_settled_only_the_sums_are_kept() -> None:
    house = a_house(a=1)
    for start in range(50):
        now_s = 10.0 * start
        stream = f"local.{start:08x}"
        house.take_listener_report(a_listener_report(stream), b"", now_s)
        house.take_batch(a_batch(0, 10, stream))
        house.take_stored(stored("a", start, 9, 1), now_s)
    assert len(house.listeners) == 1
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["expired"], ledger["balanced"]) == (500, 450, 50, True)


def test_an_earlier_stream_that_is_not_settled_is_kept() -> None:
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(), b"", 0.0)
    house.take_batch(a_batch(0, 10))
    house.take_listener_report(a_listener_report("local.00000002"), b"", 10.0)
    assert ledger_of(house)["in_flight"] == 10
    house.take_stored(stored("a", 0, 10), 10.0)
    house.take_listener_report(a_listener_report("local.00000003"), b"", 11.0)
    assert list(house.listeners) == ["local.00000002", "local.00000003"]
    assert (ledger_of(house)["captured"], ledger_of(house)["balanced"]) == (10, True)
