"""The inbox: one router's shares, in order and once each, and what that router does not know yet to be stored."""

import pytest

from tapfan.messages import Mark, Stored
from writers.inbox import Inbox

_ROUTER, _OTHER = "0123abcd", "4567ef01"


def _mark(router: str = _ROUTER, number: int = 1, base: int = 0, sent: int = 0) -> Mark:
    return Mark(router=router, number=number, base=base, sent=sent)


def _begun(base: int = 0) -> Inbox:
    inbox = Inbox()
    inbox.take_mark(_mark(base=base, sent=base))
    return inbox


def _stored(number: int, router: str = _ROUTER) -> Stored:
    return Stored(name="a", router=router, number=number, stored=1, expired=0)


def test_before_the_first_mark_no_share_is_taken() -> None:
    inbox = Inbox()
    assert inbox.router is None
    assert not inbox.take_share(_ROUTER, 0)
    assert inbox.expected == 0


def test_the_first_mark_of_a_router_says_where_to_begin() -> None:
    inbox = Inbox()
    assert inbox.take_mark(_mark(number=7, base=5, sent=9))
    assert (inbox.router, inbox.expected, inbox.mark, inbox.sent) == (_ROUTER, 5, 7, 9)


@pytest.mark.parametrize("base", [0, 5, 6])
def test_a_later_mark_is_echoed_and_does_not_move_what_is_expected(base: int) -> None:
    inbox = _begun(base=5)
    inbox.take_share(_ROUTER, 5)
    assert not inbox.take_mark(_mark(number=8, base=base, sent=30))
    assert (inbox.expected, inbox.mark, inbox.sent) == (6, 8, 30)


def test_what_the_router_does_not_keep_any_more_is_not_waited_for() -> None:
    """An earlier start of the writer had stored it, and the router learned that late."""
    inbox = _begun(base=5)
    assert not inbox.take_mark(_mark(number=2, base=7, sent=9))
    assert not inbox.take_share(_ROUTER, 5)
    assert inbox.take_share(_ROUTER, 7)


def test_another_routers_mark_begins_anew() -> None:
    inbox = _begun(base=5)
    assert inbox.take_mark(_mark(_OTHER, number=1, base=0, sent=2))
    assert (inbox.router, inbox.expected, inbox.mark, inbox.sent) == (_OTHER, 0, 1, 2)
    assert not inbox.take_share(_ROUTER, 5)
    assert inbox.take_share(_OTHER, 0)


def test_shares_are_taken_in_order() -> None:
    inbox = _begun(base=3)
    assert [inbox.take_share(_ROUTER, number) for number in (3, 4, 5)] == [True] * 3
    assert inbox.expected == 6


@pytest.mark.parametrize(("router", "number"), [(_ROUTER, 2), (_ROUTER, 4), (_ROUTER, 0), (_OTHER, 3), ("", 3)])
def test_a_share_that_is_not_the_expected_one_is_not_taken(router: str, number: int) -> None:
    """One that came already, one after a gap, and one of a router that has not sent a mark."""
    inbox = _begun(base=3)
    assert not inbox.take_share(router, number)
    assert inbox.expected == 3
    assert inbox.take_share(_ROUTER, 3)
    assert not inbox.take_share(_ROUTER, 3)


def test_what_is_stored_is_kept_until_a_mark_shows_that_the_router_knows() -> None:
    inbox = _begun()
    for number in range(4):
        inbox.take_share(_ROUTER, number)
        inbox.add_stored(_stored(number))
    inbox.take_mark(_mark(number=2, base=0, sent=4))
    assert inbox.unconfirmed == [_stored(number) for number in range(4)]
    inbox.take_mark(_mark(number=3, base=2, sent=4))
    assert inbox.unconfirmed == [_stored(2), _stored(3)]
    inbox.take_mark(_mark(number=4, base=4, sent=4))
    assert inbox.unconfirmed == []


def test_what_another_router_sent_is_not_told_to_this_one() -> None:
    inbox = _begun()
    inbox.take_share(_ROUTER, 0)
    inbox.take_share(_ROUTER, 1)
    inbox.add_stored(_stored(0))
    inbox.take_mark(_mark(_OTHER, base=0))
    inbox.add_stored(_stored(1))
    assert inbox.unconfirmed == []
