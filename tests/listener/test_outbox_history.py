"""The outbox and its spool against the router, whatever happens to both and to what is between them."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st

from listener.outbox import Limits
from router.status import status
from tapfan.logs import Logger
from tapfan.losses import REASONS, Reason
from tests.listener.history import History
from tests.listener.spooling import LIMIT

_TINY = Limits(records=12, size=60_000, ttl_s=1.0)
_TINY_SPOOL_BYTES = 1000  # four or five batches
_QUIET: Logger = structlog.wrap_logger(None, [], structlog.make_filtering_bound_logger(CRITICAL))

_Step = tuple[Any, ...]
_CONNECTION = st.integers(0, 2)


def _step(action: str, *arguments: st.SearchStrategy[int]) -> st.SearchStrategy[_Step]:
    return st.tuples(st.just(action), *arguments)


_CALM = (
    _step("add", st.integers(1, 4)),
    _step("add", st.integers(1, 4)),
    _step("burst", st.integers(1, 4), st.integers(2, 6)),
    _step("round", st.integers(0, 3)),
    _step("catch_up"),
    _step("refill"),
    _step("send", st.integers(1, 9)),
    _step("report"),
    _step("deliver", st.integers(1, 9), _CONNECTION),
    _step("store", st.integers(1, 4)),
    _step("hear", st.integers(1, 9)),
)
_LOSS = st.one_of(_step("lose", st.integers(1, 3), _CONNECTION), _step("miss", st.integers(1, 3)))
_STOP = _step("stop")
_KILL = _step("kill")
_RESTART = st.sampled_from([("save",), ("restart",), ("forget",)])
_AGE = _step("age")
_TROUBLE = st.one_of(_step("damage"), _step("disk", st.booleans()))


def _steps(*kinds: st.SearchStrategy[_Step]) -> st.SearchStrategy[list[_Step]]:
    """With these beside what is calm."""
    step = st.one_of(*_CALM, *kinds)
    # Of a list of free length, hypothesis would make a handful of steps.
    return st.integers(0, 36).flatmap(lambda count: st.lists(step, min_size=count, max_size=count))


@contextmanager
def _played(steps: list[_Step], always: bool, spool_bytes: int = LIMIT) -> Iterator[History]:
    """A history with these steps, and then settled."""
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder), _QUIET, always, _TINY, spool_bytes)
        for action, *arguments in steps:
            getattr(history, action)(*arguments)
        history.settle()
        yield history
        assert history.left_on_disk() == set()


@given(_steps(_LOSS, _STOP, _KILL, _RESTART))
def test_with_always_no_record_is_missing_whatever_happens(steps: list[_Step]) -> None:
    with _played(steps, always=True) as history:
        assert history.records.stored == history.records.captured.keys()
        assert history.records.gaps == {}


@given(_steps(_LOSS, _STOP, _RESTART))
def test_without_a_kill_no_record_is_missing_either(steps: list[_Step]) -> None:
    with _played(steps, always=False) as history:
        assert history.records.stored == history.records.captured.keys()
        assert history.records.gaps == {}


@given(_steps(_LOSS, _STOP, _KILL, _RESTART, _AGE), st.booleans())
def test_every_record_is_stored_or_in_a_gap_or_was_only_in_memory(steps: list[_Step], always: bool) -> None:
    with _played(steps, always, _TINY_SPOOL_BYTES) as history:
        _assert_accounted(history, {"dropped_listener_killed", "dropped_spool_full", "expired_in_spool"})


@example([("burst", 4, 6), ("catch_up",), ("add", 1), ("send", 8), ("kill",)], False)
@example([*[("add", 4)] * 4, ("kill",), ("add", 3), ("round", 2), ("burst", 4, 4), ("kill",)], False)
@example([("burst", 3, 6), ("catch_up",), ("stop",), ("damage",), ("catch_up",), ("forget",)], False)
@given(_steps(_LOSS, _STOP, _KILL, _RESTART, _AGE, _TROUBLE), st.booleans())
def test_that_is_so_with_a_damaged_spool_or_a_full_disk_too(steps: list[_Step], always: bool) -> None:
    with _played(steps, always, _TINY_SPOOL_BYTES) as history:
        _assert_accounted(history, set(REASONS))


def _assert_accounted(history: History, reasons: set[Reason]) -> None:
    records = history.records
    assert records.captured.keys() == records.stored | records.gaps.keys() | records.in_memory
    assert set(records.gaps.values()) <= reasons
    killed = {identity for identity, reason in records.gaps.items() if reason == "dropped_listener_killed"}
    assert killed <= records.in_memory


@settings(max_examples=50)
@given(_steps(_LOSS, _AGE), st.booleans())
def test_the_ledger_has_every_record_once_and_every_reason(steps: list[_Step], always: bool) -> None:
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


@settings(max_examples=50)
@given(_steps(_STOP), st.booleans())
def test_where_nothing_is_lost_every_record_is_stored_once(steps: list[_Step], always: bool) -> None:
    with _played(steps, always) as history:
        ledger = status(history.router.house, 0.0)["ledger"]
        assert ledger["captured"] == ledger["stored"] + ledger["expired"] == len(history.records.captured)
        assert ledger["balanced"]
