"""Which changes an undo took back, as the history tells it."""

from typing import Any

import pytest

from tapfan.cli.undoing import taken_back
from tests.tapfan.views import entry

_AUTOMATIC = {"by": "(automatic)"}
_MADE = [
    entry("health", ("a", "health", "up", "down"), version=9, **_AUTOMATIC),
    entry("weights", version=9, by="late"),
    entry("undo", version=8),
    entry("ramp", version=7, **_AUTOMATIC),  # has ended
    entry("undo", version=7, by="ben", reason="why"),
    entry("ttl", version=6),
    entry("add", version=5),
    entry("configuration", version=4, **_AUTOMATIC),
    entry("join", version=3, **_AUTOMATIC),
    entry("state", version=2),
]


@pytest.mark.parametrize(
    ("asked", "since", "versions"),
    [
        ({"by": "anna"}, 0, [7]),
        ({"by": "ben", "reason": "why"}, 0, [6]),
        ({"by": "anna", "version": 6}, 7, [7]),
        ({"by": "anna", "version": 4}, 7, [7, 6]),
        ({"by": "anna", "version": 1}, 7, [7, 6, 4, 2]),
        ({"by": "anna", "version": 7}, 7, []),
        ({"by": "anna", "version": 4}, 8, []),  # which was so already: that entry is of an undo before
        ({"by": "ben"}, 0, []),
        ({"by": "late"}, 0, []),
    ],
)
def test_an_undo_takes_back_the_last_change_of_an_operator_or_all_since_a_version(
    asked: dict[str, Any], since: int, versions: list[int]
) -> None:
    assert [each["version"] for each in taken_back(_MADE, asked, since)] == versions
