"""The outbox with a real spool: what goes where, in which order, and what the reports say of it."""

import pytest

from tapfan.messages import Acknowledgement, ListenerReport, PacketCounts
from tests.listener.outgoing import EPOCH, TTL_MS, Piece, acknowledgement_of, an_entry
from tests.listener.spooling import Spools
from tests.listener.starts import MANY, Starts

_FIRST, _SECOND, _THIRD = (f"local.0000000{number}" for number in (1, 2, 3))


def test_records_are_numbered_in_the_order_of_adding(starts: Starts) -> None:
    running = starts.start()
    running.add(2, 3)
    assert running.outbox.stream == _FIRST
    assert running.send() == [Piece(_FIRST, 0, 2, (0, 1)), Piece(_FIRST, 2, 5, (2, 3, 4))]
    assert running.send() == []


def test_while_there_is_room_nothing_touches_the_spool(starts: Starts, spools: Spools) -> None:
    running = starts.start()
    running.add(2, 3, 4)
    running.outbox.refill()
    assert running.live_report().spooled == 0
    assert spools.places() == []


@pytest.mark.parametrize(("records", "size"), [(10, MANY), (MANY, 2 * an_entry(1, 0, 4).size + 1)])
def test_past_the_window_everything_goes_to_the_spool(starts: Starts, spools: Spools, records: int, size: int) -> None:
    """Of records as of bytes; the batch that reaches the limit is the last that does not."""
    running = starts.start(records=records, size=size)
    running.add(4, 4, 4, 4, 4)
    assert running.sent() == [(0, 4), (4, 8), (8, 12)]
    report = running.live_report()
    assert (report.sent, report.captured, report.spooled) == (12, 20, 8)
    assert (running.outbox.unsettled, running.outbox.is_empty) == (20, False)
    assert spools.places() == [4, 5]


def test_refilling_takes_from_the_spool_what_there_is_room_for(starts: Starts) -> None:
    running = starts.start(records=10)
    running.add(5, 5, 5, 5, 5)
    running.outbox.refill()
    assert running.sent() == [(0, 5), (5, 10)]
    running.acknowledge(_FIRST, 5, 10)
    running.outbox.refill()
    assert running.sent() == [(10, 15)]
    running.acknowledge(_FIRST, 15)
    running.outbox.refill()
    assert running.sent() == [(15, 20), (20, 25)]


def test_refilling_takes_thousands_of_small_batches_at_once(starts: Starts) -> None:
    earlier = starts.start(always=True)
    earlier.add(*[1] * 1000)
    running = starts.start()
    running.outbox.refill()
    assert running.sent() == [(number, number + 1) for number in range(1000)]


def test_what_is_captured_while_the_spool_has_more_waits_behind_that(starts: Starts, spools: Spools) -> None:
    """Even where there is room again."""
    running = starts.start(records=10)
    running.add(10, 1)
    running.send()
    running.acknowledge(_FIRST, 10)
    running.add(2)
    assert running.send() == []
    running.outbox.refill()
    running.add(3)
    assert running.sent() == [(10, 11), (11, 13), (13, 16)]
    assert spools.places() == [2, 3]


def test_what_came_from_the_spool_is_gone_from_there_after_its_acknowledgement(starts: Starts, spools: Spools) -> None:
    running = starts.start(records=4)
    running.add(4, 4, 4)
    assert [(piece.first, piece.end) for piece in running.settle()] == [(0, 4), (4, 8), (8, 12)]
    assert running.outbox.is_empty
    assert spools.places() == []


def test_always_writes_before_it_sends_and_removes_after_the_acknowledgement(starts: Starts, spools: Spools) -> None:
    """With the next reports."""
    running = starts.start(always=True)
    running.add(2, 3, 4)
    assert spools.places() == [1, 2, 3]
    for told, places in ((False, [1, 2, 3]), (True, [2, 3])):
        running = starts.start(always=True)
        running.outbox.refill()
        running.send()
        running.acknowledge(_FIRST, 2, 5)
        if told:
            running.reports()
        assert spools.places() == places


def test_always_sends_what_it_wrote_without_reading_it_again(starts: Starts, spools: Spools) -> None:
    running = starts.start(always=True)
    running.add(2, 3)
    assert running.sent() == [(0, 2), (2, 5)]
    assert running.live_report().spooled == 0
    assert not running.spool.has_more
    running.outbox.refill()
    assert running.send() == []
    assert spools.places() == [1, 2]


