"""What the command shows: in 80 columns, and never a number cut."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tapfan.cli import tables
from tests.tapfan.views import entry

WIDTH = 80
_LEDGER = ("captured", "stored", "expired", "dropped", "in_flight", "spooled", "lost")


def _writer(**changes: Any) -> dict[str, Any]:
    usual = {
        "redis": "redis://127.0.0.1:7101/0",
        "configured": 30.0,
        "weight": 30.0,
        "share": 0.3,
        "observed": {"10s": 0.3, "1m": 0.29998, "5m": None},
        "state": "ready",
        "effective": 30.0,
        "rampup_left": None,
        "health": "up",
        "reason": "",
        "projection": None,
        "warnings": [],
        "stored": 296_296_296,
        "in_flight": 150_000,
    }
    return usual | changes


def _status(**changes: Any) -> dict[str, Any]:
    """A house that has run for some hours at full speed."""
    listener = {
        "source": "capture",
        "health": "up",
        "captured": 987_654_321,
        "kernel_drops": 12_345,
        "packets": {"seen": 987_666_666, "skipped": {}},
        "stored": 987_153_087,
        "in_flight": 500_000,
        "spooled": 0,
        "expired": 1_234,
        "dropped": 0,
        "lost": {"expired_at_writer": 1_234},
    }
    usual = {
        "version": 7,
        "ttl": 300.0,
        "writers": {
            "a": _writer(),
            "b": _writer(weight=70.0, configured=70.0, share=0.7, stored=690_856_791, in_flight=350_000),
        },
        "listeners": {"local": listener},
        "ledger": {key: listener[key] for key in _LEDGER} | {"balanced": True},
        "ramp": None,
        "changed": None,
        "warnings": {},
    }
    return usual | changes


def _without_loss() -> dict[str, Any]:
    ledger: dict[str, Any] = _status()["ledger"]
    return ledger | {"expired": 0, "lost": {}}


def _lines(render: Any, result: dict[str, Any], width: int = WIDTH) -> list[str]:
    output = StringIO()
    render(result, Console(file=output, width=width, markup=False, emoji=False, highlight=False))
    return [line.rstrip() for line in output.getvalue().splitlines()]


@pytest.mark.parametrize("width", [WIDTH, 20])
def test_a_row_of_the_status_is_one_line_with_whole_numbers(width: int) -> None:
    lines = _lines(tables.status, _status(), width)
    assert [" ".join(line.split()) for line in lines if line] == [
        "in",
        "writer weight config share 10s 1m 5m stored flight state health",
        "a 30 30 30.0% 30.0% 30.0% - 296,296,296 150,000 ready up",
        "b 70 70 70.0% 30.0% 30.0% - 690,856,791 350,000 ready up",
        "ttl: records live 5m from their capture on",
        "in kernel",
        "listener source captured stored flight spooled lost drops health",
        "local capture 987,654,321 987,153,087 500,000 0 1,234 12,345 up",
        "ledger: 987,654,321 captured = 987,153,087 stored + 1,234 expired + 0 dropped + 500,000 in flight "
        "+ 0 spooled (balanced)",
        "lost: expired at writer 1,234",
    ]


@pytest.mark.parametrize(("spooled", "health"), [(0, "up"), (98_765, "spooling")])
def test_the_tables_of_a_status_with_large_counts_fit_into_80_columns(spooled: int, health: str) -> None:
    status = _status()
    status["listeners"]["local"] |= {"spooled": spooled, "health": health}
    lines = _lines(tables.status, status)
    assert all(len(line) <= WIDTH for line in lines if not line.startswith(("ledger:", "local is spooling:")))


def test_what_is_spooled_and_lost_is_told_by_listener_and_why_it_is_lost_for_all() -> None:
    lost = {"expired_in_spool": 1_000, "dropped_spool_full": 2_500, "dropped_listener_killed": 7}
    listener = _status()["listeners"]["local"] | {"spooled": 1_234_567, "lost": lost, "health": "spooling"}
    ledger = {key: listener[key] for key in _LEDGER} | {"balanced": True, "expired": 1_000, "dropped": 2_507}
    status = _status(listeners={"local": listener}, ledger=ledger)
    lines = [" ".join(line.split()) for line in _lines(tables.status, status)]
    assert "local capture 987,654,321 987,153,087 500,000 1,234,567 3,507 12,345 spooling" in lines
    assert lines[-1] == "lost: expired in spool 1,000, dropped spool full 2,500, dropped listener killed 7"
    assert "+ 1,000 expired + 2,507 dropped + 500,000 in flight + 1,234,567 spooled (balanced)" in lines[-2]


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ("spooling", "more is not stored yet than its window holds, the rest waits in its spool on disk"),
        ("absent", "reports no more; see `supervisorctl status`"),
    ],
)
def test_a_listener_that_is_not_up_says_why(health: str, reason: str) -> None:
    status = _status()
    status["listeners"]["local"]["health"] = health
    assert any(line.startswith(f"local is {health}: {reason}") for line in _lines(tables.status, status))


def test_what_was_skipped_is_told_by_reason() -> None:
    status = _status()
    status["listeners"]["local"]["packets"]["skipped"] = {"fragment": 1_200, "bad_tcp": 34}
    line = "local saw 987,666,666 packets, and skipped 1,234 of them: fragment 1,200, bad tcp 34"
    assert line in _lines(tables.status, status, width=40)


def test_where_nothing_is_lost_nothing_is_said_of_it() -> None:
    assert not any(line.startswith("lost") for line in _lines(tables.status, _status(ledger=_without_loss())))


def test_numbers_are_aligned_to_the_right_under_their_titles() -> None:
    _, title, first, second, *_ = _lines(tables.status, _status(writers={"a": _writer(stored=5), "b": _writer()}))
    end = title.index("stored") + len("stored")
    assert first[:end].endswith(" 5")
    assert second[:end].endswith(" 296,296,296")


def test_numbers_of_any_size_are_whole() -> None:
    stored = 12_345_678_901_234
    assert "12,345,678,901,234" in "\n".join(_lines(tables.status, _status(writers={"a": _writer(stored=stored)})))


@pytest.mark.parametrize(
    ("writer", "line"),
    [
        (
            _writer(health="down", reason="[Errno 111] Connection refused: [fd00::b:1]:7101"),
            "a (redis://127.0.0.1:7101/0) is down: [Errno 111] Connection refused: [fd00::b:1]:7101",
        ),
        (
            _writer(health="absent"),
            "a (redis://127.0.0.1:7101/0) is absent: reports no more; see `supervisorctl status`",
        ),
    ],
)
def test_a_writer_that_is_not_up_says_why(writer: dict[str, Any], line: str) -> None:
    assert line in _lines(tables.status, _status(writers={"a": writer}))


@pytest.mark.parametrize(
    ("writer", "line"),
    [
        (
            _writer(state="drain", share=0.0, effective=0.0),
            "a is in drain: no new records; 150,000 are still in flight",
        ),
        (
            _writer(state="maint", share=0.0, effective=0.0, in_flight=0),
            "a is in maint: no new records, and nothing in flight; `tapfan ready a` ends it",
        ),
        (
            _writer(effective=7.5, rampup_left=22.4),
            "a is coming back: it gets as much as a weight of 7.5 would, and all in 22s",
        ),
    ],
)
def test_a_writer_that_gets_less_than_its_weight_says_why(writer: dict[str, Any], line: str) -> None:
    assert line in _lines(tables.status, _status(writers={"a": writer}))


def test_a_ramp_and_the_last_change_are_told() -> None:
    writers = {"a": _writer(weight=70.0, effective=38.0), "b": _writer(weight=30.0, effective=62.0)}
    ramp = {"from": {"a": 30.0, "b": 70.0}, "to": {"a": 70.0, "b": 30.0}, "over": 60.0, "left": 48.0}
    weights = (("a", "weight", 30.0, 70.0), ("b", "weight", 70.0, 30.0))
    changed = entry("weights", *weights, over=60.0, reason="new [disk]\x1b[2J")
    lines = _lines(tables.status, _status(writers=writers, ramp=ramp, changed=changed))
    assert "ramp: a 30 -> 70, b 70 -> 30: 48s of 1m left; now a 38, b 62" in lines
    (last,) = (line for line in lines if line.startswith("last change: "))
    assert last.startswith("last change: version 2, ")
    assert last.endswith(", by anna: weights a 30 -> 70, b 70 -> 30 over 1m: new [disk]\ufffd[2J")


def test_what_the_records_need_and_what_could_lose_some_is_told_below_the_writers() -> None:
    needs = {"rate": 12_000.0, "bytes_a_record": 310.0, "needed": 1_288_490_189, "available": 2**31}
    writers = {"a": _writer(projection=needs), "b": _writer(), "c": _writer(projection=needs | {"available": None})}
    writers["c"]["warnings"] = ["its clock is off", "its [policy] evicts"]
    lines = _lines(tables.status, _status(writers=writers), width=40)
    assert lines[6:10] == [
        "memory: a needs 1.2 GiB of 2.0 GiB, c needs 1.2 GiB",
        "warning: c (redis://127.0.0.1:7101/0): its clock is off",
        "warning: c (redis://127.0.0.1:7101/0): its [policy] evicts",
        "",
    ]


def test_without_a_listener_the_status_says_so() -> None:
    assert "no listener has reported yet" in _lines(tables.status, _status(listeners={}))


def test_a_ledger_that_does_not_balance_is_told_loudly() -> None:
    ledger = _without_loss() | {"balanced": False}
    assert _lines(tables.status, _status(ledger=ledger))[-1].endswith("(NOT BALANCED)")


def test_warnings_of_the_router_are_told() -> None:
    last = _lines(tables.status, _status(warnings={"bad_message": 1_234, "unknown_writer": 1}))[-1]
    assert last == "warnings of the router, in its log: bad_message 1,234, unknown_writer 1"


@pytest.mark.parametrize(("problems", "verdict"), [([], ["the configuration is valid"]), (["no such interface"], [])])
def test_a_check_says_that_all_is_valid_only_when_it_is(problems: list[str], verdict: list[str]) -> None:
    processes = [{"command": "python -m router", "does": "splits by weight"}]
    lines = _lines(
        tables.check, {"processes": processes, "notes": ["a note"], "warnings": ["it evicts"], "problems": problems}
    )
    assert [" ".join(line.split()) for line in lines] == [
        "process what it does",
        "python -m router splits by weight",
        "note: a note",
        "warning: it evicts",
        *verdict,
    ]


def test_what_a_redis_says_cannot_steer_the_terminal() -> None:
    told = "ERR \x1b[2J\x9b"
    writers = {"a": _writer(health="down", reason=told, warnings=[told])}
    lines = _lines(tables.status, _status(writers=writers))
    lines += _lines(tables.check, {"processes": [], "notes": [told], "warnings": [told], "problems": [told]})
    assert sum("ERR \ufffd[2J\ufffd" in line for line in lines) == 4
    assert all(line.isprintable() for line in lines)
