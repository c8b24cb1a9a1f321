"""A writer's health: so many failed checks in a row take it out, so many passed ones bring it back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.health import FIRST_LOOKS, Health

_Event = Literal["passed", "failed", "look"]
_events = st.lists(st.sampled_from(["passed", "failed", "look"]), max_size=60)
_counts = st.integers(1, 5)


@dataclass
class _Plain:
    """The same by a list of all checks since the last change."""

    rise: int
    fall: int
    up: bool = True
    checks: list[bool] = field(default_factory=list)
    looks: int | None = None  # since the last report; None before the first
    first_looks: int = 0
    passed: bool = False  # ever

    def take(self, event: _Event) -> None:
        """A report that says so, or a look of the router's."""
        if event == "look" and self.looks is None:
            self.first_looks += 1
            self.up = self.first_looks < FIRST_LOOKS
            return
        if event == "look":
            first_since_a_report = self.looks == 0
            self.looks = (self.looks or 0) + 1
            if first_since_a_report:
                return
        else:
            if self.looks is None:
                self.up, self.checks = self.up or event == "passed", []
            self.looks = 0
            self.passed |= event == "passed"
        self.checks.append(event == "passed")
        needed = self.fall if self.up else self.rise
        last = self.checks[-needed:]
        if len(last) == needed and set(last) == {not self.up}:
            self.up, self.checks = not self.up, []

    @property
    def text(self) -> str:
        """What people see of it."""
        if self.looks is None or self.looks > self.fall:
            return "absent"
        return "up" if self.up and self.passed else "down"


def _after(health: Health, events: Sequence[_Event]) -> Health:
    for event in events:
        if event == "look":
            health.look()
        else:
            health.report(event == "passed")
    return health


@given(_counts, _counts, _events)
@example(1, 1, ["passed", "look", "look", "passed", "failed", "passed"])
@example(2, 3, ["look", "look", "look", "failed", "passed", "look", "passed"])
def test_it_is_what_a_list_of_all_checks_says(rise: int, fall: int, events: list[_Event]) -> None:
    health, plain = Health(rise, fall), _Plain(rise, fall)
    for event in events:
        _after(health, [event])
        plain.take(event)
        assert (health.up, health.text) == (plain.up, plain.text)


@given(_counts, _counts, _events, st.integers(0, 20))
def test_whatever_was_before_enough_checks_of_one_kind_decide(
    rise: int, fall: int, events: list[_Event], more: int
) -> None:
    health = _after(Health(rise, fall), events)
    assert _after(health, ["passed"] * (rise + more)).text == "up"
    assert _after(health, ["failed"] * (fall + more)).text == "down"
    assert not _after(health, ["look"] * (fall + 1 + more)).up
    assert health.text == "absent"


@pytest.mark.parametrize("fall", [1, 2, 30])
def test_a_writer_that_has_not_reported_yet_counts_as_up_for_a_while(fall: int) -> None:
    """So that a start does not send everything to whoever is first."""
    health = Health(2, fall)
    assert (health.up, health.text) == (True, "absent")
    _after(health, ["look"] * (FIRST_LOOKS - 1))
    assert (health.up, health.text) == (True, "absent")
    health.look()
    assert (health.up, health.text) == (False, "absent")


@pytest.mark.parametrize("looks", [0, 2, 3, 50])
def test_with_a_first_report_that_is_passed_a_writer_is_up(looks: int) -> None:
    health = _after(Health(5, 3), ["look"] * looks)
    health.report(True)
    assert (health.up, health.text) == (True, "up")


def test_a_first_report_that_is_not_passed_is_a_check_as_any_other() -> None:
    """At a start, a Redis may be a moment later than its writer: that is shown, but changes no share yet."""
    health = _after(Health(2, 3), ["failed", "failed"])
    assert (health.up, health.text) == (True, "down")
    assert not _after(health, ["failed"]).up


@pytest.mark.parametrize("looks", [0, 2])
def test_looks_before_the_first_report_do_not_count_after_it(looks: int) -> None:
    health = _after(_after(Health(2, 3), ["look"] * looks), ["passed", "failed", "failed"])
    assert health.up
    health.report(False)
    assert not health.up


@pytest.mark.parametrize(("rise", "fall"), [(1, 1), (2, 3), (4, 2)])
def test_only_as_many_as_configured_change_it(rise: int, fall: int) -> None:
    health = _after(Health(rise, fall), ["passed"])
    assert _after(health, ["failed"] * (fall - 1)).up
    assert not _after(health, ["failed"]).up
    assert not _after(health, ["passed"] * (rise - 1)).up
    assert _after(health, ["passed"]).up


def test_one_check_of_the_other_kind_begins_the_row_anew() -> None:
    health = _after(Health(2, 3), ["passed", "failed", "failed", "passed", "failed", "failed"])
    assert health.up
    _after(health, ["failed", "passed", "failed", "passed"])
    assert not health.up


def test_a_look_between_two_reports_is_no_failed_check() -> None:
    """Both come twice a second, and so now and then two looks have one report between them."""
    health = Health(1, 1)
    for _ in range(20):
        assert _after(health, ["passed", "look"]).text == "up"
    assert _after(health, ["look"]).text == "absent"


def test_looks_and_failed_reports_count_together() -> None:
    health = _after(Health(2, 3), ["passed", "failed", "look", "look"])
    assert health.up
    assert _after(health, ["failed"]).text == "down"


def test_reports_that_do_not_come_are_told_as_such_and_not_as_redis_s_failure() -> None:
    health = _after(Health(2, 3), ["passed", "look", "look", "look"])
    assert (health.up, health.text) == (True, "up")
    health.look()
    assert (health.up, health.text) == (False, "absent")


def test_who_reports_again_after_an_absence_is_down_until_it_has_passed_often_enough() -> None:
    health = _after(_after(Health(2, 3), ["passed"]), ["look"] * 10)
    assert _after(health, ["passed"]).text == "down"
    assert _after(health, ["passed"]).text == "up"


def test_a_writer_that_is_new_counts_as_up_only_from_its_first_passed_report_on() -> None:
    health = _after(Health(2, 3, up=False), ["look"])
    assert (health.up, health.text) == (False, "absent")
    assert (_after(health, ["failed", "look"]).up, health.text) == (False, "down")
    assert not _after(health, ["passed"]).up
    assert _after(health, ["passed"]).up
    assert _after(Health(5, 3, up=False), ["passed"]).text == "up"
