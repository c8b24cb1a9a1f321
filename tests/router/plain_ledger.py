"""A house, and beside it the plainest count of what must be in it: record by record, with what became of each."""

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import structlog
from hypothesis import strategies as st

from router.house import House
from router.ledger import LedgerFile
from router.status import status
from tapfan.losses import REASONS, Losses, Reason
from tapfan.messages import Gap, Stored
from tapfan.wire import read_shares, unpack
from tests.router.housing import RISE, ROUTER, TTL_MS, a_house, a_listener_report, a_writer_report, change, stored
from tests.router.seen import Seen
from tests.router.sharing import a_batch

_NAMES = ("local", "edge")
_WEIGHTS = {"a": 30, "b": 70, "c": 0}
_reasons: st.SearchStrategy[Reason] = st.sampled_from(REASONS)

Record = tuple[str, int]  # its stream and its sequence number
Key = tuple[str, int]  # of a share: its writer and its number


@dataclass
class Model:
    """Actions that happen to a house, each followed by a comparison with the plain count."""

    house: House = field(default_factory=lambda: a_house(**_WEIGHTS))
    streams: list[Seen] = field(default_factory=list)
    on_the_way: dict[Key, list[Record]] = field(default_factory=dict)
    late: list[tuple[Key, int]] = field(default_factory=list)  # shares taken away or stored, with their sizes
    held: list[Record] = field(default_factory=list)
    numbers: Counter[str] = field(default_factory=Counter)  # of the next share, by writer
    stored_by: Counter[str] = field(default_factory=Counter)
    weights: dict[str, int] = field(default_factory=_WEIGHTS.copy)
    effective: dict[str, int] = field(default_factory=_WEIGHTS.copy)
    counts: Counter[str] = field(default_factory=Counter)  # since the effective weights changed
    now_s: float = 0.0

    @property
    def known(self) -> list[Seen]:
        """The streams of which the house has more than sums."""
        return [seen for seen in self.streams if not seen.summed_up]

    def _pick(self, data: st.DataObject, streams: list[Seen] | None = None) -> Seen:
        return data.draw(st.sampled_from(self.known if streams is None else streams))

    def _current(self, name: str) -> Seen | None:
        return next((seen for seen in reversed(self.streams) if seen.name == name and seen.counted_from == 0), None)

    def _leftovers(self, name: str) -> list[str]:
        return [seen.stream for seen in self.known if seen.name == name and self._is_leftover(seen)]

    def _is_leftover(self, seen: Seen) -> bool:
        return not seen.ended and seen is not self._current(seen.name)

    # What listeners do.

    def start(self, data: st.DataObject) -> None:
        """A listener starts, or is found by a router that is new; of its earlier streams there is something or not."""
        name = data.draw(st.sampled_from(_NAMES))
        for seen in [seen for seen in self.known if seen.name == name and not seen.ended]:
            if data.draw(st.booleans()):
                self._leave_over(seen, data)
            else:
                seen.ended = True
        base = data.draw(st.one_of(st.just(0), st.integers(0, 1000)))
        lost = self._some_lost(data, base)
        seen = Seen(name, f"{name}.{len(self.streams):08x}", base, lost, 0, base, base)
        self.streams.append(seen)
        self._report(seen)

    def leftover(self, data: st.DataObject) -> None:
        """A listener tells of a stream in its spool that the router does not know."""
        seen = self._pick(data)
        current = self._current(seen.name)
        if current is None:
            return
        base = data.draw(st.integers(1, 1000))
        captured = base + data.draw(st.integers(1, 30))
        left = Seen(seen.name, f"{seen.name}.{len(self.streams):08x}", base, Counter(), base, base, captured)
        left.spooled = data.draw(st.integers(0, captured - base))
        self.streams.append(left)
        self._report(left)
        self._report(current)

    def _leave_over(self, seen: Seen, data: st.DataObject) -> None:
        """Another start finds a part of a stream in its spool, which may begin and end anywhere."""
        base = data.draw(st.integers(seen.counted_from, seen.captured + 5))
        end = data.draw(st.integers(base, base + 30))
        seen.spooled = data.draw(st.integers(0, end - base))
        if base > seen.expected:
            reason: Reason = "dropped_untracked" if seen.restored else "dropped_listener_killed"
            seen.take(base, dict.fromkeys(range(seen.expected, base), reason))
        seen.captured = max(seen.captured, end)
        seen.restored = False
        report = a_listener_report(
            seen.stream, live=False, base=base, sent=base, captured=end, spooled=seen.spooled, number=1
        )
        address = b"start %d" % len(self.streams)  # of the process that has just started
        self.house.take_listener_report(report, address, self.now_s)

    def report(self, data: st.DataObject) -> None:
        """A listener reports; of what it captures into, that it captured more."""
        seen = self._pick(data)
        if seen.ended:
            return
        base = seen.acknowledged
        if seen is self._current(seen.name):
            if seen.restored:  # the last acknowledgement of the earlier router may not have reached it
                base = data.draw(st.sampled_from([seen.base, *(end for end in seen.ends if end <= base)]))
                seen.forget_from(base)
            seen.captured += data.draw(st.integers(0, 50))
        seen.spooled = data.draw(st.integers(0, seen.unsent))
        self._report(seen, base)

    def acknowledged_elsewhere(self, data: st.DataObject) -> None:
        """A listener learns only now what an earlier router had settled, and will not send that to this one."""
        seen = self._current(self._pick(data).name)
        if seen is None:
            return
        end = seen.expected + data.draw(st.integers(1, 20))
        fates = {record: data.draw(st.none() | _reasons) for record in range(seen.expected, end)}
        seen.take(end, fates)
        seen.spooled = min(seen.spooled, seen.unsent)
        self._report(seen, end)

    def all_sent(self, data: st.DataObject) -> None:
        """A listener has nothing left over of an earlier stream any more."""
        seen = self._pick(data)
        current = self._current(seen.name)
        if self._is_leftover(seen) and current is not None:
            seen.ended = True
            self._report(current)

    def _report(self, seen: Seen, base: int | None = None) -> None:
        base = seen.acknowledged if base is None else base
        live = seen is self._current(seen.name)
        report = a_listener_report(
            seen.stream,
            live=live,
            base=base,
            sent=max(base, seen.expected),
            lost=dict(seen.lost(base)) if live else {},
            captured=seen.captured,
            spooled=min(seen.spooled, seen.unsent),
            leftovers=self._leftovers(seen.name) if live else [],
        )
        self.house.take_listener_report(report, b"", self.now_s)
        seen.spooled, seen.restored = report.spooled, False

    def _some_lost(self, data: st.DataObject, records: int) -> Losses:
        lost: Losses = Counter()
        for reason in data.draw(st.lists(_reasons, max_size=2)):
            lost[reason] += data.draw(st.integers(0, records - lost.total()))
        return +lost

    # What comes in.

    def batch(self, data: st.DataObject) -> None:
        """The next batch of a stream comes in; the house takes none before it was told of the stream."""
        seen, count = self._pick(data), data.draw(st.integers(1, 20))
        first = seen.expected
        assert self.house.take_batch(a_batch(first, count, seen.stream)) is not seen.restored
        if not seen.restored:
            seen.take(first + count)
            self._placed((seen.stream, first + at) for at in range(count))

    def wrong_batch(self, data: st.DataObject) -> None:
        """A batch that came before, or comes after a gap, or is of a stream that nobody reported."""
        seen, first = self._pick(data), data.draw(st.integers(0, 1100))
        assert not self.house.take_batch(a_batch(first + (first == seen.expected), 3, seen.stream))
        assert not self.house.take_batch(a_batch(first, 3, "local.ffffffff"))

    def gap(self, data: st.DataObject) -> None:
        """A listener has the next records of a stream no more, nor perhaps some that came in."""
        seen, reason = self._pick(data), data.draw(_reasons)
        end = seen.expected + data.draw(st.integers(1, 20))
        before, acknowledged = seen.expected, seen.acknowledged
        first = max(0, before - data.draw(st.integers(0, 10)))
        told = self.house.take_gap(Gap(stream=seen.stream, first=first, end=end, reason=reason))
        if not seen.restored:
            seen.take(end, dict.fromkeys(range(before, end), reason))
        assert (told is not None) == (seen.acknowledged > acknowledged)

    def wrong_gap(self, data: st.DataObject) -> None:
        """A gap that is known, or not yet in its place."""
        seen, count = self._pick(data), data.draw(st.integers(1, 20))
        first = data.draw(st.sampled_from([max(0, seen.expected - count - 1), seen.expected + 1]))
        end = first + count if first > seen.expected else max(first + 1, seen.expected)
        if not first <= seen.expected < end:
            assert self.house.take_gap(Gap(stream=seen.stream, first=first, end=end, reason="dropped_disk")) is None

    # What writers do.

    def store(self, data: st.DataObject) -> None:
        """Shares are stored that follow each other, of whatever writer, though some of their records may have expired.

        Of some between the router may have known that already, or others have got them.
        """
        if not self.on_the_way:
            return
        name, number = data.draw(st.sampled_from(sorted(self.on_the_way)))
        end = data.draw(st.integers(number + 1, self.numbers[name]))
        acknowledged = {seen.stream: seen.acknowledged for seen in self.streams}
        expired, records_stored = [], 0
        for key in ((name, number) for number in range(number, end)):
            records = self.on_the_way.pop(key, [])
            gone = data.draw(st.one_of(st.just(0), st.integers(0, len(records))))
            for at, (stream, record) in enumerate(records):
                seen = next(seen for seen in self.streams if seen.stream == stream)
                seen.fates[record] = "expired_at_writer" if at < gone else None
            expired.append(gone)
            records_stored += len(records) - gone
            if records:
                self.late.append((key, len(records)))
        self.stored_by[name] += records_stored
        message = Stored(
            name=name,
            router=ROUTER,
            number=number,
            shares=end - number,
            stored=records_stored,
            expired=expired if any(expired) else [],
        )
        told = self.house.take_stored(message, self.now_s)
        moved = [seen.stream for seen in self.streams if seen.acknowledged > acknowledged[seen.stream]]
        assert sorted(listener.report.stream for listener in told) == sorted(moved)

    def store_late(self, data: st.DataObject) -> None:
        """A writer says again, or only when others have its shares, that it has stored one."""
        if self.late:
            key, records = data.draw(st.sampled_from(self.late))
            assert self.house.take_stored(stored(*key, records), self.now_s) == []

    def wrong_stored(self, data: st.DataObject) -> None:
        """Of a writer that is not there, of a share that is not, or of another router's share."""
        number = data.draw(st.integers(0, 5))
        assert self.house.take_stored(stored("nobody", number, 1), 0.0) == []
        assert self.house.take_stored(stored("a", 10**6 + number, 1), 0.0) == []
        assert self.house.take_stored(stored("a", number, 1, router="ffffffff"), 0.0) == []

    def writer(self, data: st.DataObject) -> None:
        """A writer reports that its Redis takes records or not; a new start of it has nothing yet."""
        name, healthy = data.draw(st.sampled_from("abc")), data.draw(st.booleans())
        router = data.draw(st.sampled_from([None, ROUTER]))
        mark = self.house.take_writer_report(a_writer_report(name, healthy, router=router), b"")
        before = self.on_the_way.keys()
        sent = self._placed()
        ours = {key: records for key, records in self.on_the_way.items() if key[0] == name}
        if router is None:
            assert {key: records for key, records in sent.items() if key[0] == name} == ours
        else:
            assert not sent.keys() & before
        assert mark is not None
        assert mark.base <= min((number for _, number in ours), default=self.numbers[name])

    def everybody_is_up(self) -> None:
        """All writers can store, and may."""
        self.weights = dict.fromkeys("abc", 1)
        change(self.house, "weights", weights=self.weights)
        self._placed()
        for _ in range(RISE):
            for name in "abc":
                self.house.take_writer_report(a_writer_report(name, router=ROUTER), b"")
                self._placed()

    def look(self, data: st.DataObject) -> None:
        """Time goes by, in which writers may not report, and streams come to their end."""
        self.now_s += data.draw(st.sampled_from([0.5, 2.0]))
        self.house.look(self.now_s)
        for seen in self.known:
            seen.summed_up = seen.stream not in self.house.listeners
            assert not seen.summed_up or (seen.ended and seen.acknowledged == seen.expected)
        self._placed()

    def change_weights(self, data: st.DataObject) -> None:
        """An operator changes the weights, so that one writer or another gets nothing."""
        weights = data.draw(st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any))
        self.weights = dict(zip("abc", weights, strict=True))
        change(self.house, "weights", weights=self.weights)
        self._placed()

    def _placed(self, came_in: Iterable[Record] = ()) -> dict[Key, list[Record]]:
        """Where the records are now that came in, were held, or were a writer's that is down; gives what is sent.

        Nobody gets any that is not up, and those that are up get exactly their parts.
        """
        up = {name for name, writer in self.house.writers.items() if writer.health.up}
        effective = {name: weight if name in up else 0 for name, weight in self.weights.items()}
        if effective != self.effective:
            self.effective, self.counts = effective, Counter()
        self.held += came_in
        waiting: list[Record] = []
        if any(effective.values()):
            waiting, self.held = self.held, []
            for key in [key for key in self.on_the_way if key[0] not in up]:
                self.late.append((key, len(self.on_the_way[key])))
                waiting += self.on_the_way.pop(key)
        sent = self._sent()
        new = {key: records for key, records in sent.items() if key not in self.on_the_way}
        assert sorted(record for records in new.values() for record in records) == sorted(waiting)
        assert all(self.on_the_way.get(key, records) == records for key, records in sent.items())
        for (name, number), records in new.items():
            assert (effective[name] > 0, number) == (True, self.numbers[name])
            self.numbers[name] += 1
            self.counts[name] += len(records)
        for name, weight in effective.items() if new else ():
            assert abs(self.counts[name] - Fraction(weight * self.counts.total(), sum(effective.values()))) < 1
        self.on_the_way = self.on_the_way | new
        return sent

    def _sent(self) -> dict[Key, list[Record]]:
        """What the lanes have to send, which then counts as sent."""
        sent = {}
        for name, writer in self.house.writers.items():
            while (message := writer.lane.next_unsent()) is not None:
                writer.lane.mark_sent()
                _, first, shares = read_shares(unpack(message))
                for number, batch in enumerate(shares, first):
                    assert batch.unpacked().records.timestamp.tolist() == list(range(batch.first, batch.end))
                    sent[name, number] = [(batch.stream, record) for record in range(batch.first, batch.end)]
        return sent

    # What the router does.

    def restart_router(self, _: st.DataObject) -> None:
        """Another router goes on with what is on disk; of what was on its way the listeners have to tell it."""
        with tempfile.TemporaryDirectory() as folder:
            file = LedgerFile(Path(folder) / "ledger.json", structlog.get_logger())
            file.save(self.house)
            self.house = a_house(**_WEIGHTS)
            file.restore(self.house)
        for seen in self.known:
            seen.forget_from(seen.acknowledged)
            seen.restored = True
        self.on_the_way, self.late, self.held = {}, [], []
        self.numbers, self.stored_by, self.counts = Counter(), Counter(), Counter()
        self.weights, self.effective = _WEIGHTS.copy(), _WEIGHTS.copy()

    # What must be so after each action.

    def compare(self) -> None:
        """The house says what the plain count does, of all listeners and of each."""
        told = status(self.house, self.now_s)
        self._compare(told["ledger"], self.streams)
        assert told["ledger"]["balanced"]
        assert told["listeners"].keys() == {seen.name for seen in self.streams}
        for name, entry in told["listeners"].items():
            self._compare(entry, [seen for seen in self.streams if seen.name == name])
        for name, entry in told["writers"].items():
            in_flight = sum(len(records) for key, records in self.on_the_way.items() if key[0] == name)
            assert (entry["in_flight"], entry["stored"]) == (in_flight, self.stored_by[name])
        assert self.house.held == len(self.held)
        for seen in self.known:
            acknowledgement = self.house.listeners[seen.stream].acknowledgement(TTL_MS)
            assert (acknowledgement.acknowledged, acknowledgement.expected) == (seen.acknowledged, seen.expected)
            assert Counter(acknowledgement.lost) == seen.lost(seen.acknowledged)

    @staticmethod
    def _compare(told: dict[str, Any], streams: list[Seen]) -> None:
        counts, lost = Counter[str](), Counter[str]()
        for seen in streams:
            counts.update(seen.counts())
            lost.update(seen.lost_in_all())
        assert {key: told[key] for key in counts} == counts
        assert told["lost"] == {reason: count for reason, count in lost.items() if count}
        for kind in ("expired", "dropped"):
            assert told[kind] == sum(count for reason, count in lost.items() if reason.startswith(kind))
