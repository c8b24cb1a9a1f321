"""The inbox: one router's shares, in order and once each, and what that router does not know yet to be stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapfan.messages import Mark, Stored
from writers import inbox as of_inbox
from writers.inbox import Inbox, stored_messages
from writers.storing import StoredShare

_ROUTER, _OTHER = "0123abcd", "4567ef01"


def _mark(router: str = _ROUTER, number: int = 1, base: int = 0, sent: int = 0) -> Mark:
    return Mark(router=router, number=number, base=base, sent=sent)


def _begun(base: int = 0) -> Inbox:
    inbox = Inbox()
    inbox.take_mark(_mark(base=base, sent=base))
    return inbox


def _stored(number: int, router: str = _ROUTER, shares: int = 1) -> Stored:
    return Stored(name="a", router=router, number=number, shares=shares, stored=shares)


def _takes(inbox: Inbox, number: int, count: int = 1, router: str = _ROUTER) -> list[int]:
    return list(inbox.take_shares(router, number, count))


def test_before_the_first_mark_no_share_is_taken() -> None:
    inbox = Inbox()
    assert inbox.router is None
    assert _takes(inbox, 0) == []
    assert inbox.expected == 0


def test_the_first_mark_of_a_router_says_where_to_begin() -> None:
    inbox = Inbox()
    assert inbox.take_mark(_mark(number=7, base=5, sent=9))
    assert (inbox.router, inbox.expected, inbox.mark, inbox.sent) == (_ROUTER, 5, 7, 9)


@pytest.mark.parametrize("base", [0, 5, 6])
def test_a_later_mark_is_echoed_and_does_not_move_what_is_expected(base: int) -> None:
    inbox = _begun(base=5)
    inbox.take_shares(_ROUTER, 5, 1)
    assert not inbox.take_mark(_mark(number=8, base=base, sent=30))
    assert (inbox.expected, inbox.mark, inbox.sent) == (6, 8, 30)


def test_what_the_router_does_not_keep_any_more_is_not_waited_for() -> None:
    """An earlier start of the writer had stored it, and the router learned that late."""
    inbox = _begun(base=5)
    assert not inbox.take_mark(_mark(number=2, base=7, sent=9))
    assert _takes(inbox, 5) == []
    assert _takes(inbox, 7) == [7]


def test_another_routers_mark_begins_anew() -> None:
    inbox = _begun(base=5)
    assert inbox.take_mark(_mark(_OTHER, number=1, base=0, sent=2))
    assert (inbox.router, inbox.expected, inbox.mark, inbox.sent) == (_OTHER, 0, 1, 2)
    assert _takes(inbox, 5) == []
    assert _takes(inbox, 0, router=_OTHER) == [0]


def test_shares_are_taken_in_order() -> None:
    inbox = _begun(base=3)
    assert [_takes(inbox, 3), _takes(inbox, 4, 3), _takes(inbox, 7)] == [[3], [4, 5, 6], [7]]
    assert inbox.expected == 8


@pytest.mark.parametrize(
    ("router", "number", "count"),
    [(_ROUTER, 2, 1), (_ROUTER, 4, 1), (_ROUTER, 0, 1), (_ROUTER, 0, 3), (_ROUTER, 4, 3), (_OTHER, 3, 1), ("", 3, 2)],
)
def test_shares_without_the_expected_one_are_not_taken(router: str, number: int, count: int) -> None:
    """Some that came already, some after a gap, and some of a router that has not sent a mark."""
    inbox = _begun(base=3)
    assert _takes(inbox, number, count, router) == []
    assert inbox.expected == 3
    assert _takes(inbox, 3) == [3]
    assert _takes(inbox, 3) == []


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8)), max_size=20))
def test_each_share_is_taken_once_and_in_order_however_messages_overlap(messages: list[tuple[int, int]]) -> None:
    inbox, taken = _begun(), list[int]()
    for number, count in messages:
        before = inbox.expected
        found = _takes(inbox, number, count)
        assert set(found) <= set(range(number, number + count))
        assert bool(found) == (number <= before < number + count)
        taken += found
    assert taken == list(range(inbox.expected))


def test_what_is_stored_is_kept_until_a_mark_shows_that_the_router_knows() -> None:
    inbox = _begun()
    for number in range(4):
        inbox.take_shares(_ROUTER, number, 1)
        inbox.add_stored(_stored(number))
    inbox.take_mark(_mark(number=2, base=0, sent=4))
    assert inbox.unconfirmed == [_stored(number) for number in range(4)]
    inbox.take_mark(_mark(number=3, base=2, sent=4))
    assert inbox.unconfirmed == [_stored(2), _stored(3)]
    inbox.take_mark(_mark(number=4, base=4, sent=4))
    assert inbox.unconfirmed == []


def test_a_run_of_shares_is_kept_until_the_router_knows_of_all_of_it() -> None:
    inbox = _begun()
    inbox.take_shares(_ROUTER, 0, 3)
    inbox.add_stored(_stored(0, shares=3))
    inbox.take_mark(_mark(number=2, base=2, sent=3))
    assert inbox.unconfirmed == [_stored(0, shares=3)]
    inbox.take_mark(_mark(number=3, base=3, sent=3))
    assert inbox.unconfirmed == []


def test_what_another_router_sent_is_not_told_to_this_one() -> None:
    inbox = _begun()
    inbox.take_shares(_ROUTER, 0, 1)
    inbox.take_shares(_ROUTER, 1, 1)
    inbox.add_stored(_stored(0))
    inbox.take_mark(_mark(_OTHER, base=0))
    inbox.add_stored(_stored(1))
    assert inbox.unconfirmed == []


def test_shares_that_follow_each_other_are_told_together() -> None:
    shares = [StoredShare(_ROUTER, 4, 10, 0), StoredShare(_ROUTER, 5, 7, 0), StoredShare(_ROUTER, 7, 3, 2)]
    shares += [StoredShare(_OTHER, 8, 1, 0), StoredShare(_OTHER, 9, 0, 5), StoredShare(_OTHER, 10, 6, 0)]
    assert stored_messages("a", shares) == [
        Stored(name="a", router=_ROUTER, number=4, shares=2, stored=17),
        Stored(name="a", router=_ROUTER, number=7, shares=1, stored=3, expired=[2]),
        Stored(name="a", router=_OTHER, number=8, shares=3, stored=7, expired=[0, 5, 0]),
    ]
    assert stored_messages("a", []) == []


def test_no_more_shares_are_told_together_than_a_message_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_inbox, "MAX_PARTS", 2)
    told = stored_messages("a", [StoredShare(_ROUTER, number, 1, 0) for number in range(5)])
    assert [(message.number, message.shares) for message in told] == [(0, 2), (2, 2), (4, 1)]
