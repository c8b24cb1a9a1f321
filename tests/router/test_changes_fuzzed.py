"""Whatever a client asks for: a change, or a refusal that changes nothing."""

import copy
import math
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.changes import Request, apply
from router.history import Entry, History
from router.intent import Intent
from tapfan.control import CODES, ControlError
from tapfan.values import MAX_WEIGHT
from tests.router.wanting import LONGEST_MESSAGE, an_intent
from tests.tapfan.strategies import anything

_names = st.sampled_from(["a", "b", "c"])
_values = st.one_of(
    st.sampled_from(["+10", "-10", "50%", "+", "%", "drain", "maint", "ready", "5m", "(automatic)", 0, 1, 1e9, 0.1]),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 10**400, 2**64, -1, True, None, "", "x" * 5000, "\x1b[2J"]),
    anything,
)
_maps = st.dictionaries(_names | st.text(max_size=3), _values, max_size=4)
_OF_COMMANDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "weights": {"weights": _maps | _values, "over": _values, "cancel": _values, "force": st.booleans() | _values},
    "state": {"states": _maps | _values, "force": st.booleans() | _values},
    "ttl": {"ttl": _values},
    "undo": {"version": st.integers(-1, 5) | _values, "force": st.booleans() | _values},
    "add": {
        "name": _names | _values,
        "redis": st.just("redis://c:6379/0") | _values,
        "weight": _values,
        "rampup": _values,
    },
    "remove": {"name": _names | _values, "force": st.booleans() | _values},
    "no such": {},
}
_TERMS = {"by": _values, "reason": _values, "if_version": st.integers(1, 3) | _values}
_anything_at_all = st.dictionaries(st.text(max_size=5), anything, max_size=3)


@st.composite
def _requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A request that is nearly right, or one that is not at all."""
    command = draw(st.sampled_from([*_OF_COMMANDS]))
    if draw(st.integers(0, 9)) == 0:
        return command, draw(_anything_at_all)
    arguments = draw(st.fixed_dictionaries({}, optional=_OF_COMMANDS[command]))
    terms = draw(st.fixed_dictionaries({}, optional=_TERMS)) if draw(st.integers(0, 4)) == 0 else {}
    return command, arguments | terms


@settings(max_examples=200)
@given(st.lists(_requests(), min_size=1, max_size=5))
@example([("weights", {"weights": {f"w{i}": i for i in range(5000)}})])
@example([("state", {"states": {"x" * 60_000: "drain"}})])
@example([("add", {"name": "c", "redis": "redis://[::1", "weight": 1})])
@example([("add", {"name": "c", "redis": "redis://c:99999999/0", "weight": 1})])
@example([("ttl", {"ttl": "9" * 5000 + "d"})])
def test_whatever_is_asked_for_is_a_change_or_a_refusal_that_changes_nothing(
    requests: list[tuple[str, dict[str, Any]]],
) -> None:
    intent, history = an_intent(), History()
    for now, (command, arguments) in enumerate(requests):
        before = copy.deepcopy((intent, list(history)))
        kept = repr(arguments)
        outcome = _outcome(intent, history, command, arguments, float(now))
        assert (intent, list(history), repr(arguments)) == (*before, kept)
        if isinstance(outcome, ControlError):
            assert outcome.code in CODES
            assert 0 < len(outcome.message) < LONGEST_MESSAGE + 300 * (outcome.code == "bad_redis")
            continue
        then, entry = outcome
        _assert_sound(then)
        assert (then is intent) == (entry is None)
        assert then.version == intent.version + (entry is not None)
        intent, history = then, history.add(entry) if entry else history


def _outcome(
    intent: Intent, history: History, command: str, arguments: dict[str, Any], now_s: float
) -> tuple[Intent, Entry | None] | ControlError:
    try:
        return apply(intent, history, Request(command, arguments, None, "", "somebody", None, now_s))
    except ControlError as error:
        return error


def _assert_sound(intent: Intent) -> None:
    assert intent.members
    assert any(member.weight for member in intent.members.values())
    for member in intent.members.values():
        assert isinstance(member.weight, float)
        assert 0 <= member.weight <= MAX_WEIGHT
        assert member.state in ("ready", "drain", "maint")
        assert 0 <= member.rampup_s <= 86_400
    assert 1000 <= intent.ttl_ms <= 31 * 86_400_000
    if intent.ramp is not None:
        assert intent.ramp.origin.keys() == intent.members.keys()
        assert 0.1 <= intent.ramp.over_s <= 86_400
