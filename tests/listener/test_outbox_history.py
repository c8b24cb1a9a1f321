"""The outbox and its spool against the router, whatever happens to both and to what is between them."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st

from listener.outbox import Limits
from router.status import status
from tapfan.logs import Logger
from tapfan.losses import REASONS, Reason
from tests.listener.history import History
from tests.listener.spooling import LIMIT

_TINY = Limits(records=6, size=20_000, ttl_s=1.0)
_TINY_SPOOL_BYTES = 1000  # four or five batches
_QUIET: Logger = structlog.wrap_logger(None, [], structlog.make_filtering_bound_logger(CRITICAL))

_Steps = Sequence[tuple[Any, ...]]
_CALM = [
    st.tuples(st.just("add"), st.integers(1, 4)),
    st.tuples(st.just("add"), st.integers(1, 4)),
    st.tuples(st.just("add"), st.integers(1, 4)),
    st.tuples(st.just("refill")),
    st.tuples(st.just("send"), st.integers(1, 9)),
    st.tuples(st.just("report")),
    st.tuples(st.just("deliver"), st.integers(1, 9), st.integers(0, 2)),
    st.tuples(st.just("store"), st.integers(1, 4)),
    st.tuples(st.just("hear"), st.integers(1, 9)),
    st.tuples(st.just("round")),
]
_LOSSES = [
    st.tuples(st.just("lose"), st.integers(1, 3), st.integers(0, 2)),
    st.tuples(st.just("miss"), st.integers(1, 3)),
]
_STOPS = [st.tuples(st.just("stop"))]
_KILLS = [st.tuples(st.just("kill"))]
_RESTARTS = [st.tuples(st.just(end)) for end in ("save", "restart", "forget")]
_AGE = [st.tuples(st.just("age"))]
_TROUBLE = [st.tuples(st.just("damage")), st.tuples(st.just("disk"), st.booleans())]


def _steps(*kinds: list[Any]) -> st.SearchStrategy[_Steps]:
    step = st.one_of(*(step for kind in kinds for step in kind))
    # Of a list of free length, hypothesis would make a handful of steps.
    return st.integers(0, 40).flatmap(lambda count: st.lists(step, min_size=count, max_size=count))


@contextmanager
def _played(steps: _Steps, always: bool, spool_bytes: int = LIMIT) -> Iterator[History]:
    """A history with these steps, and then settled."""
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder), _QUIET, always, _TINY, spool_bytes)
        for action, *arguments in steps:
            getattr(history, action)(*arguments)
        history.settle()
        yield history
        assert history.left_on_disk() == set()


@given(_steps(_CALM, _LOSSES, _STOPS, _KILLS, _RESTARTS))
def test_with_always_no_record_is_missing_whatever_happens(steps: _Steps) -> None:
    with _played(steps, always=True) as history:
        assert history.records.stored == history.records.captured.keys()
        assert history.records.gaps == {}


@given(_steps(_CALM, _LOSSES, _STOPS, _RESTARTS))
def test_without_a_kill_no_record_is_missing_either(steps: _Steps) -> None:
    with _played(steps, always=False) as history:
        assert history.records.stored == history.records.captured.keys()
        assert history.records.gaps == {}


@given(_steps(_CALM, _LOSSES, _STOPS, _KILLS, _RESTARTS, _AGE), st.booleans())
def test_every_record_is_stored_or_in_a_gap_or_was_only_in_memory(steps: _Steps, always: bool) -> None:
    with _played(steps, always, _TINY_SPOOL_BYTES) as history:
        _assert_accounted(history, {"dropped_listener_killed", "dropped_spool_full", "expired_in_spool"})


@given(_steps(_CALM, _LOSSES, _STOPS, _KILLS, _RESTARTS, _AGE, _TROUBLE), st.booleans())
def test_that_is_so_with_a_damaged_spool_or_a_full_disk_too(steps: _Steps, always: bool) -> None:
    with _played(steps, always, _TINY_SPOOL_BYTES) as history:
        _assert_accounted(history, set(REASONS))


def _assert_accounted(history: History, reasons: set[Reason]) -> None:
    records = history.records
    assert records.captured.keys() == records.stored | records.gaps.keys() | records.in_memory
    assert set(records.gaps.values()) <= reasons
    killed = {identity for identity, reason in records.gaps.items() if reason == "dropped_listener_killed"}
    assert killed <= records.in_memory


@given(_steps(_CALM, _LOSSES, _AGE), st.booleans())
def test_the_ledger_has_every_record_once_and_every_reason(steps: _Steps, always: bool) -> None:
    """Where nobody is stopped or killed."""
    with _played(steps, always, _TINY_SPOOL_BYTES) as history:
        records = history.records
        assert records.stored.isdisjoint(records.gaps)
        ledger = status(history.router.house, 0.0)["ledger"]
        lost = Counter(ledger["lost"])
        lost.pop("expired_at_writer", None)
        assert lost == Counter(records.gaps.values())
        assert (ledger["captured"], ledger["in_flight"], ledger["spooled"]) == (len(records.captured), 0, 0)
        assert ledger["balanced"]


@given(_steps(_CALM, _STOPS), st.booleans())
def test_where_nothing_is_lost_every_record_is_stored_once(steps: _Steps, always: bool) -> None:
    with _played(steps, always) as history:
        ledger = status(history.router.house, 0.0)["ledger"]
        assert ledger["captured"] == ledger["stored"] + ledger["expired"] == len(history.records.captured)
        assert ledger["balanced"]