def test_what_an_earlier_start_left_goes_first_and_as_what_it_was(starts: Starts) -> None:
    starts.start(always=True).add(2, 3)
    running = starts.start()
    running.add(4)
    assert (running.outbox.unsettled, running.outbox.is_empty) == (9, False)
    running.outbox.refill()
    running.add(1)
    assert running.send() == [
        Piece(_FIRST, 0, 2, (0, 1)),
        Piece(_FIRST, 2, 5, (2, 3, 4)),
        Piece(_SECOND, 0, 4, (0, 1, 2, 3)),
        Piece(_SECOND, 4, 5, (4,)),
    ]


def test_what_an_earlier_start_left_is_reported_until_it_is_settled(starts: Starts, spools: Spools) -> None:
    starts.start(always=True).add(2, 3)
    running = starts.start(always=True)
    running.add(1)
    reports = running.reports()
    assert [(report.stream, report.live, report.leftovers) for report in reports.values()] == [
        (_FIRST, False, []),
        (_SECOND, True, [_FIRST]),
    ]
    first = reports[_FIRST]
    assert (first.base, first.sent, first.captured, first.spooled) == (0, 0, 5, 5)
    running.outbox.refill()
    running.send()
    running.acknowledge(_FIRST, 2, 5)
    first = running.reports()[_FIRST]
    assert (first.base, first.sent, first.captured, first.spooled) == (2, 5, 5, 0)
    running.acknowledge(_FIRST, 5)
    assert [(report.stream, report.leftovers) for report in running.reports().values()] == [(_SECOND, [])]
    assert spools.places() == [3]


def test_several_earlier_starts_go_in_their_order(starts: Starts) -> None:
    for _ in range(2):
        starts.start(always=True).add(1, 2)
    running = starts.start(records=2)
    running.add(4)
    assert running.live_report().leftovers == [_FIRST, _SECOND]
    assert [(piece.stream, piece.first) for piece in running.settle()] == [
        (_FIRST, 0),
        (_FIRST, 1),
        (_SECOND, 0),
        (_SECOND, 1),
        (_THIRD, 0),
    ]
    assert running.live_report().leftovers == []


def test_what_the_router_had_acknowledged_to_an_earlier_start_is_not_sent_again(starts: Starts, spools: Spools) -> None:
    """It was not yet removed when the listener was killed."""
    starts.start(always=True).add(2, 3, 4)
    running = starts.start()
    running.acknowledge(_FIRST, 5)
    running.outbox.refill()
    assert running.sent() == [(5, 9)]
    running.acknowledge(_FIRST, 9)
    running.reports()
    assert running.outbox.is_empty
    assert spools.places() == []


def test_an_earlier_start_that_was_settled_altogether_is_only_removed(starts: Starts, spools: Spools) -> None:
    starts.start(always=True).add(2, 3)
    running = starts.start()
    running.acknowledge(_FIRST, 5)
    assert running.outbox.is_empty
    assert running.reports().keys() == {_FIRST, _SECOND}, "the next start would find it"
    running.outbox.refill()
    assert running.send() == []
    assert running.reports().keys() == {_SECOND}
    assert spools.places() == []


def test_what_only_a_killed_listener_had_in_memory_is_a_gap(starts: Starts) -> None:
    """Between what it had taken from the spool and what was spooled later."""
    running = starts.start(records=4)
    running.add(4, 2)
    running.send()
    running.acknowledge(_FIRST, 4)
    running.outbox.refill()
    running.add(1, 1, 3)
    assert running.live_report().spooled == 3
    assert [(piece.first, piece.end, piece.reason) for piece in starts.start().settle()] == [
        (4, 6, None),
        (6, 8, "dropped_listener_killed"),
        (8, 11, None),
    ]


def test_a_listener_that_was_stopped_has_left_everything_in_order(starts: Starts, spools: Spools) -> None:
    running = starts.start(records=6)
    running.add(3, 3, 2)
    running.send()
    running.acknowledge(_FIRST, 3, 6)
    running.outbox.refill()
    running.add(2, 4, 1)
    starts.stop(running)
    assert spools.places() == [2, 3, 4, 5, 6]
    running = starts.start()
    running.add(1)
    assert [(piece.stream, piece.first, piece.end, piece.reason) for piece in running.settle()] == [
        (_FIRST, 3, 6, None),
        (_FIRST, 6, 8, None),
        (_FIRST, 8, 10, None),
        (_FIRST, 10, 14, None),
        (_FIRST, 14, 15, None),
        (_SECOND, 0, 1, None),
    ]


