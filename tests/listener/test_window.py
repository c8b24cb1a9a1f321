"""The window of one stream: what is kept, what is sent again, and what acknowledgements settle of it."""

from typing import Any

import pytest

from listener.window import Window
from tests.listener.outgoing import STREAM, a_gap, a_report, acknowledgement_of, an_entry, piece, put


def test_a_loss_is_made_good_once_however_many_acknowledgements_tell_of_it() -> None:
    """Those that answer a report from before the sending again tell of the first loss."""
    window = _window(2, 2)
    _send_all(window)
    reports = [a_report(window) for _ in range(3)]
    sent_again = []
    for report in reports:
        window.take_acknowledgement(acknowledgement_of(report, acknowledged=0, expected=0))
        sent_again += _send_all(window)
    assert sent_again == [0, 2]


def test_the_first_answer_after_sending_again_tells_whether_that_was_lost_too() -> None:
    window = _window(2, 2)
    for _ in range(3):
        _send_all(window)
        _, lost = window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=0, expected=0))
        assert lost


def test_what_is_stored_before_it_could_be_sent_again_is_not_sent() -> None:
    window = _window(2, 2, 2)
    early = a_report(window)
    _send_all(window)
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=0, expected=0))
    assert window.sent == 0
    window.take_acknowledgement(acknowledgement_of(early, acknowledged=4, expected=4))
    assert (window.base, window.sent, window.records) == (4, 4, 2)
    assert _send_all(window) == [4]


def test_sending_again_begins_at_the_first_batch_that_did_not_arrive() -> None:
    window = _window(3, 3, 3)
    _send_all(window)
    _, lost = window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=0, expected=3))
    assert (lost, window.sent) == (True, 3)
    assert _send_all(window) == [3, 6]


def test_sending_again_sends_a_whole_gap_of_which_the_receiver_has_a_part() -> None:
    """It had taken batches in its place from an earlier start."""
    window = _window(3)
    window.put(a_gap(2, 3, 9))
    _send_all(window)
    _, lost = window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=0, expected=6))
    assert lost
    assert _send_all(window) == [3]


def test_what_is_settled_is_given_back_once_and_in_order() -> None:
    window = _window(2, 2, 2)
    _send_all(window)
    report = a_report(window)
    settled, _ = window.take_acknowledgement(acknowledgement_of(report, acknowledged=4, expected=6))
    assert [entry.first for entry in settled] == [0, 2]
    assert window.take_acknowledgement(acknowledgement_of(report, acknowledged=4, expected=6)) == ([], False)
    settled, _ = window.take_acknowledgement(acknowledgement_of(report, acknowledged=6, expected=6))
    assert [entry.first for entry in settled] == [4]


def test_a_batch_is_kept_until_its_last_record_is_stored() -> None:
    window = _window(10)
    _send_all(window)
    report = a_report(window)
    window.take_acknowledgement(acknowledgement_of(report, acknowledged=9, expected=10))
    assert window.records == 10
    _, lost = window.take_acknowledgement(acknowledgement_of(report, acknowledged=9, expected=0))
    assert lost
    assert _send_all(window) == [0]


def test_a_settled_part_of_an_entry_is_below_the_base() -> None:
    """With those who are lost of it: a report would not add up otherwise."""
    window = Window(STREAM, 0, 20, live=False)
    window.put(an_entry(1, 0, 5))
    window.put(a_gap(0, 5, 10, "dropped_listener_killed"))
    report = a_report(window)
    window.take_acknowledgement(acknowledgement_of(report, 8, 8, {"expired_at_writer": 8}))
    assert (window.base, window.sent) == (8, 8)
    told = a_report(window)
    assert (told.base, told.sent, told.lost) == (8, 8, {"expired_at_writer": 8})
    assert _send_all(window) == [5]
    assert window.sent == 10


