"""The lane to a writer, against the writer's own inbox over a channel that loses messages, and restarts of both."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router import lanes
from router.lanes import Lane
from router.streams import OpenBatch, Stream
from tapfan.messages import Mark, Stored, WriterReport
from tapfan.wire import WireError
from tests.router.hop import Hop
from tests.router.housing import a_writer_report
from tests.router.sharing import a_part, shares_in

_EPOCH = "0123abcd"


_FAIR = [
    *(st.tuples(st.just(action), st.integers(1, 5)) for action in ("turn", "add", "send", "write", "store", "route")),
    st.tuples(st.just("report"), st.just(0)),
]
_LOSSES = [st.tuples(st.just(action), st.integers(1, 3)) for action in ("lose_there", "lose_back")]
_RESTARTS = [
    st.tuples(st.just(action), st.integers(1, 3)) for action in ("restart_writer", "restart_router", "route_late")
]
_FAILOVERS = [st.tuples(st.just("take_away"), st.just(0))]
_Steps = list[tuple[str, int]]


def _after(steps: Sequence[tuple[str, int]]) -> Hop:
    hop = Hop()
    for action, count in steps:
        getattr(hop, action)(count)
        _assert_consistent(hop)
    return hop


def _assert_consistent(hop: Hop) -> None:
    """Each start of the writer took each router's shares in order and once; what counts as stored is stored."""
    for writer in hop.writers:
        for router, numbers in writer.taken.items():
            assert numbers == sorted(set(numbers))
            assert all(number >= writer.bases[router] for number in numbers)
    assert hop.lane.in_flight == sum(hop.unstored.values())
    waited_for = {first + at for first, count in hop.unstored.items() for at in range(count)}
    assert set(range(hop.end)) - waited_for - set(hop.taken_away) <= set(hop.in_redis)


def _assert_settled(hop: Hop) -> None:
    assert not hop.unstored
    assert hop.lane.in_flight == 0
    assert hop.lane.next_unsent() is None
    assert set(range(hop.end)) - set(hop.taken_away) <= set(hop.in_redis) <= set(range(hop.end))
    assert not hop.writers[-1].waiting


@settings(max_examples=400)
@given(st.lists(st.one_of(*_FAIR, *_LOSSES), min_size=10, max_size=60))
@example([("report", 0), ("route", 1), ("add", 1), ("send", 1), ("write", 2), ("store", 1), ("lose_back", 1)])
@example([("report", 0), ("route", 1), ("add", 1), ("add", 1), ("send", 2), ("lose_there", 2), ("write", 1)])
def test_every_share_is_taken_once_and_in_order_whatever_is_lost(steps: _Steps) -> None:
    hop = _after(steps)
    hop.settle()
    _assert_consistent(hop)
    _assert_settled(hop)
    assert hop.in_redis == list(range(hop.end))
    assert hop.lane.stored == hop.end


@settings(max_examples=800)
@given(st.lists(st.one_of(*_FAIR, *_FAIR, *_LOSSES, *_LOSSES, *_RESTARTS), min_size=10, max_size=80))
@example([*[("turn", 1)] * 4, ("write", 1), ("store", 1), ("lose_back", 1), ("turn", 1), ("restart_writer", 1)])
@example([*[("turn", 1)] * 5, ("add", 1), ("restart_writer", 1), ("report", 0), ("route", 1), ("route_late", 1)])
def test_nothing_is_lost_whoever_restarts_and_whatever_is_lost(steps: _Steps) -> None:
    hop = _after(steps)
    hop.settle()
    _assert_consistent(hop)
    _assert_settled(hop)


@settings(max_examples=500)
@given(st.lists(st.one_of(*_FAIR, *_FAIR, *_FAILOVERS, *_LOSSES, *_RESTARTS), min_size=10, max_size=80))
@example([*[("turn", 1)] * 4, ("add", 3), ("send", 2), ("lose_there", 2), ("take_away", 0), ("turn", 1), ("turn", 1)])
@example([*[("turn", 2)] * 3, ("add", 1), ("send", 1), ("write", 5), ("take_away", 0), ("store", 5), ("route", 9)])
def test_what_others_got_meanwhile_is_not_waited_for_and_the_rest_is_stored(steps: _Steps) -> None:
    """A writer counts as down, by whatever was lost, and gets other shares when it is back."""
    hop = _after(steps)
    hop.settle()
    _assert_consistent(hop)
    _assert_settled(hop)
    hop.add(3)
    hop.settle()
    assert hop.in_redis[-3:] == [hop.end - 3, hop.end - 2, hop.end - 1]


@given(st.lists(st.one_of(*_FAIR), max_size=60))
def test_where_nothing_is_lost_nothing_is_sent_twice(steps: _Steps) -> None:
    """However late reports and marks are."""
    hop = Hop()
    hop.report()
    hop.route(1)
    hop.write(1)
    for action, count in [*steps, ("send", 10_000)]:
        getattr(hop, action)(count)
    assert hop.sent == list(range(len(hop.sent)))