def test_what_is_stopped_again_and_again_before_it_could_be_sent_stays_in_order(starts: Starts) -> None:
    for always in (False, True, False, False):
        running = starts.start(always=always, records=3)
        running.add(1, 2)
        running.outbox.refill()
        running.add(2)
        starts.stop(running)
    pieces = starts.start().settle()
    expected = [(f"local.0000000{start}", first) for start in (1, 2, 3, 4) for first in (0, 1, 3)]
    assert [(piece.stream, piece.first) for piece in pieces] == expected
    assert all(piece.timestamps for piece in pieces)


def test_what_has_expired_in_the_spool_is_a_gap(starts: Starts) -> None:
    starts.start(always=True).add(2, 3, 4)
    running = starts.start(ttl_s=1.0, now_ns=1_000_000_005)
    assert [(piece.first, piece.end, piece.reason) for piece in running.settle()] == [
        (0, 2, "expired_in_spool"),
        (2, 5, "expired_in_spool"),
        (5, 9, None),
    ]


def test_what_a_full_spool_dropped_is_a_gap(starts: Starts) -> None:
    size = len(an_entry(1, 0, 4).message)
    running = starts.start(records=4, limit=2 * size)
    running.add(4, 4, 4, 4, 4)
    assert running.live_report().spooled == 16
    assert [(piece.first, piece.end, piece.reason) for piece in running.settle()] == [
        (0, 4, None),
        (4, 12, "dropped_spool_full"),
        (12, 16, None),
        (16, 20, None),
    ]


def test_a_report_says_what_is_sent_and_what_is_settled(starts: Starts) -> None:
    running = starts.start(records=9)
    running.add(2, 3)
    running.send()
    running.add(4, 5)
    (first,) = running.outbox.reports("capture", PacketCounts(seen=9, kernel_drops=7, skipped={"bad_ip": 2}))
    running.outbox.take_acknowledgement(acknowledgement_of(first, 2, 5, {"expired_at_writer": 1}))
    (second,) = running.outbox.reports("accept", PacketCounts(kernel_drops=8))
    assert first == ListenerReport(
        name="local",
        stream=_FIRST,
        live=True,
        number=1,
        base=0,
        sent=5,
        lost={},
        captured=14,
        spooled=5,
        leftovers=[],
        packets=PacketCounts(seen=9, kernel_drops=7, skipped={"bad_ip": 2}),
        source="capture",
    )
    changed = {"number": 2, "base": 2, "lost": {"expired_at_writer": 1}, "packets": PacketCounts(kernel_drops=8)}
    assert second == first.model_copy(update=changed | {"source": "accept"})
    assert running.outbox.unsettled == 12
    assert running.sent() == [(5, 9)]
    assert running.live_report().sent == 9


def test_the_counters_are_of_the_stream_that_is_captured_into(starts: Starts) -> None:
    starts.start(always=True).add(2)
    reports = starts.start().reports("accept", PacketCounts(seen=7))
    found = [(report.packets, report.source) for report in reports.values()]
    assert found == [(PacketCounts(), "accept"), (PacketCounts(seen=7), "accept")]


def test_an_empty_outbox_reports_its_end(starts: Starts) -> None:
    running = starts.start()
    running.add(4)
    running.settle()
    report = running.live_report()
    assert (report.base, report.sent, report.captured, report.spooled) == (4, 4, 4, 0)
    assert (running.outbox.is_empty, running.outbox.unsettled, running.outbox.next_unsent()) == (True, 0, None)


@pytest.mark.parametrize("stream", ["local.ffffffff", "other.00000001", f"local.{EPOCH}"])
def test_an_acknowledgement_of_another_stream_is_ignored(starts: Starts, stream: str) -> None:
    running = starts.start()
    running.add(3, 3, 3)
    running.send()
    before = running.live_report()
    forged = Acknowledgement(stream=stream, acknowledged=6, lost={}, expected=0, report=1, sent=9, ttl_ms=TTL_MS)
    assert not running.outbox.take_acknowledgement(forged)
    assert running.live_report() == before.model_copy(update={"number": before.number + 1})


def test_what_is_lost_on_the_way_is_sent_again_and_only_of_its_stream(starts: Starts) -> None:
    starts.start(always=True).add(2, 3)
    running = starts.start()
    running.add(4)
    running.outbox.refill()
    running.send()
    assert running.acknowledge(_FIRST, 0, 2)
    assert running.sent() == [(2, 5)]
    assert not running.acknowledge(_FIRST, 5)
    assert running.acknowledge(_SECOND, 0, 0)
    assert running.sent() == [(0, 4)]
