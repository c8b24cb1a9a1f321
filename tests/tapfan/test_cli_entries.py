"""Entries of the history, in words."""

from typing import Any

import pytest

from tapfan.cli import entries
from tests.tapfan.views import entry


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (entry("weights", ("a", "weight", 30.0, 40.5)), "weight a 30 -> 40.5"),
        (
            entry("weights", ("a", "weight", 30.0, 70.0), ("b", "weight", 70.0, 30.0), over=90.0, reason="a is new"),
            "weights a 30 -> 70, b 70 -> 30 over 90s: a is new",
        ),
        (entry("state", ("b", "state", "ready", "drain"), reason="new disk"), "state b ready -> drain: new disk"),
        (entry("ttl", (None, "ttl", 300.0, 600.0)), "ttl 5m -> 10m"),
        (
            entry("configuration", ("c", "weight", 20.0, 30.0), ("c", "rampup", 0.5, 30.0), reason="it was edited"),
            "configuration weight c 20 -> 30; rampup c 500ms -> 30s: it was edited",
        ),
        (entry("health", ("b", "health", "up", "down")), "health b up -> down"),
        (
            entry("ramp", ("a", "weight", 30.0, 70.0), (None, "ramp", None, 60.0), over=60.0),
            "ramp weight a 30 -> 70 over 1m",
        ),
        (entry("ramp", (None, "ramp", None, 60.0), over=60.0), "ramp over 1m"),
        (
            entry("ramp", ("a", "weight", 30.0, 70.0), by="(automatic)", reason="at its end"),
            "ramp weight a 30 -> 70: at its end",
        ),
        (entry("ramp", ("a", "weight", 70.0, 41.5)), "ramp cancelled, weight a 70 -> 41.5"),
        (entry("ramp"), "ramp cancelled"),
        (entry("ramp", reason="too soon"), "ramp cancelled: too soon"),
        (entry("add", ("c", "redis", None, "redis://h/0")), "add redis c redis://h/0"),
        (entry("remove", ("c", "redis", "redis://h/0", None)), "remove redis c was redis://h/0"),
        (
            entry("undo", ("a", "weight", 1.0, 2.0), ("b", "state", "drain", "ready"), (None, "ttl", 2.0, 1.0)),
            "undo weight a 1 -> 2; state b drain -> ready; ttl 2s -> 1s",
        ),
        (
            entry("weights", *((f"w{number}", "weight", 0.0, 1.0) for number in range(64))),
            "weights w0 0 -> 1, w1 0 -> 1, w2 0 -> 1, w3 0 -> 1 and 60 more",
        ),
    ],
)
def test_an_entry_says_what_changed_from_what_to_what_how_and_why(told: dict[str, Any], text: str) -> None:
    assert entries.what(told) == text


@pytest.mark.parametrize(
    ("by", "key", "text"),
    [
        ("anna", None, "anna"),
        ("anna", "anna", "anna"),
        ("anna", "deploy", "anna (deploy)"),
        ("", "deploy", "(deploy)"),
        ("", None, "-"),
    ],
)
def test_who_made_it_is_told_with_the_key_that_proves_it(by: str, key: str | None, text: str) -> None:
    assert entries.who(entry("ttl", by=by, key=key)) == text


def test_a_line_has_all_of_it() -> None:
    told = entry("ttl", (None, "ttl", 300.0, 600.0), reason="a search")
    assert entries.line(told) == f"version 2, {entries.when(told)}, by anna: ttl 5m -> 10m: a search"