def _lane(*counts: int) -> Lane:
    """A lane with shares of so many records, all sent."""
    lane = Lane(_EPOCH)
    for count in counts:
        _add(lane, 0, count)
    _send_all(lane)
    return lane


def _add(lane: Lane, first: int, records: int) -> None:
    """A share comes into the lane that is all of its batch."""
    lane.add(a_part(first, records), records, OpenBatch(Stream.begun(first, {}), first + records, records))


def _send_all(lane: Lane) -> list[int]:
    """Send all that is unsent; gives the shares' numbers."""
    numbers = []
    while (message := lane.next_unsent()) is not None:
        numbers += [number for _, number, _ in shares_in(message)]
        lane.mark_sent()
    return numbers


def _report(mark: Mark, expected: int, router: str | None = _EPOCH) -> WriterReport:
    """What a writer says that saw the mark."""
    return a_writer_report(router=router, expected=expected, mark=mark.number, sent=mark.sent)


def _new_writer() -> WriterReport:
    return _report(Mark(router=_EPOCH, number=0, base=0, sent=0), 0, router=None)


def test_a_message_carries_all_unsent_shares_with_their_router_their_numbers_and_their_records() -> None:
    lane = Lane(_EPOCH)
    _add(lane, 7, 2)
    _add(lane, 9, 3)
    message = lane.next_unsent()
    assert message is not None
    assert shares_in(message) == [(_EPOCH, 0, [7, 8]), (_EPOCH, 1, [9, 10, 11])]
    assert lane.in_flight == 5


def test_what_could_not_be_sent_is_the_next_once_more_with_what_came_since() -> None:
    lane = Lane(_EPOCH)
    _add(lane, 0, 1)
    assert lane.next_unsent() is not None
    _add(lane, 1, 1)
    assert _send_all(lane) == [0, 1]


def test_a_message_has_no_more_shares_than_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_MESSAGE_BYTES", 3 * len(a_part(0, 1)))
    assert _sent_together(2, 1, 1, 1, 1, 1, 200, 1) == [[0, 1], [2, 3, 4], [5], [6], [7]]
    monkeypatch.setattr(lanes, "MAX_PARTS", 2)
    assert _sent_together(1, 1, 1, 1, 1) == [[0, 1], [2, 3], [4]]


def _sent_together(*counts: int) -> list[list[int]]:
    """The numbers of the shares that come with one message, for each."""
    lane = Lane(_EPOCH)
    for count in counts:
        _add(lane, 0, count)
    together = []
    while (message := lane.next_unsent()) is not None:
        together.append([number for _, number, _ in shares_in(message)])
        lane.mark_sent()
    return together


def test_no_message_goes_on_behind_a_share_that_is_stored() -> None:
    lane = _lane(1, 1, 1, 1)
    lane.take_report(_new_writer())
    lane.take_stored(_stored(_EPOCH, 1, 1))
    message = lane.next_unsent()
    assert message is not None
    assert [number for _, number, _ in shares_in(message)] == [0]
    assert _send_all(lane) == [0, 2, 3]


def test_a_new_writer_gets_what_is_kept_from_the_oldest_on() -> None:
    lane = _lane(1, 1, 1)
    lane.take_stored(_stored(_EPOCH, 0, 1))
    mark = lane.take_report(_new_writer())
    assert (mark.router, mark.base, mark.sent) == (_EPOCH, 1, 1)
    assert _send_all(lane) == [1, 2]


def test_a_lane_that_keeps_nothing_lets_a_new_writer_begin_at_its_end() -> None:
    lane = _lane(1, 1)
    lane.take_stored(_stored(_EPOCH, 0, 1))
    lane.take_stored(_stored(_EPOCH, 1, 1))
    mark = lane.take_report(_new_writer())
    assert (mark.base, mark.sent) == (2, 2)
    assert _send_all(lane) == []


def test_a_gap_is_filled_from_its_beginning_and_once_however_many_reports_tell_of_it() -> None:
    lane = _lane(1, 1, 1)
    mark = lane.take_report(_new_writer())
    _send_all(lane)
    mark = lane.take_report(_report(mark, 0))
    answer = lane.take_report(_report(mark, 1))
    assert (answer.base, answer.sent) == (0, 1)
    assert _send_all(lane) == [1, 2]
    lane.take_report(_report(mark, 1))
    assert _send_all(lane) == []
    lane.take_report(_report(answer, 1))
    assert _send_all(lane) == []


def test_what_is_stored_while_it_waits_to_be_sent_again_is_not_sent_again() -> None:
    lane = _lane(1, 1, 1)
    lane.take_report(_new_writer())
    lane.take_stored(_stored(_EPOCH, 1, 1))
    assert _send_all(lane) == [0, 2]