@pytest.mark.parametrize(
    "forged",
    [
        {"acknowledged": 10, "lost": {"expired_at_writer": 10}},
        {"acknowledged": 2, "lost": {"expired_at_writer": 2}},
        {"acknowledged": 0, "expected": 0},
    ],
)
def test_an_acknowledgement_of_what_cannot_be_is_ignored(forged: dict[str, Any]) -> None:
    """More than there is, and less than was acknowledged before."""
    window = _window(3, 3, 3)
    _send_all(window)
    report = a_report(window)
    window.take_acknowledgement(acknowledgement_of(report, acknowledged=3, expected=9))
    before = _state(window)
    message = acknowledgement_of(report, acknowledged=3, expected=9).model_copy(update=forged)
    assert window.take_acknowledgement(message) == ([], False)
    assert _state(window) == before


def test_what_the_receiver_was_not_yet_told_to_be_sent_is_not_lost() -> None:
    """The acknowledgement answers a report from before the last batch was sent."""
    window = _window(3)
    _send_all(window)
    report = a_report(window)
    put(window, 3)
    _send_all(window)
    assert window.take_acknowledgement(acknowledgement_of(report, acknowledged=0, expected=3)) == ([], False)
    assert window.sent == 6


def test_records_and_bytes_are_counted_of_what_is_kept() -> None:
    """A gap has no records, but is kept, too."""
    window = _window(3, 4)
    assert window.records == 7
    size = window.size
    window.put(a_gap(3, 7, 100))
    assert (window.records, window.end, window.captured) == (7, 100, 100)
    assert 0 < window.size - size < size / 2
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=7, expected=7))
    assert (window.records, window.size > 0) == (0, True)
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=100, expected=100))
    assert (window.records, window.size) == (0, 0)


def test_a_window_is_done_when_all_that_was_captured_is_settled_also_what_it_does_not_hold_yet() -> None:
    window = Window(STREAM, 100, 106, live=False)
    assert (window.base, window.sent, window.end, window.is_done) == (100, 100, 100, False)
    window.put(an_entry(1, 100, 3))
    _send_all(window)
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=103, expected=103))
    assert (window.base, window.is_done) == (103, False)
    window.take_acknowledgement(acknowledgement_of(a_report(window), acknowledged=106, expected=106))
    assert (window.base, window.sent, window.end, window.is_done) == (106, 106, 106, True)


def test_of_an_earlier_start_the_router_may_have_more_than_there_is() -> None:
    """What came last had been sent from memory, and was not in the spool."""
    window = Window(STREAM, 0, 3, live=False)
    window.put(an_entry(1, 0, 3))
    _send_all(window)
    settled, lost = window.take_acknowledgement(acknowledgement_of(a_report(window), 9, 12, {"expired_at_writer": 9}))
    assert ([entry.first for entry in settled], lost) == ([0], False)
    assert window.is_done
    assert a_report(window).base == 9


def test_only_what_is_not_on_disk_is_only_in_memory() -> None:
    window = Window(STREAM, 0, 0, live=True)
    for place, first, on_disk in ((1, 0, True), (2, 2, False), (3, 4, True)):
        window.put(an_entry(place, first, 2, on_disk=on_disk))
    assert [entry.place for entry in window.only_in_memory()] == [2]
    window.forget_disk()
    assert [entry.place for entry in window.only_in_memory()] == [1, 2, 3]
    assert _send_all(window) == [0, 2, 4]


def _window(*counts: int) -> Window:
    """A window with batches of so many records."""
    window = Window(STREAM, 0, 0, live=True)
    for count in counts:
        put(window, count)
    return window


def _state(window: Window) -> tuple[Any, ...]:
    return window.acknowledged, dict(window.lost), window.base, window.sent, window.end, window.records, window.size


def _send_all(window: Window) -> list[int]:
    """Send all that is not sent; gives the numbers of the first records."""
    firsts = []
    while (message := window.next_unsent()) is not None:
        firsts.append(piece(message).first)
        window.mark_sent()
    return firsts
