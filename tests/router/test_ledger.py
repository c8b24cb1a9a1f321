"""The ledger adds up whatever comes in, and nothing is acknowledged before it is stored or lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapfan.wire import WireError
from tests.router.housing import TTL_MS, a_house, a_listener_report, a_writer_report, ledger_of, stored, with_a_stream
from tests.router.plain_ledger import Model
from tests.router.sharing import a_batch

_OFTEN = ("report", "batch", "batch", "batch", "store", "store", "store", "writer", "writer", "look")
_FROM_LISTENERS = ("start", "leftover", "all_sent", "acknowledged_elsewhere", "wrong_batch", "gap", "wrong_gap")
_OTHERS = ("store_late", "wrong_stored", "change_weights", "restart_router")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(_OFTEN + _FROM_LISTENERS + _OTHERS), min_size=15, max_size=40), st.data())
def test_the_ledger_adds_up_at_every_moment(actions: list[str], data: st.DataObject) -> None:
    """Whoever restarts, goes down or comes back, and whatever is lost on the way."""
    model = Model()
    model.start(data)
    for action in actions:
        getattr(model, action)(data)
        model.compare()
    model.everybody_is_up()
    while model.on_the_way:
        model.store(data)
    model.compare()
    for seen in model.known:
        told = model.house.listeners[seen.stream].acknowledgement(TTL_MS)
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
        house.look(now_s)
        house.take_writer_report(a_writer_report(), b"")
    assert len(house.listeners) == 1
    ledger = ledger_of(house)
    assert (ledger["captured"], ledger["stored"], ledger["expired"], ledger["balanced"]) == (500, 450, 50, True)


def test_an_earlier_stream_that_is_not_settled_is_kept() -> None:
    house = a_house(a=1)
    house.take_listener_report(a_listener_report(), b"", 0.0)
    house.take_batch(a_batch(0, 10))
    house.take_listener_report(a_listener_report("local.00000002"), b"", 10.0)
    house.look(10.0)
    assert ledger_of(house)["in_flight"] == 10
    house.take_stored(stored("a", 0, 10), 10.0)
    house.take_listener_report(a_listener_report("local.00000003"), b"", 11.0)
    house.look(11.0)
    assert list(house.listeners) == ["local.00000002", "local.00000003"]
    assert (ledger_of(house)["captured"], ledger_of(house)["balanced"]) == (10, True)