@pytest.mark.parametrize(("router", "number"), [("ffffffff", 0), (_EPOCH, 1), (_EPOCH, 2**63 - 1)])
def test_what_another_router_sent_or_nobody_counts_as_nothing_stored(router: str, number: int) -> None:
    lane = _lane(4)
    assert not lane.take_stored(_stored(router, number, 4)).batches
    assert (lane.stored, lane.in_flight) == (0, 4)


def test_a_share_counts_as_stored_once() -> None:
    lane = _lane(4)
    assert lane.take_stored(_stored(_EPOCH, 0, 3, [1]))[1:] == ([4], [1])
    assert not lane.take_stored(_stored(_EPOCH, 0, 3, [1])).batches
    assert (lane.stored, lane.in_flight) == (3, 0)


def test_of_shares_that_are_said_to_be_stored_those_count_of_which_it_was_not_known() -> None:
    lane = _lane(4, 5, 6, 7)
    lane.take_stored(_stored(_EPOCH, 1, 5))
    assert lane.take_stored(_stored(_EPOCH, 0, 13, [0, 1, 2], shares=3))[1:] == ([4, 0, 6], [0, 0, 2])
    assert (lane.stored, lane.in_flight) == (13, 7)
    assert lane.take_stored(_stored(_EPOCH, 0, 20, shares=4)).records == [7]
    assert (lane.stored, lane.in_flight) == (20, 0)


def test_what_is_said_of_shares_that_there_are_not_counts_for_nothing() -> None:
    lane = _lane(4)
    settled = lane.take_stored(_stored(_EPOCH, 0, 0, [1, 2**48, 2**48], shares=3))
    assert settled[1:] == ([4], [1])
    assert (lane.stored, lane.in_flight) == (3, 0)


def test_a_writer_that_expects_more_than_there_is_gets_what_comes_next() -> None:
    lane = _lane(1)
    mark = lane.take_report(_new_writer())
    _send_all(lane)
    lane.take_report(a_writer_report(router=_EPOCH, expected=1000, mark=mark.number, sent=2000))
    _add(lane, 1, 1)
    assert _send_all(lane) == [1]


def test_what_is_taken_away_is_given_as_it_was_in_order_and_its_numbers_do_not_come_again() -> None:
    lane, stream = Lane(_EPOCH), Stream.begun(0, {})
    batches = [stream.receive(2), stream.receive(5)]
    lane.add(a_part(0, 2), 2, batches[0])
    lane.add(a_part(2, 3), 3, batches[1])
    lane.next_unsent()
    lane.mark_sent()
    kept = lane.take_away()
    assert [(share.records, share.batch) for share in kept] == [(2, batches[0]), (3, batches[1])]
    assert [(share.share.first, share.share.end) for share in kept] == [(0, 2), (2, 5)]
    assert (lane.in_flight, lane.take_away(), lane.next_unsent()) == (0, [], None)
    _add(lane, 5, 1)
    assert _send_all(lane) == [2]


def test_a_late_word_that_what_was_taken_away_is_stored_changes_nothing() -> None:
    lane = _lane(4)
    lane.take_away()
    assert not lane.take_stored(_stored(_EPOCH, 0, 4)).batches
    assert (lane.stored, lane.in_flight) == (0, 0)


def test_a_writer_whose_shares_were_taken_away_is_told_to_wait_for_none_of_them() -> None:
    lane = _lane(1, 1, 1)
    mark = lane.take_report(_new_writer())
    _send_all(lane)
    lane.take_away()
    mark = lane.take_report(_report(mark, 1))
    assert mark.base == 3
    _add(lane, 9, 1)
    mark = lane.take_report(_report(mark, 3))
    assert (mark.base, _send_all(lane)) == (3, [3])


@pytest.mark.parametrize(
    ("stored", "expired"),
    [(8, []), (10, []), (9, [1, 0]), (0, []), (5, [0, 5]), (5, [4, 1]), (2**48, [2**48, 2**48])],
)
def test_counts_that_are_not_those_of_the_shares_are_refused(stored: int, expired: list[int]) -> None:
    lane = _lane(4, 5)
    with pytest.raises(WireError, match=r"of 2 shares of 9|more expired of a share than it had"):
        lane.take_stored(_stored(_EPOCH, 0, stored, expired, shares=2))
    assert (lane.stored, lane.in_flight) == (0, 9)
    assert lane.take_stored(_stored(_EPOCH, 0, 9, shares=2)).records == [4, 5]


def _stored(router: str, number: int, stored: int, expired: Sequence[int] = (), shares: int = 1) -> Stored:
    return Stored(name="a", router=router, number=number, shares=shares, stored=stored, expired=list(expired))
