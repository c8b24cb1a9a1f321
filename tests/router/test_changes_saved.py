"""Whatever changes are made, what they lead to can be saved and read back: a router that starts has the same."""

from dataclasses import replace
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from router.intent import Intent
from router.remembered import Remembered
from router.saved import ControlFile
from tapfan.control import ControlError
from tapfan.values import MAX_WEIGHT, MIN_WEIGHT
from tests.router.wanting import TTL_MS, Wanted, a_request, an_intent

_names = st.sampled_from("abcd")
_weights = st.sampled_from([0, 0, MIN_WEIGHT, 0.1, 30, MAX_WEIGHT, "+1", "-1", "50%", "0.0000001%", 5e-324])
_forced: dict[str, st.SearchStrategy[Any]] = {"force": st.booleans()}
_steps = st.one_of(
    st.tuples(
        st.just("weights"),
        st.fixed_dictionaries(
            {"weights": st.dictionaries(_names, _weights, min_size=1)},
            optional=_forced | {"over": st.sampled_from([0.1, 1, 60, 86_400])},
        ),
    ),
    st.tuples(st.just("weights"), st.fixed_dictionaries({"cancel": st.just(True)}, optional=_forced)),
    st.tuples(
        st.just("state"),
        st.fixed_dictionaries(
            {"states": st.dictionaries(_names, st.sampled_from(["ready", "drain", "maint"]), min_size=1)},
            optional=_forced,
        ),
    ),
    st.tuples(st.just("ttl"), st.fixed_dictionaries({"ttl": st.sampled_from([1, "31d", "1.0005s"])})),
    st.tuples(st.just("undo"), st.fixed_dictionaries({}, optional=_forced | {"version": st.integers(1, 9)})),
    st.tuples(
        st.just("add"),
        st.fixed_dictionaries({"name": _names, "redis": st.just("redis://x:6379/0"), "weight": _weights}),
    ),
    st.tuples(st.just("remove"), st.fixed_dictionaries({"name": _names}, optional=_forced)),
)


def _configured(intent: Intent) -> Intent:
    """A configuration in which the writers are, as `tapfan add` and `remove` leave it."""
    members = {
        name: replace(member, weight=member.configured, state="ready") for name, member in intent.members.items()
    }
    return Intent(1, TTL_MS, members)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_steps, st.sampled_from([0.0, 0.05, 1.0, 30.0, 90_000.0])), max_size=15))
def test_what_any_changes_lead_to_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[tuple[str, dict[str, Any]], float]]
) -> None:
    wanted = Wanted(an_intent(a=30, b=70, c=0))
    now_s = 1_800_000_000.0
    for number, ((command, arguments), passed_s) in enumerate(steps):
        now_s += passed_s
        try:
            wanted.take(a_request(command, now_s, f"id of {number:02}", **arguments))
        except ControlError:
            continue
    path = tmp_path_factory.mktemp("changed") / "control.json"
    file = ControlFile(path, _configured(wanted.intent), structlog.get_logger())
    file.save(wanted.intent, wanted.history, Remembered())
    with capture_logs() as lines:
        intent, history, _ = file.load(now_s)
    assert lines == []
    assert intent == wanted.intent
    assert list(history) == list(wanted.history)
